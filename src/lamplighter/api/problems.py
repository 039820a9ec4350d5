"""Every failure in one shape: `{"success": false, "error": {…}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from lamplighter.api.findings import findings, told
from lamplighter.domain.inference import FailureKind, failure_of
from lamplighter.errors import (
    EndpointNotFound,
    InvalidInput,
    LamplighterError,
    NotAllowed,
)

Responses: TypeAlias = dict[int | str, dict[str, Any]]

INFERENCE = "/api/inference/"
"""Below this models are called."""

_MOST_KNOWN = 100
_WORDS = {403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


class ErrorDetails(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: int
    """The HTTP status, again."""
    code: str
    """A stable word for programs."""
    message: str
    """The same for people."""
    field: str | None = None
    """Which input was not right; the first of several, which `message` tells all."""
    retry_after: float | None = None
    """Seconds after which another attempt makes sense, where that is known."""
    known: list[str] | None = None
    """Where a name was not found: those that are there, at most 100."""
    kind: FailureKind | None = None
    """Where a model was called: why that failed, in one of eight words, whoever refused it."""


class Problem(BaseModel):
    """The answer of every request that failed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    success: Literal[False] = False
    """Always false here."""
    error: ErrorDetails
    """What went wrong."""


RESPONSES: Responses = {
    401: {"model": Problem, "description": "No key, or one that is not known here"},
    403: {"model": Problem, "description": "A role that does not do, or a page of another web site"},
    429: {"model": Problem, "description": "Too many management requests; see `Retry-After`"},
    422: {"model": Problem, "description": "An input is not right; `field` names it"},
}
"""What any management route may answer."""

INVALID: Responses = {400: {"model": Problem, "description": "An input can't be what it says; `field` names it"}}
NAMED: Responses = {404: {"model": Problem, "description": "No such endpoint; `known` lists those that are there"}}
FAILED: Responses = {
    502: {"model": Problem, "description": "The provider or the engine failed"},
    503: {"model": Problem, "description": "Not now; see `Retry-After`"},
}


def details(error: LamplighterError, *, called: bool = False) -> ErrorDetails:
    """Say what is known of an error to a client. `called`: where a model was called."""
    return ErrorDetails(
        status=error.status,
        code=error.code,
        message=error.message,
        field=error.field if isinstance(error, InvalidInput) else None,
        retry_after=getattr(error, "retry_after", None),
        known=error.known[:_MOST_KNOWN] if isinstance(error, EndpointNotFound) else None,
        kind=failure_of(error) if called else None,
    )


def answer(error: ErrorDetails, headers: Mapping[str, str] | None = None, **beside: Any) -> JSONResponse:
    """Make the response of a failure; `beside` goes next to `error`."""
    content = {"success": False, "error": error.model_dump(exclude_none=True)} | beside
    return JSONResponse(content, status_code=error.status, headers=_headers(error) | dict(headers or {}))


def _headers(error: ErrorDetails) -> dict[str, str]:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == NotAllowed.status:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def install(app: FastAPI) -> None:
    """Answer every failure of `app` in this shape."""
    app.add_exception_handler(LamplighterError, _on_lamplighter_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_input)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_fault)


async def _on_lamplighter_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LamplighterError)
    return answer(details(error, called=_calls_model(request)))


async def _on_invalid_input(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if message := _about_the_body(request, first):
        return answer(ErrorDetails(status=422, code=InvalidInput.code, message=message))
    found = findings(request, error.errors())
    kind = FailureKind.BAD_INPUT if _calls_model(request) else None
    text = f"{told(found)}."
    return answer(ErrorDetails(status=422, code=InvalidInput.code, message=text, field=found[0].field, kind=kind))


def _calls_model(request: Request) -> bool:
    return request.url.path.startswith(INFERENCE)


def _about_the_body(request: Request, first: Mapping[str, Any]) -> str | None:
    """What is wrong with a body as a whole, where no field of it is."""
    if first["type"] == "json_invalid":
        return f"The body is not JSON: {str(first['ctx']['error']).lower()} at character {first['loc'][-1]}."
    if tuple(first["loc"]) != ("body",):
        return None
    if first["type"] == "missing":
        return "A body is needed: an object of JSON, with content-type: application/json."
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        said = f"not as {media[:100]}" if media else "and no content-type was sent"
        return f"The body should be sent with content-type: application/json, {said}."
    return "The body should be an object of JSON, such as {}."


async def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _WORDS.get(error.status_code, "invalid_request")
    return answer(ErrorDetails(status=error.status_code, code=code, message=error.detail), error.headers)


async def _on_fault(_: Request, error: Exception) -> JSONResponse:
    del error  # it goes to the log with its traceback; its text may hold what is nobody's business
    message = "Lamplighter failed; its log tells more."
    return answer(ErrorDetails(status=500, code=LamplighterError.code, message=message))
