"""The encrypted store: what it keeps, and what it does when something is wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring
import pytest
from filelock import FileLock
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from lamplighter.domain.secret import Secret
from lamplighter.secrets.keyring_source import KeyringSource
from lamplighter.secrets.passphrase import Passphrase
from lamplighter.secrets.places import KeyringPlace
from lamplighter.secrets.problems import (
    SecretError,
    SecretForbidden,
    SecretMissing,
    SourceDamaged,
    SourceDown,
    SourceLocked,
    SourceUnfit,
)
from lamplighter.secrets.sources import Secrets
from lamplighter.secrets.store import COST, COST_VARIABLE, SecretStore, _digest, default_path, is_store

VALUE = "hf_hush-hush-hush"
CHEAP = 14


class MemoryKeyring(KeyringBackend):
    """A backend that keeps its entries in memory, may be locked, and may never answer."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False
        self.answers = threading.Event()
        self.answers.set()

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.entries[(service, username)] = password

    def _open(self) -> None:
        self.answers.wait(10)
        if self.locked:
            raise KeyringLocked("the collection is locked, and this text may hold anything")


@pytest.fixture
def ring() -> Any:
    before = keyring.get_keyring()
    ring = MemoryKeyring()
    keyring.set_keyring(ring)
    yield ring
    ring.answers.set()
    keyring.set_keyring(before)


def opened(folder: Path, passphrase: str | None = "open sesame", ask: Any = None, **more: Any) -> SecretStore:
    environ = {} if passphrase is None else {"LAMPLIGHTER_PASSPHRASE": passphrase}
    return SecretStore(
        folder / "inner" / "secrets.json", passphrase=Passphrase(environ, ask), cost=CHEAP, **{"patience": 0.1} | more
    )


def test_what_was_set_is_found_by_another_process_with_the_passphrase(tmp_path: Path) -> None:
    store = opened(tmp_path, wall=lambda: 5.0)
    store.set("a", Secret(VALUE))
    store.set("b", Secret("two\nlines"))
    store.set("a", Secret("newer"))
    again = opened(tmp_path)
    assert again.get("a") == Secret("newer")
    assert again.get("b") == Secret("two\nlines")
    assert [(entry.name, entry.set_at) for entry in again.entries()] == [("a", 5.0), ("b", 5.0)]


def test_the_file_is_its_owners_alone_and_shows_no_value(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    text = store.path.read_text()
    assert VALUE not in text
    assert "open sesame" not in text
    assert is_store(text)
    store.path.chmod(0o644)
    store.get("a")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["secrets.json", "secrets.json.lock"]


def test_names_are_listed_and_removed_without_what_opens_it(tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    locked = opened(tmp_path, None)
    assert [entry.name for entry in locked.entries()] == ["a"]
    with pytest.raises(SourceLocked, match="LAMPLIGHTER_PASSPHRASE"):
        locked.get("a")
    locked.remove("a")
    assert locked.entries() == []
    with pytest.raises(SecretMissing, match="holds no 'a'"):
        locked.remove("a")


def test_what_is_not_there_is_told_with_the_command_that_sets_it(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match="`lamplighter secrets set a` makes it"):
        opened(tmp_path).get("a")
    opened(tmp_path).set("b", Secret(VALUE))
    with pytest.raises(SecretMissing, match="`lamplighter secrets set a` adds it"):
        opened(tmp_path).get("a")


def test_a_wrong_passphrase_is_told_and_loses_nothing(tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    before = opened(tmp_path).path.read_bytes()
    wrong = opened(tmp_path, "open barley")
    for attempt in (lambda: wrong.get("a"), lambda: wrong.set("a", Secret("x")), lambda: wrong.set("b", Secret("x"))):
        with pytest.raises(SecretForbidden, match="the passphrase is wrong") as raised:
            attempt()
        assert "barley" not in raised.value.message
    assert wrong.path.read_bytes() == before
    assert opened(tmp_path).get("a") == Secret(VALUE)


def test_who_is_asked_for_the_passphrase_is_asked_once_and_again_after_a_wrong_one(tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    said = ["open barley", "open sesame"]
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return said.pop(0)

    store = opened(tmp_path, None, ask)
    with pytest.raises(SecretForbidden):
        store.get("a")
    assert store.get("a") == Secret(VALUE)
    assert store.get("a") == Secret(VALUE)
    assert len(asked) == 2


def test_a_new_passphrase_is_asked_for_twice(tmp_path: Path) -> None:
    said = ["one", "other", "", "same", "same"]
    store = opened(tmp_path, None, lambda _: said.pop(0))
    for told in ("differ", "must not be empty"):
        with pytest.raises(SourceUnfit, match=told):
            store.set("a", Secret(VALUE), protect_by="passphrase")
        assert not store.path.exists()
    store.set("a", Secret(VALUE), protect_by="passphrase")
    assert opened(tmp_path, "same").get("a") == Secret(VALUE)


def test_the_passphrase_comes_from_a_descriptor_that_is_closed_afterwards(tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\nmore")
    os.close(writing)
    passphrase = Passphrase({"LAMPLIGHTER_PASSPHRASE_FD": str(reading), "LAMPLIGHTER_PASSPHRASE": "not this one"})
    store = SecretStore(opened(tmp_path).path, passphrase=passphrase)
    assert store.get("a") == Secret(VALUE)
    with pytest.raises(OSError):
        os.fstat(reading)
    assert store.get("a") == Secret(VALUE)


@pytest.mark.parametrize(
    ("number", "told"),
    [("x", "number of an open file"), ("9" * 30, "number of an open file"), ("987654", "can't be read")],
)
def test_a_descriptor_of_no_use_is_told(number: str, told: str, tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    passphrase = Passphrase({"LAMPLIGHTER_PASSPHRASE_FD": number})
    with pytest.raises(SourceUnfit, match=told):
        SecretStore(opened(tmp_path).path, passphrase=passphrase).get("a")


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _empty(_: str) -> str:
    return ""


def _one_letter(text: str) -> str:
    at = text.index('"sealed": "') + 60
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def _other_format(text: str) -> str:
    return text.replace("lamplighter-secrets/1", "lamplighter-secrets/9")


def _endless(_: str) -> str:
    return '{"format": "lamplighter-secrets/1", "key": ' + "[" * 100_000


def _no_store(_: str) -> str:
    return '{"a": 1}'


def _huge_cost(text: str) -> str:
    return text.replace(f'"cost": {CHEAP}', '"cost": 40')


@pytest.mark.parametrize("damage", [_cut, _empty, _one_letter, _other_format, _no_store, _endless, _huge_cost])
def test_a_damaged_file_is_told_as_that_and_never_written_over(damage: Callable[[str], str], tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    damaged = damage(store.path.read_text())
    store.path.write_text(damaged)
    for attempt in (
        lambda: opened(tmp_path).get("a"),
        lambda: opened(tmp_path).set("b", Secret("x")),
        lambda: opened(tmp_path).remove("a"),
        lambda: opened(tmp_path).entries(),
    ):
        with pytest.raises(SourceDamaged, match="Nothing was changed"):
            attempt()
    assert store.path.read_text() == damaged


def _with_digest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """As somebody would who knows the format, and not the key."""
    document = json.loads(path.read_text())
    del document["digest"]
    change(document)
    path.write_text(json.dumps({**document, "digest": _digest(document)}))


def test_no_value_can_be_put_in_anothers_place(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("mine", Secret("one"))
    store.set("theirs", Secret("two"))

    def swap(document: dict[str, Any]) -> None:
        inner = document["secrets"]
        inner["mine"], inner["theirs"] = inner["theirs"], inner["mine"]

    _with_digest(store.path, swap)
    with pytest.raises(SourceDamaged, match="belongs elsewhere"):
        opened(tmp_path).get("mine")


def test_a_cost_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    _with_digest(store.path, lambda document: document["key"].update(cost=40))
    with pytest.raises(SourceDamaged, match="cost"):
        opened(tmp_path).get("a")


def test_a_second_writer_waits_and_then_gives_up(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    with FileLock(f"{store.path}.lock"), pytest.raises(SourceDown, match="another program"):
        opened(tmp_path).set("b", Secret("x"))
    assert [entry.name for entry in store.entries()] == ["a"]


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    opened(tmp_path).set("first", Secret(VALUE))
    path = opened(tmp_path).path
    code = (
        "import sys; from pathlib import Path; from lamplighter.domain.secret import Secret;"
        "from lamplighter.secrets.passphrase import Passphrase; from lamplighter.secrets.store import SecretStore;"
        "store = SecretStore(Path(sys.argv[1]), passphrase=Passphrase({'LAMPLIGHTER_PASSPHRASE': 'open sesame'}));"
        "[store.set(f'{sys.argv[2]}-{n}', Secret('x')) for n in range(5)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abc"]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    assert len(opened(tmp_path).entries()) == 16


def test_a_writer_that_is_killed_leaves_the_old_file_and_what_it_left_is_cleared_away(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    before = store.path.read_bytes()
    code = (
        "import os, sys; from pathlib import Path; from lamplighter.domain.secret import Secret;"
        "from lamplighter.secrets.passphrase import Passphrase; from lamplighter.secrets.store import SecretStore;"
        "store = SecretStore(Path(sys.argv[1]), passphrase=Passphrase({'LAMPLIGHTER_PASSPHRASE': 'open sesame'}));"
        "os.fsync = lambda _: os.kill(os.getpid(), 9);"
        "store.set('b', Secret('x'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], timeout=30, check=False)
    assert done.returncode == -9
    assert store.path.read_bytes() == before
    assert len(list(store.path.parent.iterdir())) == 3
    store.set("c", Secret("y"))
    assert [entry.name for entry in store.entries()] == ["a", "c"]
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["secrets.json", "secrets.json.lock"]


def test_writers_by_a_link_and_by_the_file_itself_take_turns(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    link = tmp_path / "link.json"
    link.symlink_to(store.path)
    passphrase = Passphrase({"LAMPLIGHTER_PASSPHRASE": "open sesame"})
    with FileLock(f"{store.path}.lock"), pytest.raises(SourceDown, match="another program"):
        SecretStore(link, passphrase=passphrase, patience=0.1).set("b", Secret("x"))


def test_a_new_file_is_as_dear_to_open_as_is_documented_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    assert (COST, COST_VARIABLE) == (16, "LAMPLIGHTER_SECRETS_COST")
    environ = {"LAMPLIGHTER_PASSPHRASE": "open sesame", "LAMPLIGHTER_SECRETS": str(tmp_path / "dear.json")}
    Secrets(environ).store.set("a", Secret(VALUE))
    assert json.loads((tmp_path / "dear.json").read_text())["key"]["cost"] == 16
    cheap = {**environ, "LAMPLIGHTER_SECRETS": str(tmp_path / "cheap.json"), COST_VARIABLE: "14"}
    Secrets(cheap).store.set("a", Secret(VALUE))
    assert json.loads((tmp_path / "cheap.json").read_text())["key"]["cost"] == 14
    for wrong in ("13", "21", "-1", "x", "9" * 50):
        none = {**environ, "LAMPLIGHTER_SECRETS": str(tmp_path / "none.json"), COST_VARIABLE: wrong}
        with pytest.raises(SourceUnfit, match=r"LAMPLIGHTER_SECRETS_COST.*from 14 to 20"):
            Secrets(none).store.set("a", Secret(VALUE))
        assert not (tmp_path / "none.json").exists()


def test_a_user_without_a_home_has_a_place_for_the_file_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert default_path({}).name == "secrets.json"
    assert Secrets({}).store.entries() == []
    assert default_path({"LAMPLIGHTER_SECRETS": "~nobody-of-that-name/x"}).name == "x"


def test_a_passphrase_that_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceUnfit, match="LAMPLIGHTER_PASSPHRASE is not UTF-8 text"):
        opened(tmp_path, "open \udcff").set("a", Secret(VALUE))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    before = store.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceUnfit, match=r"No space left on device; nothing was changed"):
        store.set("b", Secret("x"))
    assert store.path.read_bytes() == before
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["secrets.json", "secrets.json.lock"]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.set("a", Secret(VALUE))
    link = tmp_path / "link.json"
    link.symlink_to(store.path)
    linked = SecretStore(link, passphrase=Passphrase({"LAMPLIGHTER_PASSPHRASE": "open sesame"}))
    linked.set("b", Secret("x"))
    assert link.is_symlink()
    assert len(opened(tmp_path).entries()) == 2


def test_the_key_may_be_in_the_keyring(tmp_path: Path, ring: MemoryKeyring) -> None:
    store = opened(tmp_path, None)
    store.set("a", Secret(VALUE))  # no passphrase is given, and there is a keyring
    assert store.protection() == "keyring"
    assert len(ring.entries) == 1
    assert opened(tmp_path, None).get("a") == Secret(VALUE)
    with pytest.raises(SourceUnfit, match="protected by the keyring already"):
        opened(tmp_path).set("b", Secret("x"), protect_by="passphrase")


def test_a_keyring_that_is_locked_lost_the_key_or_has_another_is_told(tmp_path: Path, ring: MemoryKeyring) -> None:
    opened(tmp_path, None).set("a", Secret(VALUE))
    ring.locked = True
    with pytest.raises(SourceLocked, match="the keyring is locked") as raised:
        opened(tmp_path, None).get("a")
    assert "may hold anything" not in raised.value.message
    ring.locked = False
    ((entry, right),) = ring.entries.items()
    ring.entries[entry] = right[:-5] + "AAAA="
    with pytest.raises(SecretForbidden, match="another key"):
        opened(tmp_path, None).get("a")
    ring.entries.clear()
    with pytest.raises(SourceLocked, match="is not in the keyring of this user"):
        opened(tmp_path, None).get("a")
    ring.entries[entry] = right
    assert opened(tmp_path, None).get("a") == Secret(VALUE)


def test_a_keyring_answers_is_locked_hangs_or_is_not_there(ring: MemoryKeyring) -> None:
    place = KeyringPlace("svc", "name")
    source = KeyringSource(patience=0.2)
    with pytest.raises(SecretMissing, match=r"no entry 'name' of the service 'svc'"):
        source.get(place)
    ring.entries[("svc", "name")] = VALUE
    assert source.get(place) == Secret(VALUE)
    ring.answers.clear()
    with pytest.raises(SourceDown, match=r"within 0\.2 s"):
        source.get(place)
    ring.answers.set()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(SourceUnfit, match="no keyring on this machine"):
        source.get(place)
    assert not source.is_usable
    keyring.set_keyring(null.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(SecretMissing):
        source.get(place)
    assert not source.is_usable


def test_without_the_extra_it_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['keyring'] = None\n"
        "from lamplighter.secrets.keyring_source import KeyringSource\n"
        "from lamplighter.secrets.places import KeyringPlace\n"
        "try: KeyringSource().get(KeyringPlace('a', 'b'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "SourceUnfit the keyring needs an extra that is not installed: pip install 'lamplighter[keyring]'"
    )


def test_the_place_of_the_file() -> None:
    assert default_path({"LAMPLIGHTER_SECRETS": "/x/y"}) == Path("/x/y")
    assert default_path({"XDG_CONFIG_HOME": "/c"}) == Path("/c/lamplighter/secrets.json")
    assert default_path({"HOME": "/h"}) == Path("/h/.config/lamplighter/secrets.json")


def test_no_error_of_a_source_shows_a_secret_in_its_cause(tmp_path: Path) -> None:
    opened(tmp_path).set("a", Secret(VALUE))
    with pytest.raises(SecretError) as raised:
        opened(tmp_path, "open barley").get("a")
    assert raised.value.__suppress_context__
