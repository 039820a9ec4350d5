"""Keys are made on record, told once, found by what is shown, and count until they end."""

import asyncio
import hashlib

import pytest

from lamplighter.control.clock import Clock
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.keyring import KeyExpired, KeyRevoked, Keyring, MemoryKeys, NotWritten
from lamplighter.control.recorder import Recorder
from lamplighter.domain.keys import KeyLimits, Role
from lamplighter.errors import Conflict, EndpointNotFound, InvalidInput, NotAllowed, NotFound, StoreError
from lamplighter.store import Store

NOW = 1_700_000_000.0
CONFIGURED = hashlib.sha256(b"sesame").hexdigest()


class Wall:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


class Failing(MemoryKeys):
    """A database that takes nothing."""

    async def add_key(self, key):
        raise StoreError("the disk is full")

    async def revoke_key(self, key_id, at):
        raise StoreError("the disk is full")


def resolve(name: str) -> str:
    known = {"chat": "chat", "smollm2": "chat", "coder": "coder"}
    if name not in known:
        raise EndpointNotFound(name, known)
    return known[name]


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def journal():
    return MemoryJournal()


@pytest.fixture
async def recorder(journal):
    return Recorder(journal, Clock())


@pytest.fixture
def ring(wall, recorder):
    return Keyring({CONFIGURED}, recorder=recorder, resolve=resolve, wall=wall)


@pytest.fixture
def bare(wall, recorder):
    return Keyring(recorder=recorder, resolve=resolve, wall=wall)


async def test_a_configured_key_is_an_admins_under_the_name_of_its_digest(ring):
    key = ring.find(b"sesame", NOW)
    assert (key.id, key.actor, key.role) == (f"key:{CONFIGURED[:8]}", f"key:{CONFIGURED[:8]}", Role.ADMIN)
    assert CONFIGURED not in repr(key)


async def test_a_made_key_is_found_by_its_secret_which_is_kept_nowhere(ring, wall):
    key, secret = await ring.make(
        "ci",
        actor="key:root",
        routes=["smollm2"],
        may_wake=False,
        priority=5,
        limits=KeyLimits(requests_per_minute=60),
        tags={"team": "search"},
        expires_in=3600.0,
    )
    shown = secret.reveal()
    assert shown.startswith("ll_")
    assert len(shown) >= 35
    assert ring.find(shown.encode(), NOW) == key
    assert key.digest == hashlib.sha256(shown.encode()).hexdigest()
    assert (key.actor, key.routes, key.expires_at) == ("key:ci", frozenset({"chat"}), NOW + 3600)
    assert (key.created_at, key.created_by, key.may_wake) == (NOW, "key:root", False)


@pytest.mark.parametrize("shown", [b"", b"ll_", b"SESAME", b"sesame ", "sésame".encode(), b"\xff" * 5000])
async def test_what_is_no_key_is_not_known(ring, shown):
    with pytest.raises(NotAllowed, match="not known here"):
        ring.find(shown, NOW)


async def test_unknown_expired_and_revoked_are_told_apart(ring, wall):
    short, lives_short = await ring.make("short", actor="api", expires_in=60.0)
    _, taken_back = await ring.make("back", actor="api")
    assert ring.find(lives_short.reveal().encode(), NOW + 59.9) == short
    with pytest.raises(KeyExpired, match="'short' expired at 2023-11-14 22:14:20 UTC"):
        ring.find(lives_short.reveal().encode(), NOW + 60)
    await ring.revoke("back", actor="api")
    with pytest.raises(KeyRevoked, match="'back' was revoked at 2023-11-14 22:13:20 UTC"):
        ring.find(taken_back.reveal().encode(), NOW)
    assert (KeyExpired.status, KeyRevoked.status) == (401, 401)
    assert len({NotAllowed.code, KeyExpired.code, KeyRevoked.code}) == 3


async def test_making_and_revoking_are_on_record_and_so_are_refusals(ring, journal):
    await ring.make("ci", actor="key:root", limits=KeyLimits(tokens_per_minute=9))
    with pytest.raises(Conflict):
        await ring.make("ci", actor="key:root")
    await ring.revoke("ci", actor="key:root")
    told = [(one.operation, one.success, one.actor, one.endpoint) for one in journal.operations]
    assert told == [
        ("create key", True, "key:root", None),
        ("create key", False, "key:root", None),
        ("revoke key", True, "key:root", None),
    ]
    assert "9 tokens/min" in journal.operations[0].change
    assert "ll_" not in str(list(journal.operations))


async def test_the_first_key_closes_the_server_and_must_be_able_to_make_others(bare):
    assert bare.is_open
    for wrong, field in (
        ({"role": Role.OPERATE}, "role"),
        ({"role": Role.INFER, "expires_in": 60.0}, "role"),
        ({"role": Role.ADMIN, "expires_in": 60.0}, "expires_in"),
    ):
        with pytest.raises(InvalidInput, match=f"^{field}: the first key closes this server") as refused:
            await bare.make("first", actor="api", **wrong)
        assert refused.value.field == field
    assert bare.is_open
    await bare.make("root", actor="api", role=Role.ADMIN)
    assert not bare.is_open
    await bare.make("ci", actor="key:root")


async def test_the_last_key_that_could_make_others_is_not_revoked(bare):
    await bare.make("root", actor="api", role=Role.ADMIN)
    await bare.make("short", actor="key:root", role=Role.ADMIN, expires_in=60.0)
    with pytest.raises(Conflict, match="last admin key"):
        await bare.revoke("root", actor="key:root")
    await bare.make("second", actor="key:root", role=Role.ADMIN)
    await bare.revoke("root", actor="key:second")
    with pytest.raises(Conflict, match="last admin key"):
        await bare.revoke("second", actor="key:second")


async def test_a_configured_key_makes_every_other_one_expendable_but_is_not_revoked_here(ring):
    await ring.make("root", actor="api", role=Role.ADMIN)
    await ring.revoke("root", actor="api")
    for which in (CONFIGURED[:8], f"key:{CONFIGURED[:8]}"):
        with pytest.raises(Conflict, match=r"server\.keys"):
            await ring.revoke(which, actor="api")
    assert ring.find(b"sesame", NOW)


async def test_a_name_is_free_again_when_its_key_has_ended(ring, wall):
    first, _ = await ring.make("ci", actor="api", expires_in=60.0)
    with pytest.raises(Conflict, match="'ci' already"):
        await ring.make("ci", actor="api")
    wall.time += 60
    second, _ = await ring.make("ci", actor="api")
    revoked = await ring.revoke("ci", actor="api")
    assert revoked.id == second.id != first.id


async def test_to_revoke_twice_is_no_error_and_keeps_the_first_moment(ring, wall):
    key, _ = await ring.make("ci", actor="api")
    wall.time += 5
    first = await ring.revoke(key.id, actor="api")
    wall.time += 5
    assert await ring.revoke("ci", actor="api") == first
    await ring.make("cd", actor="api")
    with pytest.raises(NotFound, match="Did you mean 'cd'"):
        await ring.revoke("cdd", actor="api")


async def test_a_key_may_be_for_models_here_and_elsewhere(ring):
    key, _ = await ring.make("both", actor="api", routes=["smollm2", "org/model"])
    assert key.routes == {"chat", "org/model"}
    assert (key.may_call("chat"), key.may_call_elsewhere("chat")) == (True, False)
    assert key.may_call_elsewhere("org/model")


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a b"}),
        ("name", {"name": "x" * 65}),
        ("name", {"name": "deadbeef"}),
        ("name", {"name": "0123456789ab"}),
        ("name", {"name": "a\n"}),
        ("priority", {"priority": 101}),
        ("limits.concurrent", {"limits": KeyLimits(concurrent=0)}),
        ("limits.tokens_per_minute", {"limits": KeyLimits(tokens_per_minute=-1)}),
        ("limits.requests_per_minute", {"limits": KeyLimits(requests_per_minute=2**40)}),
        ("expires_in", {"expires_in": 0.0}),
        ("expires_in", {"expires_in": -5.0}),
        ("expires_in", {"expires_in": float("nan")}),
        ("expires_in", {"expires_in": float("inf")}),
        ("routes", {"routes": ["chatt"]}),
        ("routes", {"routes": ["org/a b"]}),
        ("routes", {"routes": ["/model"]}),
        ("routes", {"routes": ["org/"]}),
        ("routes", {"routes": ["org/" + "x" * 300]}),
        ("routes", {"routes": [f"r{n}" for n in range(1001)]}),
        ("tags", {"tags": {"a b": "c"}}),
        ("tags", {"tags": {"a": "line\nbreak"}}),
        ("tags", {"tags": {str(n): "x" for n in range(51)}}),
    ],
)
async def test_what_is_not_right_is_named(ring, field, given):
    with pytest.raises(InvalidInput) as refused:
        await ring.make(**{"name": "fine", "actor": "api", **given})
    assert refused.value.field == field
    assert str(refused.value).startswith(field)
    assert len(ring.list()) == 1


async def test_keys_outlive_the_process_and_so_does_their_end(tmp_path, wall, recorder):
    async def opened(store: Store, *digests: str) -> Keyring:
        ring = Keyring(digests, store=store, recorder=recorder, wall=wall)
        await ring.open()
        return ring

    store = await Store.open(tmp_path / "db")
    ring = await opened(store)
    root, secret = await ring.make("root", actor="api", role=Role.ADMIN, routes=("chat", "coder"), tags={"a": "b"})
    _, gone = await ring.make("gone", actor="api")
    await ring.revoke("gone", actor="api")
    await store.close()

    store = await Store.open(tmp_path / "db")
    ring = await opened(store)
    assert ring.find(secret.reveal().encode(), NOW) == root
    with pytest.raises(KeyRevoked):
        ring.find(gone.reveal().encode(), NOW)
    assert secret.reveal().encode() not in (tmp_path / "db").read_bytes()
    await store.close()


async def test_a_key_that_could_not_be_written_was_not_made(wall, recorder):
    ring = Keyring({CONFIGURED}, store=Failing(), recorder=recorder, wall=wall)
    with pytest.raises(StoreError):
        await ring.make("ci", actor="api")
    assert [key.name for key in ring.list()] == [CONFIGURED[:8]]


class Locked(MemoryKeys):
    """A database that takes things only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.forgotten: list[str] = []

    async def add_key(self, key):
        await self.free.wait()
        await super().add_key(key)

    async def forget_keys(self, ids):
        self.forgotten += [key_id for key_id in ids if key_id in self.keys]
        await super().forget_keys(ids)

    async def revoke_key(self, key_id, at):
        await self.free.wait()
        await super().revoke_key(key_id, at)


async def test_a_locked_database_refuses_a_key_in_time_and_what_it_takes_late_is_taken_back(wall, recorder, journal):
    store = Locked()
    ring = Keyring({CONFIGURED}, store=store, recorder=recorder, wall=wall, patience=0.02)
    with pytest.raises(NotWritten, match=r"No key was made: .* Try again") as refused:
        await ring.make("ci", actor="api")
    assert (refused.value.status, refused.value.retry_after) == (503, 5.0)
    assert [key.name for key in ring.list()] == [CONFIGURED[:8]]
    assert [one.success for one in journal.operations] == [False]
    store.free.set()
    await asyncio.gather(*ring._late)
    assert len(store.forgotten) == 1
    assert not store.keys
    key, _ = await ring.make("ci", actor="api")
    assert list(store.keys) == [key.id]
    await ring.close()


async def test_a_locked_database_keeps_no_key_from_being_revoked_and_that_is_written_later(wall, recorder):
    store = Locked()
    store.free.set()
    ring = Keyring({CONFIGURED}, store=store, recorder=recorder, wall=wall, patience=0.02)
    key, secret = await ring.make("ci", actor="api")
    store.free.clear()
    with pytest.raises(NotWritten, match="counts no more, but that is not written"):
        await ring.revoke("ci", actor="api")
    with pytest.raises(KeyRevoked):
        ring.find(secret.reveal().encode(), NOW)
    store.free.set()
    await asyncio.gather(*ring._late)
    assert store.keys[key.id].revoked_at == NOW
    await ring.close()


async def test_changes_of_keys_do_not_line_up_behind_a_locked_database(wall, recorder):
    ring = Keyring({CONFIGURED}, store=Locked(), recorder=recorder, wall=wall, patience=0.05)
    results = await asyncio.gather(*(ring.make(f"k{n}", actor="api") for n in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {NotWritten}
    assert any("nothing was changed" in str(result) for result in results)
    await ring.close()


async def test_a_key_is_revoked_at_once_even_if_that_could_not_be_written(wall, recorder):
    store = Failing()
    ring = Keyring({CONFIGURED}, store=store, recorder=recorder, wall=wall)
    other = Keyring({CONFIGURED}, recorder=recorder, wall=wall)
    key, secret = await other.make("ci", actor="api")
    store.keys[key.id] = key
    await ring.open()
    with pytest.raises(StoreError, match="counts no more, but"):
        await ring.revoke("ci", actor="api")
    with pytest.raises(KeyRevoked):
        ring.find(secret.reveal().encode(), NOW)


async def test_ended_keys_are_forgotten_but_the_last_one_keeps_the_server_closed(bare, wall):
    _, old = await bare.make("root", actor="api", role=Role.ADMIN)
    wall.time += 1
    await bare.make("second", actor="api", role=Role.ADMIN)
    wall.time += 1
    await bare.make("short", actor="api", expires_in=60.0)
    await bare.revoke("root", actor="api")
    wall.time += 1000
    await bare.forget(NOW + 30)
    assert [key.name for key in bare.list()] == ["second", "short"]
    with pytest.raises(NotAllowed, match="not known"):
        bare.find(old.reveal().encode(), wall.time)
    await bare.forget(NOW + 500)
    assert [key.name for key in bare.list()] == ["second"]


async def test_a_server_whose_only_key_has_ended_stays_closed(wall, recorder):
    store = MemoryKeys()
    first = Keyring({CONFIGURED}, store=store, recorder=recorder, wall=wall)
    await first.make("short", actor="api", expires_in=60.0)
    later = Keyring(store=store, recorder=recorder, wall=wall)  # the configured key was taken out
    await later.open()
    wall.time += 10_000
    await later.forget(wall.time)
    assert not later.is_open


async def test_whoever_wants_to_know_of_changes_is_told_of_each(ring):
    told: list[bool] = []
    ring.subscribe(lambda: told.append(ring.is_open))
    await ring.make("ci", actor="api")
    await ring.revoke("ci", actor="api")
    assert told == [False, False]
