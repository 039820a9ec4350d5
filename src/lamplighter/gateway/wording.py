"""Errors in the words of the proxy before Hugging Face's endpoints, so that its clients understand ours.

`error` is a text that begins as that proxy's does, `code` its word for the status, `reason` our own stable word.
"""

from __future__ import annotations

from http import HTTPStatus

from lamplighter.errors import EndpointPaused, LamplighterError

PAUSED = "Bad Request: The endpoint is paused, ask a maintainer to restart it"
"""What clients look for, word by word."""

_RENAMED = {413: "PAYLOAD_TOO_LARGE", 422: "UNPROCESSABLE_ENTITY"}  # their names differ between versions of Python


def proxy_error(error: LamplighterError) -> dict[str, object]:
    """The answer's body."""
    return {"error": _text(error), "code": code_of(error.status), "reason": error.code}


def code_of(status: int) -> str:
    """The word for a status: 503 is SERVICE_UNAVAILABLE."""
    return _RENAMED.get(status) or HTTPStatus(status).name


def _text(error: LamplighterError) -> str:
    if isinstance(error, EndpointPaused):
        return PAUSED
    if error.status == HTTPStatus.BAD_REQUEST:
        return f"Bad Request: {error.message}"
    return f"{error.status} {HTTPStatus(error.status).phrase}: {error.message}"
