"""An engine's failure in text-generation-inference's form: `error` and `error_type`."""

from __future__ import annotations

import msgspec

from lamplighter.errors import LamplighterError, QueueFull, RateLimited
from lamplighter.gateway.refusals import KeyRateLimited, TaskInvalid

_LIMIT = 2000


def kind_of_status(status: int) -> str:
    """The `error_type` of an engine's answer with this status."""
    if status in {429, 503}:
        return "overloaded"
    return "validation" if status < 500 or status == 501 else "generation"


def kind_of_error(error: LamplighterError) -> str | None:
    """The `error_type` of an error of our own, None where clients know it by its status alone."""
    if isinstance(error, TaskInvalid):
        return "validation"
    return "overloaded" if isinstance(error, QueueFull | RateLimited | KeyRateLimited) else None


def failure(status: int, body: bytes) -> bytes:
    """The client's answer for an engine's that failed."""
    document = {"error": failure_text(body) or f"The engine answered {status}.", "error_type": kind_of_status(status)}
    return msgspec.json.encode(document)


def failure_text(body: bytes) -> str:
    """What an engine's error says: OpenAI's form, a plain `error`, FastAPI's `detail`, or short text."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text[:_LIMIT]
    for name in ("error", "message", "detail"):
        found = document.get(name) if isinstance(document, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if found:
            return (found if isinstance(found, str) else msgspec.json.encode(found).decode())[:_LIMIT]
    return ""
