"""`/v1/messages`: errors as Anthropic's API words them, so that its clients raise their own exceptions with our text.

The form, and which type goes with which status: platform.claude.com/docs/en/api/errors. A 503 is no status of theirs;
it says what their 529 does.
"""

from __future__ import annotations

from lamplighter.errors import LamplighterError, WakeFailed

PATH = "/v1/messages"

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FAULT = "api_error"
_KNOWN = frozenset({*_TYPES.values(), _FAULT})


def is_messages(path: str) -> bool:
    """Whether a path is of this API: messages themselves, their token counts, their batches."""
    return path.startswith(PATH) and path[len(PATH) : len(PATH) + 1] in {"", "/"}


def messages_error(error: LamplighterError, request_id: bytes) -> dict[str, object]:
    """An error of our own in that form."""
    return document(type_of(error.status, code=error.code), error.message, request_id)


def document(kind: str, message: str, request_id: bytes) -> dict[str, object]:
    """An error in that form; `kind` is its type."""
    told = {"type": kind, "message": message}
    return {"type": "error", "error": told, "request_id": request_id.decode("ascii")}


def type_of(status: int, *, said: object = None, code: object = None) -> str:
    """The type of an error with this status.

    What an engine `said` for one counts where it is a type of that API. `code` is our word for the error.
    """
    if isinstance(said, str) and said in _KNOWN and said != _TYPES[400]:  # OpenAI's engines use that for any 4xx
        return said
    if code == WakeFailed.code:
        return _FAULT  # to come again is no use
    return _TYPES.get(status) or (_TYPES[400] if status < 500 else _FAULT)
