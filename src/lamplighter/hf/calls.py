"""Asking the API and taking the answer apart: success or one of our errors, JSON or one of our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lamplighter.errors import Forbidden, LamplighterError, TokenWrong
from lamplighter.hf.answers import error_for
from lamplighter.hf.exchange import Answer, Asked, Question, parsed
from lamplighter.hf.hosts import host_of
from lamplighter.hf.pace import Pace
from lamplighter.hf.records import Owner
from lamplighter.hf.token import cloud_token_missing, server_key_missing
from lamplighter.hf.wire import LookBack, Wire

WRITE = "inference.endpoints.write"
"""The right to make and change endpoints."""


class Calls:
    """What all routes share: the wire, whose token it is, and errors that say what they know."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.hosts = wire.hosts
        self.names: dict[str, tuple[str, ...]] = {}
        self._owner: Owner | None = None
        self._asking: asyncio.Task[Owner] | None = None

    async def close(self) -> None:
        """End what is under way."""
        if self._asking is not None and not self._asking.get_loop().is_closed():
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self.wire.close()

    async def answer(
        self,
        question: Question,
        asked: Asked,
        *,
        pace: Pace | None = None,
        look_back: LookBack | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Ask and give the answer, if it is a success. Raises what it means otherwise."""
        answer = await self.wire.ask(question, pace=pace, look_back=look_back, repeatable=repeatable)
        if not answer.is_success:
            raise await self.error(answer, question, asked)
        return answer

    async def json(self, question: Question, asked: Asked, *, pace: Pace | None = None, exact: bool = False) -> Any:
        """The same, with the answer's body as JSON; None for an empty one. `exact`: numbers are Decimals."""
        return parsed(await self.answer(question, asked, pace=pace), host_of(question.url), exact=exact)

    async def error(self, answer: Answer, question: Question, asked: Asked) -> LamplighterError:
        """What an unsuccessful answer means, with what else is known to explain it."""
        error = await self._meant(answer, question, asked)
        error.in_doubt = answer.repeated and question.method != "GET"
        return error

    async def _meant(self, answer: Answer, question: Question, asked: Asked) -> LamplighterError:
        asked = await self.informed(asked, question.url)
        error = error_for(answer, asked)
        if isinstance(error, TokenWrong) and asked.namespace is not None:
            return await self._explained(error, lambda owner: _no_access(owner, asked))
        if isinstance(error, Forbidden) and error.permission is None and question.method != "GET":
            return await self._explained(error, lambda owner: _read_only(owner, asked))
        return error

    async def informed(self, asked: Asked, url: str) -> Asked:
        """What was asked, with the token that went with it and the names that are known."""
        host = host_of(url)
        return replace(
            asked,
            host=host,
            token=await self.wire.token_for(url),
            missing=cloud_token_missing if self.hosts.is_cloud else lambda: server_key_missing(host),
            known=self.names.get(asked.namespace or "", ()),
        )

    async def _explained(
        self, error: LamplighterError, explain: Callable[[Owner], LamplighterError | None]
    ) -> LamplighterError:
        """A better error where knowing the token's owner gives one; when that can't be asked, the error itself."""
        try:
            return explain(await self.owner()) or error
        except LamplighterError:
            return error

    async def owner(self) -> Owner:
        """Whose token it is. Asked once, whoever waits for it; a failure is not kept."""
        if self._owner is not None:
            return self._owner
        loop = asyncio.get_running_loop()
        if self._asking is None or self._asking.done() or self._asking.get_loop() is not loop:
            self._asking = asyncio.create_task(self._ask_owner(), name="whose token is it")
            self._asking.add_done_callback(_look_at)
        return await asyncio.shield(self._asking)  # one that waits may be cancelled: the others still wait

    async def _ask_owner(self) -> Owner:
        question = Question(method="GET", url=f"{self.hosts.hub}/api/whoami-v2")
        self._owner = Owner.of(await self.json(question, Asked(host=self.hosts.name)))
        return self._owner


def _look_at(task: asyncio.Task[Owner]) -> None:
    """Where all who waited have left, nobody else takes note of a failure, which would be reported as forgotten."""
    if not task.cancelled():
        task.exception()


def _no_access(owner: Owner, asked: Asked) -> LamplighterError | None:
    if owner.name == asked.namespace:
        return None
    return Forbidden(
        f"The token of {owner.name!r} is good, but has no access to namespace {asked.namespace!r} at {asked.host}."
    )


def _read_only(owner: Owner, asked: Asked) -> LamplighterError | None:
    if owner.may(WRITE, asked.namespace) is not False:
        return None
    kind = "may only read" if owner.role == "read" else f"lacks the right {WRITE}"
    where = f" in namespace {asked.namespace!r}" if asked.namespace else ""
    return Forbidden(
        f"The token {kind}{where} at {asked.host}; make one with the role write, or with that right.", permission=WRITE
    )
