"""One server per database."""

import asyncio
import os
import sys

import pytest

from lamplighter.errors import Conflict
from lamplighter.store import Store

_HOLDER = """
import asyncio, sys
from lamplighter.store import Store

async def main():
    store = await Store.open(sys.argv[1])
    print("open", flush=True)
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


async def test_a_killed_server_leaves_no_lock(tmp_path):
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, str(tmp_path / "db"), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout
    assert await holder.stdout.readline() == b"open\n"
    with pytest.raises(Conflict, match=f"process {holder.pid}"):
        await Store.open(tmp_path / "db")
    holder.kill()
    await holder.wait()
    await (await Store.open(tmp_path / "db")).close()


async def test_a_process_started_by_the_server_does_not_keep_the_lock(tmp_path):
    store = await Store.open(tmp_path / "db")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, close_fds=False
    )
    await store.close()
    await (await Store.open(tmp_path / "db")).close()
    await child.communicate(b"\n")
