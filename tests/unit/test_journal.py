"""The journal over a real database, healthy and failing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from lamplighter.control.clock import Clock
from lamplighter.control.journal import Memory, StoreJournal
from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Spec, State, Transition
from lamplighter.errors import StoreError
from lamplighter.store import AuditRecord, Store


def transition(number: int) -> Transition:
    return Transition(
        endpoint="chat", at=float(number), before=None, after=State.RUNNING, reason="demand", actor="request"
    )


@contextlib.asynccontextmanager
async def journal(path: Path) -> AsyncIterator[tuple[StoreJournal, Store]]:
    store = await Store.open(path / "test.db")
    written = StoreJournal(store, Clock())
    await written.open()
    try:
        yield written, store
    finally:
        await written.close()
        await store.close()


async def test_a_record_is_in_the_database_when_the_call_returns(tmp_path: Path) -> None:
    async with journal(tmp_path) as (written, store):
        await written.transition(transition(1))
        assert [t.at for t in await store.transitions("chat")] == [1.0]


async def test_records_are_written_in_order(tmp_path: Path) -> None:
    async with journal(tmp_path) as (written, store):
        await asyncio.gather(*(written.transition(transition(n)) for n in range(50)))
        assert [t.at for t in await store.transitions("chat")] == [float(n) for n in reversed(range(50))]


async def test_a_restart_finds_times_and_learned_starts_again(tmp_path: Path) -> None:
    seen = Endpoint(
        spec=Spec(name="chat", provider="memory", engine=EngineSpec(engine="none")),
        state=State.RUNNING,
        phase=Phase.RUNNING,
        last_activity=10.0,
        wake_time=5.0,
        paused=True,
    )
    async with journal(tmp_path) as (written, _):
        await written.started("chat", 1.0, 2.5)
        await written.remember([seen])
    async with journal(tmp_path) as (written, _):
        assert await written.recall("chat") == Memory(last_activity=10.0, wake_time=5.0, starts=[2.5], paused=True)
        assert await written.recall("other") == Memory(starts=[])
        await written.remember([dataclasses.replace(seen, paused=False)])
    async with journal(tmp_path) as (written, _):
        assert not (await written.recall("chat")).paused, "and that it was withdrawn"


async def test_a_database_that_fails_for_a_while_delays_nobody_for_long_and_loses_nothing(tmp_path: Path) -> None:
    class Flaky(Store):
        failures = 2

        async def add_audit(self, record: AuditRecord) -> None:
            if Flaky.failures:
                Flaky.failures -= 1
                raise StoreError("disk full")
            await super().add_audit(record)

    store = await Flaky.open(tmp_path / "test.db")
    written = StoreJournal(store, Clock())
    await written.open()
    record = AuditRecord(at=1.0, actor="ann", operation="wake", endpoint="chat", success=True)
    await written.operation(record)
    await written.transition(transition(2))
    await written.close()
    await store.close()
    rows = sqlite3.connect(tmp_path / "test.db")
    with contextlib.closing(rows):
        assert rows.execute("select count(*) from audit").fetchone() == (1,)
        assert rows.execute("select count(*) from transitions").fetchone() == (1,)
    assert written.dropped == 0


async def test_a_record_that_can_never_be_written_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    async with journal(tmp_path) as (written, store):
        odd = dataclasses.replace(transition(1), reason=None)  # type: ignore[arg-type]
        await written.transition(odd)
        await written.transition(transition(2))
        assert [t.at for t in await store.transitions("chat")] == [2.0]
        assert written.problems() == ["1 records could not be written"]


async def test_a_database_that_fails_for_good_bounds_what_is_kept_and_says_so(tmp_path: Path) -> None:
    class Broken(Store):
        async def add_transition(self, transition: Transition) -> None:
            raise StoreError("disk full")

    store = await Broken.open(tmp_path / "test.db")
    written = StoreJournal(store, Clock(), bound=5, patience=0.0)
    await written.open()
    for number in range(12):
        await written.transition(transition(number))
    assert written.dropped == 7
    assert "could not be written" in written.problems()[0]
    await written.close(timeout=0.0)
    await store.close()
