"""When a client looks while it waits, in simulated time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.endpoint import Phase, State
from lamplighter.errors import EndpointNotFound, Forbidden, ProviderUnreachable, WakeFailed, WakeTimeout
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.pacing import PER_MINUTE, WINDOW, Pace
from lamplighter.sdk.waiting import Progress, Vigil
from tests.virtual_time import virtual


@given(
    st.one_of(st.none(), st.floats(0, 2000)),
    st.lists(st.floats(0, 30), min_size=1, max_size=300),
)
def test_there_are_never_more_than_twelve_status_calls_in_a_minute_whatever_delays_them(
    expected: float | None, delays: list[float]
) -> None:
    pace, now, calls = Pace(100.0, expected), 100.0, []
    for delay in delays:
        now = max(now, pace.next_call(now)) + delay * 0.1
        pace.called(now)
        calls.append(now)
    for index, call in enumerate(calls):
        assert sum(call - WINDOW < other <= call for other in calls[: index + 1]) <= PER_MINUTE


@given(st.floats(5, 1000))
def test_looks_are_never_far_apart_and_come_every_second_when_the_end_is_expected(expected: float) -> None:
    pace, calls = Pace(0.0, expected), [0.0]
    pace.called(0.0)
    while calls[-1] < expected:
        calls.append(pace.next_call(calls[-1]))
        pace.called(calls[-1])
    gaps = [later - earlier for earlier, later in itertools.pairwise(calls)]
    assert max(gaps) <= 15.0
    assert min(gaps) == pytest.approx(1.0)


class Cloud(ManagementApi):
    """A provider that plays a start: `ready_after` seconds behind a resume the health route answers 200.

    `lag` is how much later the status says so; `holds` whether its proxy holds probes.
    """

    def __init__(self, *, ready_after: float, lag: float = 0.0, holds: bool = False, state: State = State.PAUSED):
        super().__init__("http://127.0.0.1:9")
        self.ready_after, self.lag, self.holds, self.asleep = ready_after, lag, holds, state
        self.resumed_at: float | None = None
        self.looks: list[float] = []
        self.probes: list[float] = []
        self.resumes = 0
        self.raises: Exception | None = None
        self.forced: State | None = None
        self.deaf_resumes = 0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def state(self) -> State:
        if self.forced is not None:
            return self.forced
        if self.resumed_at is None:
            return self.asleep
        return State.RUNNING if self.now >= self.resumed_at + self.ready_after + self.lag else State.INITIALIZING

    def endpoint(self) -> Endpoint:
        status: dict[str, Any] = {"state": self.state(), "url": "http://127.0.0.1:9/e"}
        if self.state() is State.FAILED:
            status["errorMessage"] = "CUDA out of memory"
        return Endpoint.of({"name": "e", "status": status}, "me")

    async def get(self, name: str, namespace: str | None = None) -> Endpoint:
        self.looks.append(self.now)
        if self.raises is not None:
            raise self.raises
        return self.endpoint()

    async def resume(self, name: str, namespace: str | None = None) -> Endpoint:
        self.resumes += 1
        if self.deaf_resumes:
            self.deaf_resumes -= 1
        else:
            self.resumed_at = self.now
        return self.endpoint()

    async def is_ready(self, endpoint: Endpoint, *, hold: float = 0.0) -> bool:
        self.probes.append(self.now)
        if self.holds and self.resumed_at is not None and not self._is_up():
            await asyncio.sleep(min(hold, self.resumed_at + self.ready_after - self.now))
        return self._is_up()

    def _is_up(self) -> bool:
        return self.resumed_at is not None and self.now >= self.resumed_at + self.ready_after

    async def start(self, *, timeout: float = 600, expected: float | None = None, **options: Any) -> float:
        """Start, and tell how long after the ready moment that was noticed."""
        vigil = Vigil(
            self, self.endpoint(), began=self.now, timeout=timeout, expected=expected, resumes=True, **options
        )
        await vigil.until_ready()
        return self.now - (self.resumed_at or 0.0) - self.ready_after

    async def wait(self, *, timeout: float = 600) -> Endpoint:
        return await Vigil(self, self.endpoint(), began=self.now, timeout=timeout).until_ready()


@pytest.mark.parametrize("ready_after", [3.0, 40.3, 84.9, 371.7])
def test_a_start_is_noticed_at_once_where_the_proxy_holds_the_question(ready_after: float) -> None:
    @virtual
    async def play() -> None:
        cloud = Cloud(ready_after=ready_after, lag=7.0, holds=True)
        assert await cloud.start() < 0.01
        assert len(cloud.looks) <= PER_MINUTE * (ready_after / 60 + 1)

    play()


@pytest.mark.parametrize("ready_after", [3.0, 40.3, 84.9, 371.7])
def test_a_start_whose_time_is_known_is_noticed_within_half_a_second_also_without_a_hold(ready_after: float) -> None:
    @virtual
    async def play() -> None:
        for off in (0.9, 1.0, 1.1, 1.25):
            cloud = Cloud(ready_after=ready_after, lag=7.0)
            assert await cloud.start(expected=ready_after / off) <= 0.51
            assert len(cloud.looks) <= PER_MINUTE * (ready_after / 60 + 1)

    play()


@virtual
async def test_a_start_of_unknown_length_is_noticed_in_five_seconds_and_costs_twelve_calls_a_minute() -> None:
    cloud = Cloud(ready_after=400.0)
    assert await cloud.start() <= 5.0
    assert len(cloud.looks) <= PER_MINUTE * 7


@virtual
async def test_one_that_is_ready_is_returned_with_one_probe_and_without_a_resume() -> None:
    cloud = Cloud(ready_after=0.0)
    cloud.resumed_at = cloud.now
    await cloud.start()
    assert (cloud.resumes, cloud.looks, len(cloud.probes)) == (0, [], 1)


@virtual
async def test_running_is_not_ready_before_the_health_route_says_so() -> None:
    cloud = Cloud(ready_after=20.0)
    cloud.resumed_at, cloud.forced = cloud.now, State.RUNNING
    assert 0 <= await cloud.start() <= 0.5


@virtual
async def test_a_start_under_way_is_joined() -> None:
    cloud = Cloud(ready_after=20.0, holds=True)
    cloud.resumed_at = cloud.now
    await cloud.start()
    assert cloud.resumes == 0


@virtual
async def test_a_failed_start_ends_the_wait_with_the_providers_words() -> None:
    cloud = Cloud(ready_after=600.0)

    async def fail() -> None:
        await asyncio.sleep(30)
        cloud.forced = State.FAILED

    failing = asyncio.create_task(fail())
    began = cloud.now
    with pytest.raises(WakeFailed, match="CUDA out of memory"):
        await cloud.start()
    assert cloud.now - began < 36
    await failing
    with pytest.raises(WakeFailed, match="CUDA out of memory"):
        await cloud.start()
    assert cloud.resumes == 1  # one that failed is not started again


@virtual
async def test_too_late_tells_the_last_state_and_the_time_waited() -> None:
    cloud = Cloud(ready_after=600.0)
    with pytest.raises(WakeTimeout, match=r"after 90 s.*'initializing'.*lamplighter stop e"):
        await cloud.start(timeout=90)


@pytest.mark.parametrize("state", [State.PAUSED, State.SCALED_TO_ZERO])
def test_waiting_for_one_that_sleeps_fails_at_once_and_does_not_touch_it(state: State) -> None:
    @virtual
    async def play() -> None:
        cloud = Cloud(ready_after=5.0, state=state)
        began = cloud.now
        with pytest.raises(WakeFailed, match="lamplighter start e"):
            await cloud.wait()
        assert cloud.now - began < 0.01
        assert (cloud.resumes, cloud.probes) == (0, [])

    play()


@virtual
async def test_one_that_is_paused_while_it_starts_ends_the_start() -> None:
    cloud = Cloud(ready_after=600.0)

    async def pause() -> None:
        await asyncio.sleep(20)
        cloud.forced = State.PAUSED

    pausing = asyncio.create_task(pause())
    with pytest.raises(WakeFailed, match="somebody else"):
        await cloud.start()
    await pausing
    assert cloud.resumes == 1


@virtual
async def test_a_resume_that_got_lost_is_sent_again() -> None:
    cloud = Cloud(ready_after=10.0, holds=True)
    cloud.deaf_resumes = 1
    await cloud.start()
    assert cloud.resumes == 2


@virtual
async def test_a_replica_that_lingers_behind_a_pause_is_not_taken_for_a_start() -> None:
    cloud = Cloud(ready_after=10.0)
    lingering = cloud.now + 5.0
    is_up = cloud._is_up
    cloud._is_up = lambda: cloud.now < lingering or is_up()  # type: ignore[method-assign]
    cloud.deaf_resumes = 1  # the provider takes a while to see that it is to start
    await cloud.start()
    assert cloud.state() is not State.PAUSED
    assert cloud.now > lingering


@virtual
async def test_a_management_api_that_is_down_does_not_end_a_start() -> None:
    cloud = Cloud(ready_after=50.0, holds=True)
    cloud.resumed_at = cloud.now
    cloud.raises = ProviderUnreachable("no answer")
    with pytest.raises(WakeTimeout, match=r"could not be asked.*no answer"):
        await cloud.start(timeout=20)
    cloud.raises = None
    await cloud.start()


@virtual
async def test_what_no_waiting_can_mend_is_raised_as_what_it_is() -> None:
    for error in (EndpointNotFound("e", ()), Forbidden("no")):
        cloud = Cloud(ready_after=50.0)
        cloud.raises = error
        with pytest.raises(type(error)):
            await cloud.start()


@virtual
async def test_progress_is_told_each_second_with_what_is_expected() -> None:
    cloud, told = Cloud(ready_after=10.0, holds=True), list[Progress]()
    await cloud.start(expected=12.0, on_progress=told.append)
    assert [round(step.elapsed) for step in told] == list(range(10)) + ([10] if len(told) == 11 else [])
    assert {step.expected for step in told} == {12.0}
    assert {step.endpoint.phase for step in told[1:10]} == {Phase.STARTING}


@virtual
async def test_a_start_that_is_given_up_leaves_no_task_behind() -> None:
    cloud = Cloud(ready_after=50.0, holds=True)
    task = asyncio.create_task(cloud.start())
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
