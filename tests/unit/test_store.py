"""The store keeps what it was given, in order, and finds it again."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Policy, Spec, State, Transition
from lamplighter.domain.keys import ApiKey, KeyLimits, Role
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.errors import InvalidInput, StoreError
from lamplighter.store import AuditRecord, SavedEndpoint, Store


@pytest.fixture
async def store():
    store = await Store.open(":memory:")
    yield store
    await store.close()


def transition(at: float, before: State | None, after: State | None, endpoint: str = "chat") -> Transition:
    return Transition(endpoint=endpoint, at=at, before=before, after=after, reason="test", actor="idle")


def used(at: float = 1.0, endpoint: str = "chat", route: str = "/v1/chat/completions") -> UsageRecord:
    return UsageRecord(
        endpoint=endpoint,
        at=at,
        route=route,
        status=200,
        outcome=Outcome.SERVED,
        waited=0.5,
        duration=1.5,
        bytes_in=100,
        bytes_out=2**40,
    )


def saved(name: str = "chat", **changes) -> SavedEndpoint:
    first = SavedEndpoint(
        name=name,
        provider="local",
        spec={"task": "text-generation"},
        state=State.PAUSED,
        last_activity=5.0,
        wake_time=None,
        sleep_time=6.5,
        updated_at=7.0,
    )
    return replace(first, **changes)


async def test_an_endpoint_comes_back_as_it_was_saved_last(store):
    await store.save_endpoints([saved()])
    await store.save_endpoints([saved(state=None, updated_at=9.0), saved("other")])
    assert await store.load_endpoints() == {"chat": saved(state=None, updated_at=9.0), "other": saved("other")}


async def test_a_forgotten_endpoint_is_gone_and_its_history_stays(store):
    await store.save_endpoints([saved()])
    await store.add_transition(transition(1.0, State.PAUSED, State.RUNNING))
    await store.forget_endpoint("chat")
    assert await store.load_endpoints() == {}
    assert len(await store.transitions("chat")) == 1


async def test_no_secret_of_a_spec_reaches_the_database(tmp_path):
    engine = EngineSpec(engine="command", env={"TOKEN": "hush-1"}, headers={"Authorization": "hush-2"})
    spec = Spec(name="chat", provider="local", engine=engine, policy=Policy(), resources={"gpu": 1})
    endpoint = Endpoint(spec=spec, state=State.RUNNING, phase=Phase.RUNNING, wake_time=3.0)
    store = await Store.open(tmp_path / "db")
    await store.save_endpoints([SavedEndpoint.of(endpoint, at=4.0)])
    loaded = (await store.load_endpoints())["chat"]
    await store.close()
    assert loaded.spec["engine"]["env"] == ["TOKEN"]
    assert loaded == SavedEndpoint.of(endpoint, at=4.0)
    assert (loaded.state, loaded.wake_time, loaded.updated_at) == (State.RUNNING, 3.0, 4.0)
    assert b"hush" not in (tmp_path / "db").read_bytes()


async def test_transitions_are_found_by_endpoint_and_time_newest_first(store):
    rows = [transition(float(at), State.PAUSED, None, endpoint) for at in range(4) for endpoint in ("a", "b")]
    for row in rows:
        await store.add_transition(row)
    assert await store.transitions("a", since=2.0) == [rows[6], rows[4]]
    assert await store.transitions(limit=3) == [rows[7], rows[6], rows[5]]


async def test_usage_comes_back_as_it_was_written(store):
    await store.add_usage([used(1.0), used(2.0, "other")])
    await store.add_usage([])
    assert await store.usage() == [used(2.0, "other"), used(1.0)]
    assert await store.usage("chat") == [used(1.0)]


async def test_what_an_answer_used_and_who_asked_comes_back_whole(store):
    whole = replace(
        used(), model="fast", key="key:12ab34cd", tokens_in=2**40, tokens_out=7, first_byte=0.25, attempts=3, requests=2
    )
    await store.add_usage([whole])
    assert await store.usage() == [whole]


async def test_keys_come_back_whole_the_oldest_first(store):
    plain = ApiKey(id="b", name="plain", digest="2" * 64, created_at=1.0)
    rich = ApiKey(
        id="a",
        name="rich",
        digest="1" * 64,
        role=Role.OPERATE,
        routes=frozenset({"chat", "coder"}),
        may_wake=False,
        priority=-3,
        limits=KeyLimits(requests_per_minute=60, tokens_per_minute=None, concurrent=4),
        tags={"team": "search"},
        created_at=2.0,
        created_by="key:12ab34cd",
        expires_at=9.0,
    )
    await store.add_key(rich)
    await store.add_key(plain)
    assert await store.load_keys() == [plain, rich]


async def test_a_key_is_revoked_once_and_forgotten_when_told(store):
    for name in ("kept", "revoked", "other"):
        await store.add_key(ApiKey(id=name, name=name, digest=name))
    await store.revoke_key("revoked", 3.0)
    await store.revoke_key("revoked", 8.0)
    revoked = {key.name: key.revoked_at for key in await store.load_keys()}
    assert revoked == {"kept": None, "revoked": 3.0, "other": None}
    await store.forget_keys(["revoked", "other", "unknown"])
    await store.forget_keys([])
    assert [key.name for key in await store.load_keys()] == ["kept"]


async def test_nobody_changes_what_is_on_record(tmp_path):
    store = await Store.open(tmp_path / "db")
    await store.add_audit(AuditRecord(at=1.0, actor="api", operation="wake", endpoint="chat", success=True))
    await store.close()
    with sqlite3.connect(tmp_path / "db") as raw, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        raw.execute("UPDATE audit SET actor = 'somebody else'")
    store = await Store.open(tmp_path / "db")
    assert [record.actor for record in await store.audit()] == ["api"]
    assert await store.prune(2.0) == 1
    await store.close()


@settings(max_examples=25, deadline=None)
@given(route=st.text(st.characters(), max_size=50))
def test_any_text_of_a_client_can_be_written(route):
    async def write_and_read() -> list[UsageRecord]:
        store = await Store.open(":memory:")
        await store.add_usage([used(route=route), used(route="x" * 100_000)])
        rows = await store.usage()
        await store.close()
        return rows

    long, odd = asyncio.run(write_and_read())
    assert len(long.route) == 2000
    assert len(odd.route) == len(route)


async def test_usage_is_written_all_or_none(store):
    broken = used(2.0)
    broken.status = None  # type: ignore[assignment]
    with pytest.raises(Exception, match="NOT NULL"):
        await store.add_usage([used(1.0), broken])
    assert await store.usage() == []


async def test_operations_are_kept_with_their_outcome(store):
    first = AuditRecord(at=1.0, actor="api", operation="wake", endpoint="chat", success=True)
    second = AuditRecord(at=2.0, actor="key:12ab34cd", operation="reload", endpoint=None, success=False, error="why")
    await store.add_audit(first)
    await store.add_audit(second)
    assert await store.audit() == [second, first]
    assert await store.audit("chat") == [first]


async def test_the_last_starts_are_remembered_the_newest_last(store):
    for at, duration in enumerate([9.0, 5.0, 3.5]):
        await store.add_start("chat", float(at), duration)
    await store.add_start("other", 9.0, 1.0)
    assert await store.recent_starts("chat") == [9.0, 5.0, 3.5]
    assert await store.recent_starts("chat", limit=2) == [5.0, 3.5]
    assert await store.recent_starts("new") == []


async def test_pruning_deletes_what_is_older_and_nothing_else(store, monkeypatch):
    monkeypatch.setattr("lamplighter.store.store._PRUNED_AT_ONCE", 2)
    await store.add_usage([used(float(at)) for at in range(7)])
    await store.add_transition(transition(1.0, State.PAUSED, State.RUNNING))
    await store.add_audit(AuditRecord(at=9.0, actor="api", operation="wake", endpoint="chat", success=True))
    assert await store.prune(before=5.0) == 6
    assert [row.at for row in await store.usage()] == [6.0, 5.0]
    assert len(await store.audit()) == 1


async def test_what_was_written_is_there_after_the_next_open(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "lamplighter.db"
    store = await Store.open(path)
    await store.add_transition(transition(1.0, State.PAUSED, State.RUNNING))
    await store.close()
    await store.close()
    store = await Store.open(f"sqlite:///{path}")
    assert len(await store.transitions()) == 1
    await store.close()


async def test_a_write_goes_on_when_its_caller_is_cancelled(store):
    call = asyncio.ensure_future(store.add_transition(transition(1.0, State.PAUSED, State.RUNNING)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(await store.transitions()) == 1


async def test_a_closed_store_says_so():
    store = await Store.open(":memory:")
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.transitions()


async def test_every_commit_is_flushed_to_the_disk(tmp_path):
    store = await Store.open(tmp_path / "db")
    pragmas = await store._run(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    await store.close()
    assert pragmas == ["wal", 2]


async def test_a_full_disk_is_told_and_is_over_when_there_is_room(store):
    def pages(count: int):
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={count}").scalar()

    now = await store._run(pages(1))
    with pytest.raises(StoreError, match="disk is full"):
        await store.add_usage([used(float(at)) for at in range(1000)])
    assert "disk is full" in (store.trouble or "")
    await store._run(pages(now + 1000))
    await store.add_usage([used()])
    assert store.trouble is None


async def test_a_read_only_database_is_told(store):
    await store._run(lambda connection: connection.exec_driver_sql("PRAGMA query_only=ON"))
    with pytest.raises(StoreError, match="read-only"):
        await store.add_usage([used()])


async def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "db").write_text("something else\n" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await Store.open(tmp_path / "db")


async def test_a_damaged_database_is_told(tmp_path):
    store = await Store.open(tmp_path / "db")
    await store.add_usage([used(float(at)) for at in range(500)])
    await store.close()
    content = bytearray((tmp_path / "db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        store = await Store.open(tmp_path / "db")
    # The lock was let go: what was said to be done about it can be done.
    (tmp_path / "db").unlink()
    await (await Store.open(tmp_path / "db")).close()


@pytest.mark.parametrize("taken", ["file", "folder"])
async def test_a_path_that_cannot_be_used_is_told(tmp_path, taken):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "file" / "db" if taken == "file" else tmp_path / "folder"
    with pytest.raises(StoreError):
        await Store.open(path)


async def test_another_kind_of_database_is_refused():
    with pytest.raises(InvalidInput, match="postgresql"):
        await Store.open("postgresql://host/name")


async def test_a_database_of_a_newer_version_is_refused(tmp_path):
    await (await Store.open(tmp_path / "db")).close()
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"newer Lamplighter \(schema 9999\)"):
        await Store.open(tmp_path / "db")
