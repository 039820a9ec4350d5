"""One server per database."""

import asyncio
import os
import sys

import pytest

from lamplighter.errors import Conflict
from lamplighter.store import Store

_HOLDER = """
import asyncio, sys
from lamplighter.domain.endpoint import State, Transition
from lamplighter.store import Store

async def main():
    store = await Store.open(sys.argv[1])
    await store.add_transition(
        Transition(endpoint="chat", at=1.0, before=None, after=State.PAUSED, reason="test", actor="api")
    )
    print("written", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_second_server_is_refused_and_told_the_first_ones_process_id(tmp_path):
    store = await Store.open(tmp_path / "db")
    (tmp_path / "alias").symlink_to(tmp_path / "db")
    for name in ("db", "alias"):
        with pytest.raises(Conflict, match=f"process {os.getpid()}"):
            await Store.open(tmp_path / name)
    await store.close()
    await (await Store.open(tmp_path / "db")).close()


async def test_a_killed_server_leaves_what_it_reported_and_no_lock(tmp_path):
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, str(tmp_path / "db"), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout
    assert await holder.stdout.readline() == b"written\n"
    with pytest.raises(Conflict, match=f"process {holder.pid}"):
        await Store.open(tmp_path / "db")
    holder.kill()
    await holder.wait()
    store = await Store.open(tmp_path / "db")
    assert [row.endpoint for row in await store.transitions()] == ["chat"]
    await store.close()


async def test_a_process_started_by_the_server_does_not_keep_the_lock(tmp_path):
    store = await Store.open(tmp_path / "db")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, close_fds=False
    )
    await store.close()
    await (await Store.open(tmp_path / "db")).close()
    await child.communicate(b"\n")
