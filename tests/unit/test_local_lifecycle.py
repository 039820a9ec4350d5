"""The local provider with real processes: waking, sleeping, failing, dying."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import uvloop

from lamplighter.domain.endpoint import STARTING, EngineSpec, State
from lamplighter.engines.base import Progress
from lamplighter.errors import Conflict, EndpointNotFound, EngineError, InvalidInput, ProviderError
from lamplighter.providers.local.group import Group, marked
from lamplighter.providers.local.process import start_mark
from tests.local_engines import get, line_with, local, pid_of, spec


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alive(pid: int) -> bool:
    return start_mark(pid) is not None


async def test_a_created_endpoint_sleeps_and_costs_no_task(tmp_path: Path):
    async with local(tmp_path) as it:
        before = len(asyncio.all_tasks())
        for number in range(1000):
            status = await it.provider.create(spec(f"e{number}"))
            assert status.state is State.SCALED_TO_ZERO
        assert len(asyncio.all_tasks()) == before


async def test_a_wake_makes_it_serve_and_a_sleep_ends_it(tmp_path: Path):
    async with local(tmp_path) as it:
        status = await it.awake(spec())
        pid = await pid_of(status)
        assert os.getsid(pid) == pid != os.getsid(0)
        await it.provider.sleep("e")
        assert (await it.provider.observe("e")).replicas == ()
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)
        assert list((tmp_path / "state").glob("*.json")) == []


async def test_a_woken_endpoint_counts_as_starting_at_once(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec())
        await it.provider.wake("e")
        assert (await it.provider.observe("e")).state in STARTING


async def test_many_wakes_start_it_once(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec())
        for _ in range(5):
            await it.provider.wake("e")
        await it.until_ready()
        await it.provider.wake("e")
        assert it.engine.launches == 1


async def test_the_whole_cycle_works_on_uvloop(tmp_path: Path):
    async def cycle() -> None:
        async with local(tmp_path) as it:
            status = await it.awake(spec("e", replicas=2))
            await get(status, "/exit/3")
            await it.until(lambda s: len(s.replicas) == 1)
            await it.provider.sleep("e")
            await it.until_state(State.SCALED_TO_ZERO)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(cycle())

    await asyncio.to_thread(run)


async def test_a_slow_start_is_initializing_until_health_says_200(tmp_path: Path):
    gate = tmp_path / "gate"
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--gate", str(gate)))
        await it.provider.wake("e")
        await line_with(it.provider, "listening")
        assert (await it.provider.observe("e")).state is State.INITIALIZING
        gate.touch()
        await it.until_ready()


async def test_an_engine_that_exits_while_starting_fails_with_code_and_last_lines(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--print", "loading|no such tensor", "--exit", "7"))
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        assert status.message is not None
        assert "exited with code 7 while starting" in status.message
        assert "no such tensor" in status.message
        assert not status.permanent


async def test_only_lines_of_this_start_are_quoted(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--print", "old words", "--exit", "1"))
        await it.provider.wake("e")
        await it.until_state(State.FAILED)
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        await it.provider.update(spec("e", "--print", "new words", "--exit", "1"))
        await it.provider.wake("e")
        message = (await it.until_state(State.FAILED)).message
        assert message is not None
        assert "new words" in message
        assert "old words" not in message


async def test_a_kill_by_the_kernel_is_told_as_such(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--signal", "9"))
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        assert status.message is not None
        assert "killed by SIGKILL (often: out of memory)" in status.message
        assert not status.permanent


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"command": ("/no/such/command",)}, "not found"),
        ({"command": ("/etc/passwd",)}, "may not be executed"),
        ({"cwd": "/no/such/folder"}, "working folder /no/such/folder"),
    ],
)
async def test_a_wrong_command_or_folder_fails_for_good(tmp_path: Path, engine: dict[str, Any], words: str):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", **engine))
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        assert status.permanent
        assert words in str(status.message)


async def test_an_engine_that_never_gets_healthy_is_stopped_and_says_what_was_waited_for(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--gate", "/no/such/gate", start_timeout=0.4))
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        message = str(status.message)
        assert "not ready within 0.4 s: /health last answered 503" in message
        assert not alive(int(message.rpartition("listening, pid ")[2].split()[0]))


async def test_a_sleep_clears_a_failure_and_the_next_wake_works(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--exit", "1"))
        await it.provider.wake("e")
        await it.until_state(State.FAILED)
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        await it.provider.update(spec())
        await it.provider.wake("e")
        await it.until_ready()


async def test_a_wake_after_a_failure_tries_again(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--exit", "1"))
        await it.provider.wake("e")
        await it.until_state(State.FAILED)
        await it.provider.wake("e")
        assert (await it.provider.observe("e")).state in STARTING
        await it.until_state(State.FAILED)
        assert it.engine.launches == 2


async def test_a_running_engine_that_dies_is_noticed(tmp_path: Path):
    async with local(tmp_path) as it:
        status = await it.awake(spec())
        await get(status, "/exit/3")
        failed = await it.until(lambda s: s.state is State.FAILED and "last words" in str(s.message))
        assert "exited with code 3" in str(failed.message)


async def test_with_one_of_two_replicas_dead_it_runs_on_and_a_wake_starts_only_the_missing_one(tmp_path: Path):
    async with local(tmp_path) as it:
        status = await it.awake(spec("e", replicas=2))
        survivor = await pid_of(status, 1)
        await get(status, "/exit/3")
        one = await it.until(lambda s: len(s.replicas) == 1 and "last words" in str(s.message))
        assert one.state is State.RUNNING
        assert "1 of 2 replicas ready" in str(one.message)
        await it.provider.wake("e")
        assert (await it.provider.observe("e")).state is State.RUNNING
        both = await it.until_ready(2)
        assert both.message is None
        assert survivor in [await pid_of(both, 0), await pid_of(both, 1)]
        assert it.engine.launches == 3


async def test_an_engine_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path):
    async with local(tmp_path) as it:
        pid = await pid_of(await it.awake(spec("e", "--stubborn", stop_grace=0.2)))
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)


@pytest.mark.parametrize("session", [(), ("--own-session",)], ids=["in the group", "in a session of its own"])
async def test_grandchildren_are_gone_before_it_counts_as_asleep(tmp_path: Path, session: tuple[str, ...]):
    async with local(tmp_path) as it:
        await it.awake(spec("e", "--child", *session, stop_grace=0.2))
        child = int((await line_with(it.provider, "child")).split()[1])
        assert alive(child)
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(child)


async def test_what_a_dead_engine_leaves_behind_is_ended_before_the_next_start(tmp_path: Path):
    async with local(tmp_path) as it:
        status = await it.awake(spec("e", "--child", stop_grace=0.2))
        child = int((await line_with(it.provider, "child")).split()[1])
        await get(status, "/exit/1")
        await it.until_state(State.FAILED)
        await it.provider.wake("e")
        await it.until(lambda s: s.state is State.INITIALIZING)
        assert not alive(child)


async def test_a_sleep_breaks_off_a_start(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--gate", "/no/such/gate"))
        await it.provider.wake("e")
        pid = int((await line_with(it.provider, "listening")).split()[-1])
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)


async def test_a_wake_while_it_stops_starts_it_again_afterwards(tmp_path: Path):
    async with local(tmp_path) as it:
        first = await pid_of(await it.awake(spec("e", "--stubborn", stop_grace=0.2)))
        await it.provider.sleep("e")
        await line_with(it.provider, "no")
        await it.provider.wake("e")
        second = await pid_of(await it.until_ready())
        assert second != first
        assert not alive(first)


async def test_a_wake_withdraws_a_sleep_that_has_not_begun(tmp_path: Path):
    async with local(tmp_path) as it:
        first = await pid_of(await it.awake(spec()))
        await it.provider.sleep("e")
        await it.provider.wake("e")
        assert await pid_of(await it.until_ready()) == first


async def test_a_sleep_withdraws_a_wake_that_waits_for_the_stop(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.awake(spec("e", "--stubborn", stop_grace=0.2))
        await it.provider.sleep("e")
        await line_with(it.provider, "no")
        await it.provider.wake("e")
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert it.engine.launches == 1


async def test_a_sleep_of_what_sleeps_does_nothing(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.provider.create(spec())
        await it.provider.sleep("e")
        assert (await it.provider.observe("e")).state is State.SCALED_TO_ZERO


async def test_a_port_that_somebody_else_took_is_given_up_for_another(tmp_path: Path):
    async with local(tmp_path) as it:
        with socket.socket() as thief:
            await it.provider.create(spec())

            def steal_once(port: int) -> None:
                thief.bind(("127.0.0.1", port))
                thief.listen()
                it.engine.on_launch = lambda _port: None

            it.engine.on_launch = steal_once
            await it.provider.wake("e")
            status = await it.until_ready()
            assert it.engine.launches == 2
            assert str(thief.getsockname()[1]) not in status.replicas[0].url


async def test_a_stranger_that_answers_on_the_port_is_not_taken_for_the_engine(tmp_path: Path):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with local(tmp_path) as it:
        with socket.socket() as stranger:
            taken, given_up = asyncio.Event(), asyncio.Event()

            def steal(port: int) -> None:
                if it.engine.launches == 1:
                    stranger.bind(("127.0.0.1", port))
                (taken if it.engine.launches == 1 else given_up).set()

            it.engine.on_launch = steal
            await it.provider.create(spec("e", "--deaf"))
            await it.provider.wake("e")
            async with asyncio.timeout(10):
                await taken.wait()
                async with await asyncio.start_server(answer, sock=stranger):
                    await given_up.wait()


async def test_secrets_of_the_environment_reach_the_engine_and_no_message(tmp_path: Path):
    async with local(tmp_path) as it:
        env = {"SHOWN": "sesame-open-42"}
        status = await it.awake(spec("e", env=env))
        assert await get(status, "/env") == "sesame-open-42"
        await get(status, "/say/sesame-open-42")
        assert await line_with(it.provider, "[redacted]")
        await get(status, "/exit/1")
        failed = await it.until(lambda s: s.state is State.FAILED and "last words" in str(s.message))
        assert "[redacted]" in str(failed.message)
        assert "sesame" not in str(failed.message)


async def test_headers_of_the_engine_stand_in_the_replica(tmp_path: Path):
    async with local(tmp_path) as it:
        status = await it.awake(spec("e", headers={"Authorization": "Bearer engine-key"}))
        assert status.replicas[0].headers == (("Authorization", "Bearer engine-key"),)
        assert "engine-key" not in repr(status)


async def test_progress_of_the_preparation_is_the_message_while_pending(tmp_path: Path):
    release = threading.Event()

    def download(_spec: EngineSpec, progress: Progress) -> str:
        progress("40 of 98 MB")
        assert release.wait(10)
        return "/models/x"

    async with local(tmp_path) as it:
        it.engine.on_prepare = download
        await it.provider.create(spec())
        await it.provider.wake("e")
        await it.until(lambda s: s.state is State.PENDING and s.message == "40 of 98 MB")
        release.set()
        await it.until_ready()


async def test_a_model_that_is_not_there_fails_for_good(tmp_path: Path):
    def missing(_spec: EngineSpec, _progress: Progress) -> str:
        raise EngineError("model file /m.gguf is missing", permanent=True)

    async with local(tmp_path) as it:
        it.engine.on_prepare = missing
        await it.provider.create(spec())
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        assert status.permanent
        assert status.message == "model file /m.gguf is missing"


async def test_a_wake_after_a_broken_off_preparation_joins_it(tmp_path: Path):
    release, called = threading.Event(), threading.Event()
    calls = []

    def download(_spec: EngineSpec, _progress: Progress) -> None:
        calls.append(1)
        called.set()
        assert release.wait(10)

    async with local(tmp_path) as it:
        it.engine.on_prepare = download
        await it.provider.create(spec())
        await it.provider.wake("e")
        assert await asyncio.to_thread(called.wait, 10)
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        await it.provider.wake("e")
        while not it.provider._endpoints["e"]._preparing:  # noqa: ASYNC110 (one turn of the loop)
            await asyncio.sleep(0)
        release.set()
        await it.until_ready()
        assert len(calls) == 1


async def test_only_a_sleeping_endpoint_is_updated(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.awake(spec())
        with pytest.raises(Conflict):
            await it.provider.update(spec("e", "--stubborn"))
        assert (await it.provider.update(spec())).state is State.RUNNING


async def test_a_spec_that_cannot_work_is_refused(tmp_path: Path):
    async with local(tmp_path) as it:
        with pytest.raises(InvalidInput, match="--refused"):
            await it.provider.create(spec("e", "--refused"))
        with pytest.raises(InvalidInput, match="replicas"):
            await it.provider.create(spec("e", replicas=0))
        with pytest.raises(EndpointNotFound):
            await it.provider.observe("e")


async def test_deleting_ends_what_runs_and_removes_its_files(tmp_path: Path):
    async with local(tmp_path) as it:
        pid = await pid_of(await it.awake(spec()))
        await it.provider.delete("e")
        assert not alive(pid)
        with pytest.raises(EndpointNotFound):
            await it.provider.observe("e")
        assert list((tmp_path / "logs").iterdir()) == []


async def test_closing_ends_all_side_by_side(tmp_path: Path):
    async with local(tmp_path) as it:
        names = [f"e{number}" for number in range(3)]
        pids = [await pid_of(await it.awake(spec(name, "--stubborn", stop_grace=0.5))) for name in names]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await it.provider.close()
        assert loop.time() - began < 1.4
        assert not any(alive(pid) for pid in pids)


async def test_a_bug_in_an_engine_is_a_failure_and_leaves_nothing_running(tmp_path: Path):
    def bug(_port: int) -> None:
        raise KeyError("bug")

    async with local(tmp_path) as it:
        it.engine.on_launch = bug
        await it.provider.create(spec("e", replicas=2))
        await it.provider.wake("e")
        status = await it.until_state(State.FAILED)
        assert "internal error" in str(status.message)
        assert list((tmp_path / "state").glob("*.json")) == []


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_order_of_wakes_and_sleeps_nothing_is_doubled_or_left(tmp_path: Path, seed: int):
    dice = random.Random(seed)
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", replicas=2))
        files = open_files()
        prefix = it.provider._machine.runs.marker_prefix
        for _ in range(25):
            await (it.provider.wake("e") if dice.random() < 0.6 else it.provider.sleep("e"))
            await asyncio.sleep(dice.choice((0, 0, 0.005, 0.03)))
            assert len(set(marked(prefix).values())) <= 2
        await it.provider.wake("e")
        await it.until_ready(2)
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert marked(prefix) == {}
        assert list((tmp_path / "state").glob("*.json")) == []
        assert it.provider._machine.ports._held == set()
        assert open_files() == files


async def test_a_stop_that_failed_stays_running_and_the_next_sleep_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_args: object) -> None:
        raise ProviderError("processes 1 are still there after SIGKILL")

    async with local(tmp_path) as it:
        pid = await pid_of(await it.awake(spec()))
        with monkeypatch.context() as patch:
            patch.setattr(Group, "end", fail)
            await it.provider.sleep("e")
            status = await it.until(lambda s: "still there" in str(s.message))
            assert (status.state, status.replicas) == (State.RUNNING, ())
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)


async def test_a_replica_that_fails_does_not_stop_the_others(tmp_path: Path):
    async with local(tmp_path) as it:

        def break_first(_port: int) -> None:
            if it.engine.launches == 1:
                raise EngineError("this one not")

        it.engine.on_launch = break_first
        await it.provider.create(spec("e", replicas=2))
        await it.provider.wake("e")
        status = await it.until_ready(1)
        assert status.message == "1 of 2 replicas ready: this one not"


async def test_without_pidfd_an_exit_is_still_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def none(_pid: int) -> int:
        raise OSError(38, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    async with local(tmp_path) as it:
        status = await it.awake(spec())
        os.kill(await pid_of(status), signal.SIGKILL)
        failed = await it.until_state(State.FAILED)
        assert "killed by SIGKILL" in str(failed.message)
