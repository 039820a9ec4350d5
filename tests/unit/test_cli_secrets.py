"""`lamplighter secrets`, and what the doctor says of the places that are named."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamplighter.cli.doctor import sources
from lamplighter.cli.main import main
from lamplighter.domain.secret import Secret
from lamplighter.secrets import store
from lamplighter.secrets.sources import Secrets, usual_secrets
from tests.cli_cloud import ScriptedCloud, scripted_cloud
from tests.cli_world import Said
from tests.vault_server import ROOT, VaultServer, vault_server

VALUE = "s3cret-of-the-test"
TOKEN = "hf_TokenOfTheTest"


class Typed(io.TextIOWrapper):
    """Standard input with this text."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        one.have({"me": []})
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("LAMPLIGHTER_PASSPHRASE", "open sesame")
        monkeypatch.setenv("LAMPLIGHTER_SECRETS_COST", "14")
        for name in ("LAMPLIGHTER_SECRETS", "LAMPLIGHTER_TOKEN_SOURCE", "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"):
            monkeypatch.delenv(name, raising=False)
        usual_secrets.cache_clear()
        yield one
        usual_secrets.cache_clear()


def kept(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch, name: str, value: bytes | str, *more: str) -> Said:
    given = value if isinstance(value, bytes) else value.encode()
    monkeypatch.setattr(sys, "stdin", Typed(given))
    return cloud("secrets", "set", name, *more)


def test_a_secret_is_set_listed_tested_and_removed(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    said = kept(cloud, monkeypatch, "admin", f"{VALUE}\n")
    assert said.code == 0, said.err
    assert "secret:admin" in said.err
    assert said.out == ""
    listed = cloud("secrets", "list")
    assert "admin" in listed.out
    assert "just now" in listed.out
    assert cloud("secrets", "list", "--quiet").out == "admin\n"
    tested = cloud("secrets", "test", "admin")
    assert tested.code == 0
    assert "secret:admin: can be read, from the encrypted store" in tested.out
    assert cloud.asked("whoami") == []  # it does not look like a token
    assert cloud("secrets", "remove", "admin").code == 0
    gone = cloud("secrets", "test", "admin")
    assert gone.code == 3
    assert "holds no 'admin'" in gone.out
    assert cloud("secrets", "remove", "admin").code == 3
    assert VALUE not in said.err + listed.out + tested.out + gone.out


def test_a_value_is_never_an_argument(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    said = kept(cloud, monkeypatch, "admin", "", VALUE)
    assert said.code == 2
    assert "never an argument" in said.err
    assert VALUE not in said.err + said.out


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("admin", "\n", "the value is empty"),
        ("admin", b"\xff\xfe", "not UTF-8"),
        ("admin", "x" * 70_000, "at most 64000 characters"),
        ("my secret value", "x", "name: what was given should be a name"),
    ],
)
def test_a_value_or_name_of_no_use_is_told_and_nothing_is_made(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: bytes | str, told: str
) -> None:
    said = kept(cloud, monkeypatch, name, value)
    assert said.code == 2
    assert told in said.err
    assert "secret value" not in said.err
    assert not list(tmp_path.rglob("secrets.json"))


def test_a_token_is_shown_to_hugging_face_once(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(cloud, monkeypatch, "one", TOKEN)
    kept(cloud, monkeypatch, "two", TOKEN)
    said = cloud("secrets", "test", "--json")
    assert said.code == 0
    assert [one["said"].endswith("Hugging Face knows it: it belongs to me") for one in said.json] == [True, True]
    assert len(cloud.asked("whoami")) == 1
    assert TOKEN not in said.out + said.err


def test_a_token_that_is_refused_fails_the_test(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(cloud, monkeypatch, "one", TOKEN)
    cloud.script.put("/api/whoami-v2", {"error": "Invalid username or password."}, status=401)
    said = cloud("secrets", "test", "one")
    assert said.code == 4
    assert "Hugging Face refuses it" in said.out
    assert TOKEN not in said.out + said.err


def test_a_wrong_passphrase_exits_4(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(cloud, monkeypatch, "one", VALUE)
    monkeypatch.setenv("LAMPLIGHTER_PASSPHRASE", "open barley")
    said = cloud("secrets", "test")
    assert said.code == 4
    assert "the passphrase is wrong" in said.out
    again = kept(cloud, monkeypatch, "one", "other")
    assert again.code == 4
    assert "barley" not in said.out + again.err


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[VaultServer]:
    with vault_server() as one:
        monkeypatch.setenv("VAULT_ADDR", one.url)
        monkeypatch.setenv("VAULT_TOKEN", ROOT)
        one.put("secret/a", x=VALUE)
        yield one


def test_a_source_that_is_named_is_tested(
    cloud: ScriptedCloud, vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", ROOT)
    said = cloud("secrets", "test", "vault:a#x")
    assert (said.code, VALUE in said.out) == (0, False)
    assert f"vault:a#x: can be read, from the Vault at {vault.url}" in said.out
    assert cloud("secrets", "test", "vault:a#y").code == 3
    assert cloud("secrets", "test", "vault:forbidden/a#y").code == 4
    assert cloud("secrets", "test", "vault:a//b").code == 2


def test_the_doctor_reads_every_place_and_shows_none(
    cloud: ScriptedCloud, vault: VaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", ROOT)
    kept(cloud, monkeypatch, "admin", VALUE)
    (tmp_path / "lamplighter.yaml").write_text(
        "server: {keys: ['secret:admin']}\nalarms: {webhook: 'vault:nope#x'}\nproviders: {local: {}}\n"
    )
    monkeypatch.setenv("LAMPLIGHTER_TOKEN_SOURCE", "vault:a#x")
    found = [(one.verdict.value, one.said) for one in sources.examine(Secrets())]
    assert ("good", f"{tmp_path}/config/lamplighter/secrets.json holds 1 secret") in found
    assert any(verdict == "good" and said.startswith("secret:admin can be read") for verdict, said in found)
    assert any(verdict == "good" and said.startswith("vault:a#x can be read") for verdict, said in found)
    assert any(verdict == "bad" and "there is no nope" in said for verdict, said in found)
    assert any(verdict == "note" and "without encryption" in said for verdict, said in found)
    assert VALUE not in str(found)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_plain_file_that_everybody_can_read_is_told(
    mode: int, is_open: bool, cloud: ScriptedCloud, tmp_path: Path
) -> None:
    file = tmp_path / "admin.key"
    file.write_text(VALUE)
    file.chmod(mode)
    (tmp_path / "lamplighter.yaml").write_text(f"server: {{keys: ['file:{file}']}}\n")
    told = f"every user of this machine can read it (mode {mode:04o})"
    said = cloud("secrets", "test")
    assert (said.code, "can be read, from the file" in said.out, told in said.out) == (0, True, is_open)
    findings = [(one.verdict.value, told in one.said) for one in sources.examine(Secrets())]
    assert findings == [("note", True) if is_open else ("good", False)]


def test_a_damaged_file_is_a_finding(cloud: ScriptedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(cloud, monkeypatch, "admin", VALUE)
    path = tmp_path / "config" / "lamplighter" / "secrets.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"proof": "x"}))
    assert [(one.verdict.value, "is damaged" in one.said) for one in sources.examine(Secrets())] == [("bad", True)]
    said = cloud("secrets", "list")
    assert said.code == 1
    assert "Nothing was changed" in said.err


def test_a_command_finds_its_token_at_the_source(
    cloud: ScriptedCloud, vault: VaultServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", ROOT)
    vault.put("secret/huggingface/api_key", token=TOKEN)
    monkeypatch.setenv("LAMPLIGHTER_TOKEN_SOURCE", "vault:")
    said = cloud("doctor", "--cloud", "--json")
    assert "found in vault:huggingface/api_key; it belongs to me" in said.out
    assert TOKEN not in said.out + said.err
    monkeypatch.setenv("LAMPLIGHTER_TOKEN_SOURCE", "vault:nope#x")
    capsys.readouterr()
    assert main(["list", "--cloud"]) == 4
    told = capsys.readouterr().err
    assert told.startswith("error: LAMPLIGHTER_TOKEN_SOURCE names vault:nope#x, which can't be read: there is no nope")


LOOSE = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


def test_a_token_in_the_place_of_a_name_is_refused_and_not_repeated(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = [
        kept(cloud, monkeypatch, LOOSE, "x\n"),
        cloud("secrets", "test", LOOSE),
        *(cloud("secrets", "test", f"{kind}:{LOOSE}") for kind in ("env", "secret", "file", "vault")),
        cloud("secrets", "test", f"keyring:svc/{LOOSE}"),
        cloud("secrets", "remove", LOOSE),
    ]
    for one in said:
        assert one.code == 2, one
        assert "looks like a token" in one.err
        assert LOOSE not in one.out + one.err
    assert not list(tmp_path.rglob("secrets.json"))


def test_an_entry_that_an_older_version_named_as_a_token_can_still_be_removed(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(store, "check_new_name", lambda name: name)
        Secrets().store.set(LOOSE, Secret("x"), protect_by="passphrase")
    removed = cloud("secrets", "remove", LOOSE)
    assert removed.code == 0, removed.err
    assert LOOSE not in removed.err
    assert "revoke" in removed.err
    assert cloud("secrets", "list", "--quiet").out == ""


def test_standard_input_is_not_both_the_passphrase_and_the_value(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMPLIGHTER_PASSPHRASE_FD", "0")
    said = kept(cloud, monkeypatch, "admin", f"{VALUE}\n")
    assert said.code == 2
    assert "standard input can't be both" in said.err
