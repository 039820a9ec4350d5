"""What routes that answer no JSON say of their answers in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from lamplighter.api.problems import Responses

TEXT: Final = "text/plain"
EVENTS: Final = "text/event-stream"
OPENMETRICS: Final = "application/openmetrics-text"


def answers(*media: str) -> Responses:
    """Describe a success that is text of one of these types.

    Goes along with `response_class=Response`: a class with a type of its own would be taken for that of failures, too,
    and they are JSON everywhere.
    """
    return {200: {"content": {one: {"schema": {"type": "string"}} for one in media}}}
