"""Usage is written in batches; what is lost is counted and told."""

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest
from structlog.testing import capture_logs

from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.errors import StoreError
from lamplighter.store import UsageWriter
from lamplighter.store.writer import Pace

EAGER = Pace(interval=0.0, backoff_base=0.0)
LAZY = Pace(interval=3600.0, batch=3, backoff_base=0.0)
AT_MOST = 10.0
"""Seconds that a test may hang before it fails; no test waits that long."""


def record(number: int) -> UsageRecord:
    return UsageRecord(
        endpoint="chat",
        at=float(number),
        route="/v1/*",
        status=200,
        outcome=Outcome.SERVED,
        waited=0.0,
        duration=1.0,
        bytes_in=1,
        bytes_out=1,
    )


class Table:
    """Takes batches, after as many failures as it was told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.batches: list[list[int]] = []
        self.kept: list[UsageRecord] = []
        self.changed = asyncio.Condition()

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        async with self.changed:
            self.changed.notify_all()
        if self.failures:
            raise self.failures.pop(0)
        self.kept += records
        self.batches.append([int(row.at) for row in records])

    @property
    def rows(self) -> list[int]:
        return list(chain.from_iterable(self.batches))


async def written(writer: UsageWriter) -> None:
    async with asyncio.timeout(AT_MOST):
        while writer.waiting:  # noqa: ASYNC110 - the writer tells nobody; each turn of the loop is one step of it
            await asyncio.sleep(0)


async def test_rows_are_written_after_the_interval():
    table = Table()
    writer = UsageWriter(table, EAGER)
    writer.start()
    for number in range(3):
        writer.add(record(number))
    await written(writer)
    writer.add(record(3))
    await written(writer)
    assert table.rows == [0, 1, 2, 3]
    await writer.close()


async def test_like_requests_of_one_second_become_one_row():
    table = Table()
    writer = UsageWriter(table, LAZY)
    writer.start()
    for _ in range(1000):
        writer.add(record(7))
    other = record(7)
    other.status = 503
    writer.add(other)
    assert writer.waiting == 2
    await writer.close()
    assert [(row.status, row.requests, row.duration) for row in table.kept] == [(200, 1000, 1000.0), (503, 1, 1.0)]


async def test_a_row_that_is_being_written_is_not_added_to():
    table = Table(StoreError("no"))
    writer = UsageWriter(table, EAGER)
    writer.start()
    writer.add(record(7))
    async with table.changed:
        await table.changed.wait()
    writer.add(record(7))
    assert writer.waiting == 2
    await written(writer)
    assert [row.requests for row in table.kept] == [1, 1]
    await writer.close()


async def test_a_full_batch_does_not_wait_for_the_interval():
    table = Table()
    writer = UsageWriter(table, LAZY)
    writer.start()
    for number in range(6):
        writer.add(record(number))
    await written(writer)
    for number in range(6, 9):
        writer.add(record(number))
    await written(writer)
    assert table.batches == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    await writer.close()


async def test_close_writes_what_is_queued():
    table = Table()
    writer = UsageWriter(table, LAZY)
    writer.start()
    for number in range(4):
        writer.add(record(number))
    await writer.close()
    assert table.rows == [0, 1, 2, 3]
    assert writer.dropped == 0


async def test_close_with_nothing_to_write_ends():
    writer = UsageWriter(Table(), LAZY)
    writer.start()
    await writer.close()


async def test_a_failing_database_costs_no_row_and_is_told_once():
    table = Table(*[StoreError("disk is full")] * 3)
    writer = UsageWriter(table, EAGER)
    with capture_logs() as logs:
        writer.start()
        for number in range(3):
            writer.add(record(number))
        await written(writer)
        await writer.close()
    assert table.rows == [0, 1, 2]
    assert [line["event"] for line in logs] == ["usage_not_written"]


async def test_rows_past_the_bound_are_dropped_counted_and_told_once_per_burst():
    table = Table(StoreError("no"))
    writer = UsageWriter(table, Pace(interval=0.0, bound=2, backoff_base=0.0))
    with capture_logs() as logs:
        for number in range(5):
            writer.add(record(number))
        writer.start()
        await written(writer)
        writer.add(record(5))
        await writer.close()
    assert table.rows == [0, 1, 5]
    assert writer.dropped == 3
    assert [line["event"] for line in logs] == ["usage_dropping", "usage_not_written", "usage_dropped"]
    assert logs[-1]["rows"] == 3


async def test_close_gives_up_at_its_deadline_and_counts_what_is_lost():
    table = Table(*[StoreError("no")] * 100)
    writer = UsageWriter(table, Pace(interval=0.0, backoff_base=3600.0, backoff_cap=3600.0))
    writer.start()
    writer.add(record(0))
    with capture_logs() as logs:
        await writer.close(timeout=0.01)
    assert (writer.dropped, writer.waiting) == (1, 0)
    assert logs[-1]["event"] == "usage_dropped"


async def test_close_tries_once_more_instead_of_waiting_for_the_backoff():
    table = Table(StoreError("no"))
    writer = UsageWriter(table, Pace(interval=0.0, backoff_base=3600.0, backoff_cap=3600.0))
    writer.start()
    writer.add(record(0))
    async with table.changed:
        await table.changed.wait()
    await writer.close()
    assert table.rows == [0]


async def test_rows_that_can_never_be_written_do_not_stop_the_others():
    table = Table(ValueError("odd row"))
    writer = UsageWriter(table, Pace(interval=3600.0, batch=1))
    with capture_logs() as logs:
        writer.start()
        writer.add(record(0))
        await written(writer)
        writer.add(record(1))
        await writer.close()
    assert table.rows == [1]
    assert writer.dropped == 1
    assert logs[0]["event"] == "usage_unwritable"


async def test_what_comes_after_close_is_counted():
    writer = UsageWriter(Table(), EAGER)
    writer.start()
    await writer.close()
    writer.add(record(0))
    assert writer.dropped == 1


@pytest.mark.parametrize("failures", [1, 5, 1000])
def test_pauses_grow_with_jitter_and_have_a_bound(failures):
    pace = Pace(backoff_base=1.0, backoff_cap=30.0)
    ceiling = min(30.0, 2.0**failures)
    assert all(ceiling / 2 <= pace.pause(failures) <= ceiling for _ in range(20))
