"""Every failure in this API's own shape: `{"error": "<Kind>: <text>", "code": "<CODE>"}`.

`reason` beside them is Lamplighter's stable word for it. Never an array, and never `detail`: the official client shows
neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from lamplighter.api.findings import findings, told
from lamplighter.errors import (
    Forbidden,
    InvalidInput,
    LamplighterError,
    NotAllowed,
    RateLimited,
    TokenExpired,
    TokenMissing,
    TokenWrong,
    Unavailable,
)

Responses: TypeAlias = dict[int | str, dict[str, Any]]

_OUR_OWN_TOKEN = (TokenMissing, TokenWrong, TokenExpired, Forbidden)
VALIDATION_FAILED = "VALIDATION_FAILED"
"""The code for a document that is not right, as the cloud has it."""

_MEMBERS = frozenset({"name", "type", "provider", "compute", "model", "tags"})
_LONGEST_HEADER = 500
_RENAMED = {413: "Payload Too Large"}  # its name differs between versions of Python


class WrongNamespace(LamplighterError):
    """Another namespace than this server's was named."""

    status = 403
    exit_code = 4
    code = "wrong_namespace"


class Failure(BaseModel):
    """The answer of every request that failed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: str
    """What went wrong: a kind, a colon, a text for people."""
    code: str
    """The kind, for programs."""
    reason: str | None = None
    """Lamplighter's own word for it, for programs; more exact than `code`."""


RESPONSES: Responses = {
    400: {"model": Failure, "description": "Something that was given is not right"},
    401: {"model": Failure, "description": "No key, or one that is not known here"},
    403: {
        "model": Failure,
        "description": "Not a namespace of this server, a role that does not do, or a page of another web site",
    },
    404: {"model": Failure, "description": "No such endpoint"},
    "default": {"model": Failure, "description": "Anything else that went wrong; `code` tells"},
}
"""What any route of this API may answer."""


def failure(error: LamplighterError) -> JSONResponse:
    """Answer with an error of ours."""
    status = status_of(error)
    code = VALIDATION_FAILED if _is_of_document(error) else None
    return answer(status, error.message, code=code, reason=error.code, retry_after=_retry_after(error))


def _is_of_document(error: LamplighterError) -> bool:
    """Whether a member of a document is missing, or is not right."""
    if not isinstance(error, InvalidInput) or error.status != InvalidInput.status or error.field is None:
        return False
    return re.split(r"[.\[]", error.field, maxsplit=1)[0] in _MEMBERS


def status_of(error: LamplighterError) -> int:
    """The HTTP status. That a provider does not take this server's own token is not the client's fault."""
    return 502 if isinstance(error, _OUR_OWN_TOKEN) else error.status


def answer(
    status: int,
    text: str,
    *,
    code: str | None = None,
    reason: str | None = None,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make the response of a failure. `code` is for one that says more than the status does."""
    kind, usual = _kind(status)
    content = {"error": f"{kind}: {text}", "code": code or usual} | ({"reason": reason} if reason else {})
    own = dict(headers or {})
    if status == 401:
        own["WWW-Authenticate"] = "Bearer"
    if status == 403:
        own["X-Error-Message"] = _printable(text)
    if retry_after is not None:
        own["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return JSONResponse(content, status_code=status, headers=own)


def install(app: FastAPI) -> None:
    """Answer every failure of `app` in this shape."""
    app.add_exception_handler(LamplighterError, _on_lamplighter_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_input)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_fault)


def _kind(status: int) -> tuple[str, str]:
    phrase = _RENAMED.get(status) or HTTPStatus(status).phrase
    code = phrase.upper().replace(" ", "_")
    return ("401 Unauthorized" if status == NotAllowed.status else phrase), code


def _retry_after(error: LamplighterError) -> float | None:
    return error.retry_after if isinstance(error, Unavailable | RateLimited) else None


def _printable(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("\n", " ").replace("\r", " ")[:_LONGEST_HEADER]


async def _on_lamplighter_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LamplighterError)
    return failure(error)


async def _on_invalid_input(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer(400, f"{told(findings(request, error.errors()))}.", reason=InvalidInput.code)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    text = error.detail
    if error.status_code in {404, 405}:
        text = f"{request.method} {request.url.path[:200]} is not served here."
    return answer(error.status_code, text, headers=error.headers)


async def _on_fault(_: Request, error: Exception) -> JSONResponse:
    del error  # it goes to the log with its traceback; its text may hold what is nobody's business
    return answer(500, "Lamplighter failed; its log tells more.", reason=LamplighterError.code)
