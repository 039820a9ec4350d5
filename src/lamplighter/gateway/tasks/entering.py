"""Turning a request in task form into the engine's, before anything is woken."""

from __future__ import annotations

import msgspec

from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.tasks.choosing import translation_of

# InferenceClient names no model when it was given a URL. vLLM answers 404 to names that it does not know.
UNNAMED = b'{"model":"dummy",'
_CONTENT = frozenset({b"content-type", b"content-encoding", b"accept", b"accept-encoding"})
_JSON = [b"content-type", b": ", b"application/json", b"\r\n"]


def translate(x: Exchange) -> None:
    """Replace a POST to the root URL by what its engine understands, if it has to. Raises TaskInvalid."""
    tasks = x.services.demand.root_tasks(x.endpoint)
    if tasks is None:
        return
    x.translation = translation = translation_of(x.body, tasks, x.endpoint)
    x.path = translation.request.path
    x.body = translation.request.body
    x.request.lines = x.request.lines_without(_CONTENT) + _JSON


def name_model(x: Exchange) -> None:
    """Replace the model that stands for none by the endpoint's name, where the engine would not know it."""
    if x.services.demand.root_tasks(x.endpoint) is not None:
        x.body = b'{"model":' + msgspec.json.encode(x.endpoint) + b"," + x.body[len(UNNAMED) :]
