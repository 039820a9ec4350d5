"""What happens to running engines when the server dies, or leaves them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lamplighter.domain.endpoint import Spec, State
from lamplighter.errors import Conflict
from lamplighter.providers.local.process import start_mark
from lamplighter.providers.local.runfiles import RunRecord
from tests.local_engines import Local, get, line_with, local, pid_of, spec

ROOT = Path(__file__).parents[2]

SERVER = """
import asyncio, sys
from pathlib import Path
from tests.local_engines import Local, line_with, pid_of, spec

async def main(folder, *args):
    it = await Local(Path(folder)).open()
    if "--gate" in args:
        await it.provider.create(spec("e", *args))
        await it.provider.wake("e")
        print((await line_with(it.provider, "listening")).split()[-1], flush=True)
    else:
        print(await pid_of(await it.awake(spec("e", *args))), flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def killed_server(folder: Path, *args: str) -> int:
    """Let a server start the engine, kill it with SIGKILL, and return the engine's process id."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(folder), *args, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        assert server.stdout is not None
        line = await asyncio.wait_for(server.stdout.readline(), 20)
    finally:
        server.kill()
        await server.communicate()
    return int(line)


@asynccontextmanager
async def left_running(folder: Path, it: Spec):
    """Wake it, leave it running, and open the next provider; gives that and the engine's process id."""
    first = await Local(folder).open()
    pid = await pid_of(await first.awake(it))
    await first.provider.close(leave_running=True)
    async with local(folder) as second:
        yield second, pid
        await second.provider.end_orphans()


def alive(pid: int) -> bool:
    return start_mark(pid) is not None


async def test_after_sigkill_the_next_server_adopts_the_same_process(tmp_path: Path):
    pid = await killed_server(tmp_path)
    async with local(tmp_path) as it:
        status = await it.provider.create(spec())
        assert status.state is State.RUNNING
        assert await pid_of(status) == pid
        assert it.engine.launches == 1  # asked what it would start, to compare
        assert await it.provider.end_orphans() == []
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)


async def test_an_engine_in_the_middle_of_its_start_is_adopted_and_waited_for(tmp_path: Path):
    gate = tmp_path / "gate"
    pid = await killed_server(tmp_path, "--gate", str(gate))
    async with local(tmp_path) as it:
        status = await it.provider.create(spec("e", "--gate", str(gate)))
        assert status.state is State.INITIALIZING
        await it.provider.wake("e")
        gate.touch()
        assert await pid_of(await it.until_ready()) == pid


async def test_the_log_of_an_adopted_engine_is_still_followed(tmp_path: Path):
    await killed_server(tmp_path)
    async with local(tmp_path) as it:
        status = await it.provider.create(spec())
        await get(status, "/say/hello-again")
        assert await line_with(it.provider, "hello-again") == "hello-again"


async def test_the_death_of_an_adopted_engine_is_noticed(tmp_path: Path):
    pid = await killed_server(tmp_path)
    async with local(tmp_path) as it:
        await it.provider.create(spec())
        os.kill(pid, signal.SIGKILL)
        status = await it.until_state(State.FAILED)
        assert "its exit code is not known" in str(status.message)


async def test_an_engine_of_another_spec_is_ended_and_never_doubled(tmp_path: Path):
    async with left_running(tmp_path, spec("e", "--stubborn", stop_grace=0.2)) as (it, pid):
        status = await it.provider.create(spec("e", "--print", "another"))
        assert (status.state, status.message) == (State.RUNNING, "stopping")
        await it.provider.wake("e")
        assert await pid_of(await it.until_ready()) != pid
        assert not alive(pid)


async def test_replicas_beyond_the_spec_are_ended(tmp_path: Path):
    async with left_running(tmp_path, spec("e", replicas=2)) as (it, pid):
        status = await it.provider.create(spec("e", replicas=1))
        assert await pid_of(status) == pid
        await it.provider.close()
        assert list((tmp_path / "state").glob("*.json")) == []


async def test_orphans_are_ended_when_told(tmp_path: Path):
    async with left_running(tmp_path, spec("gone")) as (it, pid):
        await it.provider.create(spec("other"))
        assert alive(pid)
        (ended,) = await it.provider.end_orphans()
        assert ended.startswith("gone.0.")
        assert not alive(pid)
        assert list((tmp_path / "state").glob("*.json")) == []


async def test_without_its_run_file_an_engine_is_found_by_its_marker(tmp_path: Path):
    first = await Local(tmp_path).open()
    pid = await pid_of(await first.awake(spec()))
    await first.provider.close(leave_running=True)
    for record in (tmp_path / "state").glob("*.json"):
        record.unlink()
    async with local(tmp_path) as it:
        assert (await it.provider.create(spec())).state is State.SCALED_TO_ZERO
        assert len(await it.provider.end_orphans()) == 1
        assert not alive(pid)


async def test_killed_before_the_process_id_was_written_it_is_still_adopted(tmp_path: Path):
    first = await Local(tmp_path).open()
    pid = await pid_of(await first.awake(spec()))
    await first.provider.close(leave_running=True)
    (path,) = (tmp_path / "state").glob("*.json")
    record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, pid=None, mark=None)))
    async with local(tmp_path) as it:
        assert await pid_of(await it.provider.create(spec())) == pid


async def test_a_process_that_got_the_old_id_is_left_alone(tmp_path: Path):
    first = await Local(tmp_path).open()
    await first.awake(spec())
    (path,) = (tmp_path / "state").glob("*.json")
    record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
    await first.provider.close()
    stranger = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    try:
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, pid=stranger.pid)))
        async with local(tmp_path) as it:
            assert (await it.provider.create(spec())).state is State.SCALED_TO_ZERO
            assert await it.provider.end_orphans() == []
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_children_of_a_dead_engine_are_ended(tmp_path: Path):
    first = await Local(tmp_path).open()
    pid = await pid_of(await first.awake(spec("e", "--child", stop_grace=0.2)))
    child = int((await line_with(first.provider, "child")).split()[1])
    await first.provider.close(leave_running=True)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pid, 0)
    async with local(tmp_path) as it:
        await it.provider.create(spec("e", "--child", stop_grace=0.2))
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(child)


async def test_a_run_file_that_is_not_readable_stops_nothing(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "broken.json").write_text("{")
    async with local(tmp_path) as it:
        assert (await it.provider.create(spec())).state is State.SCALED_TO_ZERO


async def test_a_second_server_is_kept_out_of_the_state_folder(tmp_path: Path):
    async with local(tmp_path):
        with pytest.raises(Conflict, match="another server"):
            await Local(tmp_path).open()


async def test_leaving_during_a_stop_lets_the_next_server_finish_it(tmp_path: Path):
    first = await Local(tmp_path).open()
    pid = await pid_of(await first.awake(spec("e", "--stubborn", stop_grace=5)))
    await first.provider.sleep("e")
    await line_with(first.provider, "no")
    await first.provider.close(leave_running=True)
    assert alive(pid)
    async with local(tmp_path) as it:
        status = await it.provider.create(spec("e", "--stubborn", stop_grace=0.2))
        assert await pid_of(status) == pid
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert not alive(pid)
