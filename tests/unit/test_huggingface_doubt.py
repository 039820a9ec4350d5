"""Changes of an endpoint that got no clear answer: the next one makes sure of everything."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from lamplighter.domain.endpoint import Spec, State
from lamplighter.errors import InvalidInput, LamplighterError
from lamplighter.providers.huggingface.documents import whole_change
from tests.hf_stage import DROPPED, Asked, Reply
from tests.unit.test_huggingface_provider import AT, OWN, Play, theatre


def changed(**document: Any) -> Spec:
    assert OWN.deployment is not None
    newer = {**OWN.deployment.document, **document}
    return dataclasses.replace(OWN, deployment=dataclasses.replace(OWN.deployment, document=newer))


class Odd(Play):
    """It does what it is asked to, and answers otherwise."""

    def __init__(self, play: Play, answer: Reply) -> None:
        self.__dict__ = play.__dict__
        self.answer = answer
        self.tags: list[str] = []
        self.cloud.script("PUT", AT, self._update)
        self.cloud.script("GET", AT, self._read)

    def _update(self, asked: Asked) -> Reply:
        super()._update(asked)
        self.tags = asked.body.get("tags", self.tags)
        return self.answer

    def document(self) -> dict[str, Any]:
        return super().document() | {"tags": self.tags}


@pytest.mark.parametrize("answer", [DROPPED, Reply(502), Reply(500, {"error": "oops"})])
async def test_after_a_change_without_an_answer_the_old_one_is_sent_whole(
    answer: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with theatre(monkeypatch) as (ours, play):
        await ours.create(OWN)
        odd = Odd(play, answer)
        with pytest.raises(LamplighterError):
            await ours.update(changed(tags=["a"]))
        assert odd.tags == ["a"]
        odd.answer = Reply(body=odd.document())
        assert (await ours.update(OWN)).state is State.SCALED_TO_ZERO
        assert odd.tags == []
        assert odd.bodies[-1]["model"]["repository"] == "org/model"
        sent = len(odd.bodies)
        await ours.update(OWN)
        assert len(odd.bodies) == sent, "nothing is in doubt any more"


async def test_a_change_that_is_given_up_while_it_is_sent_is_undone_by_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with theatre(monkeypatch) as (ours, play):
        await ours.create(OWN)
        odd = Odd(play, Reply(pieces=(asyncio.Event(),)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ours.update(changed(tags=["a"]))
        odd.answer = Reply(body=odd.document())
        await ours.update(OWN)
        assert odd.tags == []


async def test_after_a_clear_no_only_what_differs_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with theatre(monkeypatch) as (ours, play):
        await ours.create(OWN)
        play.cloud.script("PUT", AT, Reply(400, {"error": "Bad Request: tags: no", "code": "BAD_REQUEST"}))
        with pytest.raises(InvalidInput):
            await ours.update(changed(tags=["a"]))
        play.cloud.script("PUT", AT, play._update)
        await ours.update(changed(tags=["b"]))
        assert play.bodies[-1] == {"tags": ["b"]}


async def test_a_change_that_was_taken_is_taken_though_the_look_after_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async with theatre(monkeypatch) as (ours, play):
        await ours.create(OWN)
        play.cloud.script("GET", AT, DROPPED)
        assert (await ours.update(changed(tags=["a"]))).state is None
        play.cloud.script("GET", AT, play._read)
        await ours.update(changed(tags=["a"]))
        assert play.bodies == [{"tags": ["a"]}]


def test_a_whole_change_sends_everything_and_empties_what_is_too_much() -> None:
    found = {
        "name": "e",
        "tags": ["a"],
        "model": {"env": {"A": "1"}, "args": ["x"], "task": "chat"},
        "status": {"x": 1},
    }
    after = {"name": "e", "provider": {"vendor": "aws"}, "model": {"repository": "r", "task": "chat"}}
    assert whole_change(found, after) == {
        "tags": [],
        "model": {"repository": "r", "task": "chat", "env": {}, "args": []},
    }
