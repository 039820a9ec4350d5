"""Passing a call on to a model of this server, and giving every failure the one shape."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamplighter.api.problems import answer, details
from lamplighter.control.origin import ORIGIN
from lamplighter.domain.inference import TASK, InferenceRequest
from lamplighter.errors import (
    EndpointPaused,
    Forbidden,
    ForeignPage,
    InvalidInput,
    LamplighterError,
    ModelNotFound,
    NotFound,
    ProviderError,
    Unavailable,
)
from lamplighter.hf.exchange import Answer
from lamplighter.hf.inference import refusal
from lamplighter.hf.pace import told_wait

_MOST_ERROR = 256 * 1024
_NOT_PASSED = frozenset(
    {
        *(b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type"),
        *(b"origin", b"transfer-encoding", b"x-request-id"),
    }
)
_KEPT_OF_ERRORS = (b"x-lamplighter-", b"x-ratelimit-")
_TARGET = "x-lamplighter-target"
_OWN_NUMBER = b"x-request-id"
_HOLD = b"x-scale-up-timeout"


class Passed(Response):
    """The answer of a model here, as it comes; a failure in the shape of all of them."""

    def __init__(self, door: ASGIApp, payload: InferenceRequest, *, hold: float | None = None) -> None:
        """`hold`: how many seconds it may be held while the model wakes; None leaves that to the model's policy.

        Raises InvalidInput for a payload that can't be passed on.
        """
        super().__init__()
        self._door = door
        self._payload = payload
        self._hold = hold
        self._content = payload.written(model=payload.model)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it as a request to the model's own surface would be."""
        content = self._content
        reworded = _Reworded(send, self._payload.model)
        await self._door(_scope(scope, self._payload, content, self._hold), _behind(content, receive), reworded)
        await reworded.finish(scope, receive)


def _scope(scope: Scope, payload: InferenceRequest, content: bytes, hold: float | None) -> Scope:
    if payload.meant_for == TASK:
        path, raw = f"/endpoints/{payload.model}/", f"/endpoints/{quote(payload.model, safe='')}/"
    else:
        path = raw = f"/v1/{payload.meant_for}"
    headers = [pair for pair in scope["headers"] if pair[0] not in _NOT_PASSED]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if number := ORIGIN.get().request_id:
        headers.append((_OWN_NUMBER, number.encode("latin-1")))
    if hold is not None and not any(name == _HOLD for name, _ in headers):
        headers.append((_HOLD, f"{hold:g}".encode()))
    return {**scope, "path": path, "raw_path": raw.encode(), "query_string": b"", "headers": headers}


def _behind(content: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body, and whatever else the client says."""
    first: Iterator[Message] = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def next_message() -> Message:
        return next(first, None) or await receive()

    return next_message


class _Reworded:
    """Passes a success on, and holds a failure back until it is known whole."""

    def __init__(self, send: Send, model: str) -> None:
        self._send = send
        self._model = model
        self._failure: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._failure = message
                return
            kept = [pair for pair in message.get("headers", ()) if pair[0] != _OWN_NUMBER]  # it gets one of its own
            message = {**message, "headers": kept}
        if self._failure is None:
            await self._send(message)
        elif len(self._body) < _MOST_ERROR:
            self._body += message.get("body", b"")

    async def finish(self, scope: Scope, receive: Receive) -> None:
        """Tell the failure, if it was one."""
        if self._failure is None:
            return
        headers: list[tuple[bytes, bytes]] = list(self._failure.get("headers", ()))
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        wait = told_wait(named, time.time())
        error = error_of(Answer(status=self._failure["status"], headers=named, body=self._body, wait=wait), self._model)
        kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if _is_kept(name)}
        await answer(details(error, called=True), kept)(scope, receive, self._send)


def _is_kept(name: bytes) -> bool:
    return name.startswith(_KEPT_OF_ERRORS)


def error_of(answered: Answer, model: str) -> LamplighterError:
    """What a failure at the door means: the gateway's own word for it, or that of the target it asked.

    A target that refuses this server's key says nothing of the client's.
    """
    target = answered.headers.get(_TARGET)
    code, text, param = _words(answered.body)
    if target is not None and answered.status in {401, 403}:
        return ProviderError(f"{target} refuses the key that this server has for it: {text or answered.status}.")
    kind = _BY_CODE.get(code)
    if kind is None or kind.status != answered.status or not text:
        return refusal(answered, target or "this server", model)
    if issubclass(kind, Unavailable):
        return kind(text, retry_after=answered.wait)
    if issubclass(kind, InvalidInput):
        return InvalidInput(text, field=param)
    if issubclass(kind, NotFound):
        return ModelNotFound(text, model=model)
    if issubclass(kind, EndpointPaused):
        return EndpointPaused(model)
    return Forbidden(text) if issubclass(kind, ForeignPage) else kind(text)


def _words(body: bytes) -> tuple[str, str, str | None]:
    """Code, text and field of an error, in either of the gateway's shapes."""
    try:
        said: Any = json.loads(body)
        error = said["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return "", "", None
    if isinstance(error, dict):
        param = error.get("param")
        return str(error.get("code")), str(error.get("message") or ""), param if isinstance(param, str) else None
    return str(said.get("code")), str(error), None


def _family(kind: type[LamplighterError]) -> Iterator[type[LamplighterError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


_BY_CODE = {kind.code: kind for kind in _family(LamplighterError)}
