"""Alarms: which stand, over the fleet and a simulated provider in simulated time; and that people are told, not pestered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lamplighter.control.alarms import AlarmKeeper, Delivery, Rules
from lamplighter.control.places import NotDelivered
from lamplighter.domain.alarms import Alarm, AlarmKind, Bounds, Watch, span
from lamplighter.domain.bulletin import CALM, Bulletin, Notice
from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Spec, State
from lamplighter.providers.memory import Fault
from tests.unit.test_fleet import Stage, spec, stage
from tests.virtual_time import virtual

HOUR = 3600.0
NOW = 1_700_000_000.0


class Recorded:
    """A place that keeps what it is sent."""

    name = "recorded"

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        self.notices.append(notice)

    async def close(self) -> None:
        pass

    @property
    def told(self) -> list[str]:
        return [notice.title for notice in self.notices]


class Targets:
    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    @property
    def breakers(self) -> Mapping[str, str]:
        return self.states


@contextlib.asynccontextmanager
async def watched(
    s: Stage,
    place: Recorded | None = None,
    *,
    memory: Path | None = None,
    targets: Targets | None = None,
    every: float = 5.0,
    **bounds: Any,
) -> AsyncIterator[tuple[AlarmKeeper, Recorded]]:
    place = place or Recorded()
    rules = Rules(bounds=Bounds(**bounds), places=[place])
    delivery = Delivery(look_every=0.01 if memory else every)
    keeper = AlarmKeeper(s.fleet.endpoints, rules, s.clock, memory=memory, breakers=targets, delivery=delivery)
    await keeper.start()
    try:
        yield keeper, place
    finally:
        await keeper.close()


def kinds(keeper: AlarmKeeper) -> list[str]:
    return [case.alarm.kind.value for case in keeper.standing]


@virtual
async def test_a_stop_that_fails_is_told_once_and_that_it_is_over_too() -> None:
    async with stage(spec(backoff_base=30.0, backoff_cap=30.0)) as s, watched(s) as (keeper, place):
        await s.serve()
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 5)
        await asyncio.sleep(68)
        assert place.told == ["chat: stop_failed"]
        assert kinds(keeper) == ["stop_failed"]
        text = place.notices[0].text
        assert "still be running, and billed" in text
        assert "`lamplighter sleep chat`" in text
        assert "sleep was refused" in text
        await asyncio.sleep(5 * 30 + CALM + 40)
        assert place.told == ["chat: stop_failed", "chat: stop_failed is over"]
        assert kinds(keeper) == []


@virtual
async def test_a_stop_that_is_never_confirmed_is_an_alarm() -> None:
    async with stage(spec()) as s, watched(s) as (_, place):
        await s.serve()
        s.provider.script("chat", "sleep", Fault.LOSE, Fault.LOSE)
        await asyncio.sleep(120)
        assert place.told == ["chat: stop_failed"]
        on_record = [one for one in s.journal.operations if one.operation.startswith("sleep")]
        assert [(one.operation, one.actor, one.success, one.change) for one in on_record] == [
            ("sleep", "policy", True, "asked"),
            ("sleep not confirmed", "policy", False, None),
            ("sleep", "policy", True, "asked"),
        ]
        assert on_record[1].error == "the provider accepted it and never did it"


@virtual
async def test_what_is_mended_stands_no_more_from_that_moment_on_and_its_end_is_told_without_advice() -> None:
    async with stage(spec(idle_timeout=None)) as s, watched(s, awake=100.0) as (keeper, place):
        await s.serve()
        await asyncio.sleep(120)
        (case,) = keeper.standing
        assert "chat has been awake for 2 min" in case.alarm.whole
        assert case.alarm.whole.endswith("`lamplighter sleep chat` puts it to sleep.")
        assert place.notices[0].text.endswith("`lamplighter sleep chat` puts it to sleep.")
        await s.fleet.sleep("chat", actor="me")
        await s.fleet.settled("chat", Phase.SLEEPING, timeout=60)
        assert keeper.standing == []
        assert place.told == ["chat: awake_too_long"]
        await asyncio.sleep(CALM + 10)
        assert place.told == ["chat: awake_too_long", "chat: awake_too_long is over"]
        assert "It was: chat has been awake for" in place.notices[1].text
        assert "`" not in place.notices[1].text
        assert "billed" not in place.notices[1].text


@virtual
async def test_an_endpoint_that_is_used_again_after_a_failed_stop_costs_for_somebody() -> None:
    async with stage(spec(backoff_base=300.0, backoff_cap=300.0)) as s, watched(s) as (keeper, _):
        await s.serve()
        s.provider.script("chat", "sleep", Fault.REFUSE)
        await asyncio.sleep(70)
        assert kinds(keeper) == ["stop_failed"]
        for _ in range(40):
            await s.serve()
            await asyncio.sleep(5)
        assert kinds(keeper) == []


@virtual
async def test_what_stands_is_told_again_every_so_often() -> None:
    async with stage(spec()) as s, watched(s, every=30.0) as (_, place):
        await s.serve()
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 10_000)
        await asyncio.sleep(13 * HOUR)
        assert place.told == ["chat: stop_failed", "chat: stop_failed still stands", "chat: stop_failed still stands"]


@virtual
async def test_wakes_that_are_given_up_are_an_alarm_until_one_succeeds() -> None:
    async with stage(spec(wake_attempts=2, backoff_base=20.0)) as s, watched(s) as (keeper, place):
        s.provider.script("chat", "wake", *[Fault.REFUSE] * 2)
        with pytest.raises(Exception, match="could not be started"):
            await s.serve(timeout=100)
        await asyncio.sleep(6)
        assert place.told == ["chat: wake_failed"]
        assert "`lamplighter wake chat`" in place.notices[0].text
        await s.fleet.wake("chat", actor="me")
        await asyncio.sleep(CALM + 20)
        assert place.told == ["chat: wake_failed", "chat: wake_failed is over"]
        assert kinds(keeper) == []


@virtual
async def test_awake_for_longer_than_wanted_is_an_alarm_only_where_somebody_set_a_bound() -> None:
    async with (
        stage(spec(idle_timeout=None)) as s,
        watched(s, awake=12 * HOUR, idle=None, every=9.0) as (bounded, told),
        watched(s, idle=None, every=9.0) as (free, _),
    ):
        await s.serve()
        await asyncio.sleep(12 * HOUR - 10)
        assert kinds(bounded) == []
        await asyncio.sleep(20)
        assert kinds(bounded) == ["awake_too_long"]
        assert "longer than 12 h" in told.notices[0].text
        assert kinds(free) == []
        await s.fleet.sleep("chat", actor="me")
        await asyncio.sleep(CALM + 20)
        assert told.told == ["chat: awake_too_long", "chat: awake_too_long is over"]


@virtual
async def test_sleep_starts_the_time_awake_anew() -> None:
    async with stage(spec()) as s, watched(s, awake=HOUR, every=30.0) as (_, place):
        for _ in range(200):
            await s.serve()
            await asyncio.sleep(70)  # it sleeps after 60
        assert place.told == []


@virtual
async def test_what_runs_for_nobody_without_an_idle_timeout_is_found() -> None:
    async with stage(spec(idle_timeout=None)) as s, watched(s) as (keeper, place):
        await s.serve()
        await asyncio.sleep(HOUR - 20)
        assert place.told == []
        await s.serve()  # its clock starts anew
        await asyncio.sleep(HOUR - 20)
        assert place.told == []
        await asyncio.sleep(60)
        assert place.told == ["chat: nobody_holds"]
        assert "it has no idle timeout" in place.notices[0].text
        s.fleet.hold("chat", "lease")
        await asyncio.sleep(CALM + 20)
        assert kinds(keeper) == []


@virtual
async def test_what_is_kept_warm_on_purpose_is_no_alarm() -> None:
    async with stage(spec(keep_warm=True)) as s, watched(s, awake=HOUR, every=60.0) as (_, place):
        await asyncio.sleep(10 * HOUR)
        assert s.phase() is Phase.RUNNING
        assert place.told == []


@virtual
async def test_what_its_provider_should_have_put_to_sleep_is_found() -> None:
    afar = spec(slept_by_provider=True, idle_timeout=900.0)
    async with stage(afar, reports_changes=False) as s, watched(s) as (_, place):
        await s.serve()
        await asyncio.sleep(900 + 590)
        assert place.told == []
        await asyncio.sleep(60)
        assert place.told == ["chat: nobody_holds"]


@virtual
async def test_a_provider_that_can_not_be_asked_is_an_alarm_and_takes_back_no_other_one() -> None:
    slow = spec(backoff_base=30.0, backoff_cap=30.0)
    async with stage(slow, reports_changes=False, look_every=20.0) as s, watched(s) as (keeper, place):
        await s.serve()
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 1000)
        await asyncio.sleep(100)
        assert kinds(keeper) == ["stop_failed"]
        s.provider.script("chat", "observe", *[Fault.UNREACHABLE] * 40)
        await asyncio.sleep(700)
        assert kinds(keeper) == ["state_unknown", "stop_failed"]
        assert place.told == ["chat: stop_failed", "chat: state_unknown"]


@virtual
async def test_flapping_is_not_spam() -> None:
    async with stage() as s:
        targets = Targets()
        async with watched(s, targets=targets, every=30.0) as (_, place):
            for minute in range(24 * 60):
                targets.states["router"] = "open" if minute % 4 else "closed"
                await asyncio.sleep(60)
            assert len(place.notices) <= 8  # a day of opening and closing every four minutes


@virtual
async def test_a_breaker_is_an_alarm_until_it_is_closed() -> None:
    async with stage() as s:
        targets = Targets()
        async with watched(s, targets=targets) as (keeper, place):
            targets.states = {"router": "half-open", "chat": "open"}
            await asyncio.sleep(10)
            assert kinds(keeper) == ["breaker_open"]
            assert "`lamplighter logs chat`" in place.notices[0].text
            targets.states = {"chat": "half-open"}
            await asyncio.sleep(2 * CALM)
            assert kinds(keeper) == ["breaker_open"]
            targets.states = {"chat": "closed"}
            await asyncio.sleep(2 * CALM)
            assert place.told == ["chat: breaker_open", "chat: breaker_open is over"]


@virtual
async def test_an_endpoint_that_is_taken_out_leaves_no_alarm_behind() -> None:
    async with stage(spec(wake_attempts=1, backoff_base=300.0)) as s, watched(s) as (keeper, place):
        s.provider.script("chat", "wake", Fault.REFUSE)
        with contextlib.suppress(Exception):
            await s.serve(timeout=5)
        await asyncio.sleep(10)
        assert kinds(keeper) == ["wake_failed"]
        s.fleet.remove("chat")
        await asyncio.sleep(CALM + 20)
        assert place.told == ["chat: wake_failed", "chat: wake_failed is over"]


async def test_what_was_told_is_remembered_over_a_restart(tmp_path: Path) -> None:
    memory, targets, place = tmp_path / "alarms.json", Targets(), Recorded()
    targets.states = {"chat": "open"}
    async with stage() as s:
        for _ in range(3):
            async with watched(s, place, memory=memory, targets=targets) as (keeper, _):
                await until(lambda: memory.exists() and json.loads(memory.read_text()))
                assert kinds(keeper) == ["breaker_open"]
        assert place.told == ["chat: breaker_open"]
        assert memory.stat().st_mode & 0o777 == 0o600
        targets.states = {}
        async with watched(s, place, memory=memory, targets=targets) as (keeper, _):
            await until(lambda: keeper._bulletin.standing[0].clear_since is not None)
            s.clock.offset += CALM
            await until(lambda: len(place.told) == 2)
        assert place.told[1] == "chat: breaker_open is over"
        memory.write_text("{")
        async with watched(s, place, memory=memory, targets=targets) as (keeper, _):
            assert kinds(keeper) == []


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@virtual
async def test_one_place_that_hangs_holds_up_neither_the_others_nor_the_next_look() -> None:
    class Hanging(Recorded):
        name = "hanging"

        async def send(self, notice: Notice) -> None:
            await asyncio.Event().wait()

    targets, good, bad = Targets(), Recorded(), Hanging()
    async with stage() as s:
        rules = Rules(places=[bad, good], repeat_every=60.0)
        keeper = AlarmKeeper(s.fleet.endpoints, rules, s.clock, breakers=targets, delivery=Delivery(queue=10))
        await keeper.start()
        targets.states = {f"target-{number}": "open" for number in range(50)}
        await asyncio.sleep(HOUR)
        assert len(good.notices) >= 50
        assert keeper.places == {"hanging": "no answer within 20 s", "recorded": None}
        began = s.clock.now()
        await keeper.close()
        assert s.clock.now() - began < 3


@virtual
async def test_a_place_that_fails_for_a_while_gets_the_notice_later_and_a_refusal_is_not_repeated() -> None:
    class Failing(Recorded):
        attempts = 0
        final = False

        async def send(self, notice: Notice) -> None:
            self.attempts += 1
            if self.final or self.attempts < 4:
                raise NotDelivered("it answered 500", final=self.final)
            await super().send(notice)

    later, never = Failing(), Failing()
    never.final = True
    targets = Targets()
    async with stage() as s:
        keeper = AlarmKeeper(s.fleet.endpoints, Rules(places=[later, never]), s.clock, breakers=targets)
        await keeper.start()
        targets.states = {"chat": "open"}
        await asyncio.sleep(120)
        assert later.told == ["chat: breaker_open"]
        assert (later.attempts, never.attempts) == (4, 1)
        await keeper.close()


@virtual
async def test_new_rules_take_the_place_of_the_old_ones() -> None:
    old, new, targets = Recorded(), Recorded(), Targets()
    async with stage() as s:
        keeper = AlarmKeeper(s.fleet.endpoints, Rules(places=[old]), s.clock, breakers=targets)
        await keeper.start()
        keeper.apply(Rules(places=[new]))
        targets.states = {"chat": "open"}
        await asyncio.sleep(10)
        assert (old.told, new.told) == ([], ["chat: breaker_open"])
        await keeper.close()


def endpoint(**changes: Any) -> Endpoint:
    one = Spec(name="chat", provider="memory", engine=EngineSpec(engine="none"))
    return dataclasses.replace(Endpoint(spec=one, state=State.RUNNING, phase=Phase.RUNNING), **changes)


def found(*endpoints: Endpoint, bounds: Bounds | None = None) -> Sequence[AlarmKind]:
    return [kind for kind, _ in Watch(bounds).look(endpoints, {}, NOW)]


def test_an_endpoint_that_is_just_starting_has_not_been_awake_since_its_last_time() -> None:
    starting = endpoint(
        state=State.INITIALIZING, phase=Phase.STARTING, wake_time=NOW - 50 * HOUR, sleep_time=NOW - 40 * HOUR
    )
    assert found(starting, bounds=Bounds(awake=HOUR)) == []
    assert found(endpoint(wake_time=NOW - 2 * HOUR), bounds=Bounds(awake=HOUR)) == [AlarmKind.AWAKE_TOO_LONG]


def test_reasons_are_one_line_of_bounded_length() -> None:
    failed = endpoint(state=State.FAILED, phase=Phase.ERROR, gave_up=True, message="no\nsuch  file\n" + "x" * 5000)
    ((_, alarm),) = Watch().look([failed], {}, NOW).items()
    assert "\n" not in alarm.text
    assert "no such file" in alarm.text
    assert len(alarm.text) < 600


def test_a_clock_that_was_set_back_tells_no_nonsense() -> None:
    bulletin = Bulletin(repeat_every=HOUR)
    alarm = Alarm(kind=AlarmKind.STOP_FAILED, endpoint="chat", since=NOW, text="…")
    assert len(bulletin.news({alarm.key: alarm}, NOW)) == 1
    assert bulletin.news({alarm.key: alarm}, NOW - 5 * HOUR) == []
    assert bulletin.news({}, NOW - 5 * HOUR) == []
    (over,) = bulletin.news({}, NOW - 5 * HOUR + CALM)
    assert over.resolved
    assert "after 0 s" in over.text


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (40, "40 s"), (90, "1 min 30 s"), (43200, "12 h"), (187_200, "2 d 4 h")]
)
def test_times_are_said_in_their_largest_units(seconds: float, said: str) -> None:
    assert span(seconds) == said
