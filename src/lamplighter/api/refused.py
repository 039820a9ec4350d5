"""Puts on record who asked for a change and was refused before it began: no key, no right, or not to be read."""

from __future__ import annotations

import time
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from lamplighter.api.findings import findings
from lamplighter.control.recorder import Recorder
from lamplighter.domain.rate import Bucket
from lamplighter.errors import InvalidInput, LamplighterError

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing, and what is refused of them is not on record."""
NOBODY: Final = "nobody"
"""Who it was where no key told."""
A_MINUTE: Final = 60
"""So many are written of strangers, and so many of those with a key: a flood must not fill the disk."""

_LONGEST = 200  # characters of a path, or of a text


class Refusals:
    """What goes beyond the bound is counted, and told with the next one that is written."""

    def __init__(self, recorder: Recorder | None) -> None:
        """`recorder` None: nothing is written."""
        self._recorder = recorder
        self._strangers = _Bound()
        self._known = _Bound()

    async def note(self, request: Request, error: LamplighterError, *, actor: str) -> None:
        """Take down that `request` was refused with `error`, if it was to change something."""
        if self._recorder is None or request.method in SAFE_METHODS:
            return
        left_out = (self._strangers if actor == NOBODY else self._known).take(time.monotonic())
        if left_out is None:
            return
        asked = f"{request.method} {request.url.path}"[:_LONGEST]
        more = f" (and {left_out} more that are not on record)" if left_out else ""
        await self._recorder.write("refused", None, actor, error=error, change=f"{asked}{more}")

    def watch(self, app: FastAPI) -> None:
        """Take down what `app` can't read, too; once its own answers are installed."""
        answer = app.exception_handlers[RequestValidationError]

        async def noted(request: Request, error: Exception) -> Response:
            assert isinstance(error, RequestValidationError)
            await self.note(request, _in_words(request, error), actor=getattr(request.state, "actor", NOBODY))
            response: Response = await answer(request, error)  # type: ignore[misc]  # ours are all asynchronous
            return response

        app.add_exception_handler(RequestValidationError, noted)


class _Bound:
    """How many may be written a minute, and how many were not."""

    def __init__(self) -> None:
        self._bucket = Bucket(A_MINUTE)
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """None: not this one. Else how many were left out before it."""
        if not self._bucket.take(now):
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out


def _in_words(request: Request, error: RequestValidationError) -> InvalidInput:
    """Which field it is, and what is wrong with it; never what was given: it may be a secret."""
    details = error.errors()[0]
    first = findings(request, [details])[0]
    own_words = details["type"] == "value_error"  # they may hold what was given
    return InvalidInput(f"{first.field}: {'is not right' if own_words else first.text}"[:_LONGEST], field=first.field)
