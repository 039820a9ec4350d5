"""Telling people of alarms: a webhook and apprise's services, against real HTTP receivers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamplighter.config import parse
from lamplighter.control.alarms import AlarmKeeper, Delivery, Rules
from lamplighter.control.clock import Clock
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.places import NotDelivered, Webhook, places_of
from lamplighter.control.recorder import Recorder
from lamplighter.domain.alarms import Alarm, AlarmKind
from lamplighter.domain.bulletin import Notice
from lamplighter.domain.secret import Secret
from lamplighter.errors import ConfigError, InvalidInput
from lamplighter.runtime import _alarm_rules

SOON = Delivery(look_every=0.01, deadline=0.5, pause=0.005, attempts=4, farewell=0.2)
ALARM = Alarm(
    kind=AlarmKind.STOP_FAILED, endpoint="chat", since=1_700_000_000.0, text="chat could not be put to sleep."
)
NOTICE = Notice(alarm=ALARM, at=1_700_000_060.0)
OVER = Notice(alarm=ALARM, at=1_700_000_060.0, resolved=True)


class Receiver:
    """A tiny HTTP server: answers with `statuses` in turn (the last one for ever), or never where it is None."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = list(statuses) or [200]
        self.paths: list[str] = []
        self.bodies: list[Any] = []
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            self.paths.append(head.split(" ")[1])
            self.bodies.append(json.loads(await reader.readexactly(length)))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status is None:
                await reader.read()
                return
            writer.write(b"HTTP/1.1 %d x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n" % status)
            await writer.drain()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


@contextlib.asynccontextmanager
async def telling(*places: Any, recorder: Recorder | None = None, **states: str) -> AsyncIterator[AlarmKeeper]:
    class Targets:
        @property
        def breakers(self) -> dict[str, str]:
            return states

    rules = Rules(places=places)
    keeper = AlarmKeeper(list, rules, Clock(), breakers=Targets(), recorder=recorder, delivery=SOON)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.close()


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def test_a_webhook_gets_what_is_wrong_and_that_it_is_over_as_json() -> None:
    async with Receiver(200, 204).listening() as receiver:
        hook = Webhook(Secret(f"http://127.0.0.1:{receiver.port}/hooks/s3cret"))
        await hook.send(NOTICE)
        await hook.send(OVER)
        await hook.close()
    assert receiver.paths == ["/hooks/s3cret"] * 2
    first, second = receiver.bodies
    assert first == {
        "alarm": "stop_failed",
        "endpoint": "chat",
        "since": 1_700_000_000.0,
        "text": "chat could not be put to sleep.",
        "resolved": False,
    }
    assert second["resolved"] is True
    assert second["text"].startswith("chat: stop_failed is over, after 1 min.")


async def test_apprise_sends_to_its_services() -> None:
    async with Receiver().listening() as receiver:
        (service,) = places_of([Secret(f"json://127.0.0.1:{receiver.port}/hooks")], None)
        assert service.name == "JSON (alarms.urls[0])"
        await service.send(NOTICE)
        await service.send(OVER)
    assert [(body["title"], body["type"]) for body in receiver.bodies] == [
        ("Lamplighter: chat: stop_failed", "failure"),
        ("Lamplighter: chat: stop_failed is over", "success"),
    ]


@pytest.mark.parametrize(("status", "final"), [(302, True), (404, True), (429, False), (503, False)])
async def test_an_answer_that_is_no_receipt_is_told_and_only_a_lasting_one_ends_the_attempts(
    status: int, final: bool
) -> None:
    async with Receiver(status).listening() as receiver:
        hook = Webhook(Secret(f"http://127.0.0.1:{receiver.port}/"))
        with pytest.raises(NotDelivered, match=f"it answered {status}") as caught:
            await hook.send(NOTICE)
        assert caught.value.final is final
        await hook.close()


async def test_a_receiver_that_fails_gets_the_notice_once_it_works_again() -> None:
    async with Receiver(500, 503, 200).listening() as hook, Receiver(500, 200).listening() as service:
        places = places_of(
            [Secret(f"json://127.0.0.1:{service.port}/")], Secret(f"http://127.0.0.1:{hook.port}/s3cret")
        )
        async with telling(*places, chat="open") as keeper:
            await until(lambda: len(hook.bodies) == 3 and len(service.bodies) == 2)
            await until(lambda: set(keeper.places.values()) == {None})
    assert {body["alarm"] for body in hook.bodies} == {"breaker_open"}


async def test_nothing_that_fails_shows_an_address(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Receiver(None).listening() as silent:
        urls = [Secret(f"json://127.0.0.1:{silent.port}/s3cret"), Secret("json://127.0.0.1:1/s3cret")]
        places = places_of(urls, Secret("http://127.0.0.1:1/s3cret"))
        async with telling(*places, chat="open") as keeper:
            await until(lambda: None not in keeper.places.values())
            assert keeper.places["webhook"] == "no answer (ConnectError)"
            tested = await keeper.test()
            assert None not in tested.values()
            shown = f"{keeper.places} {tested} {places} {capsys.readouterr()} {caplog.text}"
        shown += f"{capsys.readouterr()} {caplog.text}"
    assert "breaker_open" in shown
    assert "s3cret" not in shown


async def test_a_service_that_never_answers_holds_up_neither_the_others_nor_the_end() -> None:
    async with Receiver(None).listening() as silent, Receiver().listening() as good:
        places = places_of([Secret(f"json://127.0.0.1:{port}/?rto=30") for port in (silent.port, good.port)], None)
        loop = asyncio.get_running_loop()
        async with telling(*places, chat="open") as keeper:
            await until(lambda: good.bodies)
            await until(lambda: keeper.places["JSON (alarms.urls[0])"])
            began = loop.time()
        assert loop.time() - began < 2
        assert len(silent.bodies) == 1  # no second attempt while the first one goes on


async def test_a_test_message_tells_for_each_place_whether_it_arrived() -> None:
    async with Receiver().listening() as good, Receiver(403).listening() as bad:
        places = places_of([Secret(f"json://127.0.0.1:{good.port}/")], Secret(f"http://127.0.0.1:{bad.port}/"))
        journal = MemoryJournal()
        async with telling(*places, recorder=Recorder(journal, Clock())) as keeper:
            assert await keeper.test(actor="me") == {"webhook": "it answered 403", "JSON (alarms.urls[0])": None}
            (told,) = journal.operations
            assert (told.operation, told.actor, told.success) == ("test alarms", "me", False)
            assert told.error == "webhook: it answered 403"
            keeper.apply(Rules(places=places[1:]))
            await keeper.test(actor="me")
            assert journal.operations[-1].success
    assert good.bodies[0]["message"].startswith("This is a test")
    assert bad.bodies[0]["alarm"] == "test"


@pytest.mark.parametrize("url", ["ftp://host/s3cret", "s3cret", "http://", "http://[s3cret"])
def test_a_webhook_that_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"alarms\.webhook: what it names is no http") as caught:
        places_of([], Secret(url))
    assert "s3cret" not in caught.value.message


def test_what_is_no_service_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput, match=r"alarms\.urls\[1\]: what it names is no URL") as caught:
        places_of([Secret("json://localhost"), Secret("carrier-pigeon://s3cret")], None)
    assert "s3cret" not in caught.value.message


def test_an_address_that_no_service_knows_is_told_with_its_line_wherever_it_is_found_out() -> None:
    text = "alarms:\n  urls:\n    - env:GOOD\n    - env:ODD\nendpoints: {a: {command: run}}\n"
    settings = parse(text, "here.yaml", {"GOOD": "json://h", "ODD": "slakc://s3cret"})
    with pytest.raises(ConfigError, match=r"^here\.yaml:4: alarms\.urls\[1\]: what it names is no URL") as caught:
        _alarm_rules(settings)
    assert "s3cret" not in str(caught.value)
