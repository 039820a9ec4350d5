"""The client of Vault, against a server of the tests' own on real sockets; it is not the real one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamplighter.domain.secret import Secret
from lamplighter.secrets.keeping import keep_renewed
from lamplighter.secrets.places import VaultPlace
from lamplighter.secrets.problems import (
    SecretError,
    SecretForbidden,
    SecretMissing,
    SourceDown,
    SourceLocked,
    SourceUnfit,
)
from lamplighter.secrets.sources import Secrets
from lamplighter.secrets.vault import Vault, VaultSettings
from tests.vault_server import ROLE, ROOT, SECRET_ID, Token, VaultServer, vault_server

VALUE = "hf_hush-hush-hush"
PLACE = VaultPlace("huggingface/api_key", "token")


@pytest.fixture
def server() -> Iterator[VaultServer]:
    with vault_server() as one:
        one.put("secret/huggingface/api_key", token=VALUE)
        yield one


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def by_token(server: VaultServer, token: str = ROOT, **more: object) -> Vault:
    clock = more.pop("clock", time.monotonic)
    deadline = more.pop("deadline", 5.0)
    settings = VaultSettings(address=server.url, token=Secret(token), **more)  # type: ignore[arg-type]
    return Vault(settings, deadline=deadline, clock=clock)  # type: ignore[arg-type]


def by_role(server: VaultServer, secret_id: str = SECRET_ID, clock: Clock | None = None) -> Vault:
    settings = VaultSettings(address=server.url, role_id=ROLE, secret_id=Secret(secret_id))
    return Vault(settings, deadline=5.0, clock=clock or time.monotonic)


def test_a_field_is_read_with_a_token(server: VaultServer) -> None:
    assert by_token(server).read(PLACE) == Secret(VALUE)
    assert server.asked == ["GET /v1/secret/data/huggingface/api_key"]
    assert server.headers[0]["x-vault-token"] == ROOT
    assert server.headers[0]["x-vault-request"] == "true"
    assert "x-vault-namespace" not in server.headers[0]


def test_the_only_field_need_not_be_named(server: VaultServer) -> None:
    assert by_token(server).read(VaultPlace("huggingface/api_key")) == Secret(VALUE)


def test_a_version_and_a_mount_are_asked_for(server: VaultServer) -> None:
    server.put("kv/a/b c", x="one")
    server.put("kv/a/b c", x="two")
    vault = by_token(server)
    assert vault.read(VaultPlace("a/b c", "x", "kv")) == Secret("two")
    assert vault.read(VaultPlace("a/b c", "x", "kv", 1)) == Secret("one")
    assert server.asked[-1] == "GET /v1/kv/data/a/b%20c?version=1"


def test_the_namespace_is_told(server: VaultServer) -> None:
    server.namespace = "team/models"
    assert by_token(server, namespace="team/models").read(PLACE) == Secret(VALUE)
    with pytest.raises(SecretMissing):
        by_token(server).read(PLACE)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (VaultPlace("nowhere", "x"), "there is no nowhere in the KV engine secret at the Vault at http"),
        (VaultPlace("data/huggingface/api_key", "x"), "leave out its first part, data/"),
        (VaultPlace("huggingface/api_key", "nope"), "has no field 'nope'; there are: token"),
        (VaultPlace("two"), "name one of a, b behind a #"),
        (VaultPlace("odd", "number"), "is not text"),
        (VaultPlace("odd", "blank"), "is empty"),
        (VaultPlace("gone", "x"), "was deleted on 2026-02-03"),
        (VaultPlace("gone", "x", version=2), "version 2 of gone at the Vault at"),
        (VaultPlace("gone", "x", version=9), "there is no version 9 of gone"),
    ],
)
def test_what_is_not_there_is_told_by_what_is_missing(server: VaultServer, place: VaultPlace, told: str) -> None:
    server.put("secret/two", a="1", b="2")
    server.put("secret/odd", number=5, blank=" ")
    server.secrets["secret/gone"] = [{"x": "hush"}, "destroyed", "deleted"]
    with pytest.raises(SecretMissing) as raised:
        by_token(server).read(place)
    assert told in raised.value.message
    assert not raised.value.passing


def test_a_destroyed_version_is_told_apart_from_a_deleted_one(server: VaultServer) -> None:
    server.secrets["secret/gone"] = [{"x": "hush"}, "destroyed"]
    with pytest.raises(SecretMissing, match="was destroyed"):
        by_token(server).read(VaultPlace("gone", "x"))


def test_an_engine_of_version_1_is_told_as_that(server: VaultServer) -> None:
    server.version_1.add("old")
    with pytest.raises(SourceUnfit, match=r"old at the Vault at .* is a KV engine of version 1; version 2 is needed"):
        by_token(server).read(VaultPlace("a", "x", "old"))


def test_a_sealed_one_is_locked_and_may_be_well_again(server: VaultServer) -> None:
    server.sealed = True
    vault = by_token(server)
    with pytest.raises(SourceLocked, match="is sealed: unseal it") as raised:
        vault.read(PLACE)
    assert raised.value.passing
    server.sealed = False
    assert vault.read(PLACE) == Secret(VALUE)


@pytest.mark.parametrize("path", ["forbidden/x", "huggingface/api_key"])
def test_no_right_and_a_wrong_token_are_told_and_show_neither(server: VaultServer, path: str) -> None:
    with pytest.raises(SecretForbidden, match=r"answer 403.*expired, or its policy") as raised:
        by_token(server, ROOT if path.startswith("forbidden") else "hvs.wrong-and-secret").read(VaultPlace(path, "x"))
    assert "hvs." not in raised.value.message
    assert not raised.value.passing


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ((500, b'{"errors":["internal error"]}'), SourceDown),
        ((429, b"{}"), SourceDown),
        ((502, b"<html>bad gateway</html>"), SourceDown),
        ((473, b"{}"), SourceDown),
        ((200, b"<html>hello</html>"), SourceUnfit),
        ((200, b"[]"), SourceUnfit),
        ((200, b'{"data": {"token": "hush"}}'), SourceUnfit),
        ((200, b'{"data": {"data": [1], "metadata": {}}}'), SourceUnfit),
        ((200, b"x" * 2_000_000), SourceUnfit),
        ((200, b'{"data": ' + b"[" * 100_000), SourceUnfit),
        ((200, b'{"data": {"data": {"token": "a\\ud800b"}, "metadata": {}}}'), SecretMissing),
        ((200, b'{"data": {"data": {"token": "' + b"x" * 900_000 + b'"}, "metadata": {}}}'), SecretMissing),
        ((418, b"teapot"), SourceUnfit),
        ((400, b'{"errors":["echo ' + ROOT.encode() + b'"]}'), SourceUnfit),
    ],
)
def test_answers_of_no_use_are_told(server: VaultServer, raw: tuple[int, bytes], kind: type[SecretError]) -> None:
    server.raw = raw
    with pytest.raises(kind) as raised:
        of({"VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT}).read(PLACE)
    assert ROOT not in raised.value.message
    assert len(raised.value.message) < 500


def test_a_slow_one_is_given_up_at_the_deadline(server: VaultServer) -> None:
    server.slow = 5.0
    begun = time.monotonic()
    with pytest.raises(SourceDown, match=r"did not answer within 0\.2 s"):
        by_token(server, deadline=0.2).read(PLACE)
    assert time.monotonic() - begun < 3


def test_one_that_is_not_there_is_told() -> None:
    vault = Vault(VaultSettings(address="http://127.0.0.1:9", token=Secret(ROOT)), deadline=5.0)
    with pytest.raises(SourceDown, match="can't be reached"):
        vault.read(PLACE)


def test_a_token_of_a_login_is_not_told_either_where_the_vault_repeats_it(server: VaultServer) -> None:
    here = of({"VAULT_ADDR": server.url, "VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": SECRET_ID})
    here.read(PLACE)
    (token,) = (token for token in server.tokens if token.startswith("hvs.login-"))
    server.raw = (400, b'{"errors": ["echo %s"]}' % token.encode())
    with pytest.raises(SourceUnfit) as raised:
        here.check(PLACE)
    assert "echo" in raised.value.message
    assert token not in raised.value.message


def test_a_standby_sends_to_the_active_one(server: VaultServer) -> None:
    with vault_server() as standby:
        standby.redirect_to = server.url
        assert by_token(standby).read(PLACE) == Secret(VALUE)
        standby.redirect_to = standby.url
        with pytest.raises(SourceDown, match="without end"):
            by_token(standby).read(PLACE)
        standby.redirect_to = "ftp://127.0.0.1"
        with pytest.raises(SecretForbidden, match="a token must not go to"):
            by_token(standby).read(PLACE)


def test_a_role_logs_in_once_and_again_when_its_token_is_gone(server: VaultServer) -> None:
    vault = by_role(server)
    assert vault.read(PLACE) == Secret(VALUE)
    assert vault.read(PLACE) == Secret(VALUE)
    assert server.logins == 1
    assert "x-vault-token" not in server.headers[0]
    del server.tokens["hvs.login-1"]  # revoked
    assert vault.read(PLACE) == Secret(VALUE)
    assert server.logins == 2


def test_a_token_whose_time_is_over_is_not_shown_any_more(server: VaultServer) -> None:
    clock = Clock()
    vault = by_role(server, clock=clock)
    vault.read(PLACE)
    clock.now += 4000
    vault.read(PLACE)
    assert server.logins == 2
    assert [headers.get("x-vault-token") for headers in server.headers] == [
        None,
        "hvs.login-1",
        None,
        "hvs.login-2",
    ]


def test_a_login_that_is_refused_shows_nothing_of_it(server: VaultServer) -> None:
    with pytest.raises(SecretForbidden, match="refuses the AppRole login: invalid role or secret ID") as raised:
        by_role(server, "wrong-and-secret").read(PLACE)
    assert "wrong-and-secret" not in raised.value.message


def test_without_a_token_and_a_role_it_is_told_what_to_set(server: VaultServer) -> None:
    with pytest.raises(SourceUnfit, match="set VAULT_TOKEN, or VAULT_ROLE_ID"):
        Vault(VaultSettings(address=server.url)).read(PLACE)


def test_a_role_renews_its_token_and_logs_in_anew_near_its_longest_time(server: VaultServer) -> None:
    clock = Clock()
    vault = by_role(server, clock=clock)
    assert vault.due() is None  # nothing was read yet
    vault.read(PLACE)
    assert vault.due() == clock.now + 2400
    clock.now += 2400
    vault.renew()
    assert server.asked[-1] == "POST /v1/auth/token/renew-self"
    assert vault.due() == clock.now + 2400
    assert server.logins == 1
    server.renewed_lease = 60
    clock.now += 2400
    vault.renew()
    assert server.logins == 2
    assert vault.due() == clock.now + 2400


def test_a_token_that_was_given_is_looked_up_and_renewed_while_it_can_be(server: VaultServer) -> None:
    clock = Clock()
    server.tokens["hvs.given"] = Token(300, renewable=True)
    vault = by_token(server, "hvs.given", clock=clock)
    vault.read(PLACE)
    assert vault.due() == clock.now  # nobody knows yet how long it lasts
    vault.renew()
    assert vault.due() == clock.now + 200
    vault.renew()
    assert server.asked[-2:] == ["GET /v1/auth/token/lookup-self", "POST /v1/auth/token/renew-self"]
    del server.tokens["hvs.given"]
    with pytest.raises(SecretForbidden):
        vault.renew()


def test_a_token_that_was_given_and_nears_its_longest_time_is_told_once(server: VaultServer) -> None:
    clock = Clock()
    server.tokens["hvs.given"] = Token(300, renewable=True)
    vault = by_token(server, "hvs.given", clock=clock)
    vault.read(PLACE)
    vault.renew()
    server.renewed_lease = 40
    with pytest.raises(SecretForbidden, match="nears its longest time: it ends in 40 s"):
        vault.renew()
    assert vault.due() is None


def test_a_token_that_may_not_look_itself_up_is_told_once(server: VaultServer) -> None:
    vault = by_token(server)
    vault.read(PLACE)
    server.raw = (403, b'{"errors":["permission denied"]}')
    with pytest.raises(SecretForbidden, match="look up its own token"):
        vault.renew()
    assert vault.due() is None


def test_a_token_that_lasts_for_ever_is_not_renewed(server: VaultServer) -> None:
    vault = by_token(server)
    vault.read(PLACE)
    vault.renew()
    assert vault.due() is None


def of(environ: dict[str, str], *, folder: Path | None = None) -> Secrets:
    return Secrets({"HOME": str(folder or "/nowhere"), **environ}, vault_deadline=2.0)


def test_the_environment_says_where_it_is_and_who_asks(server: VaultServer, tmp_path: Path) -> None:
    at = {"VAULT_ADDR": server.url + "/"}
    assert of(at | {"VAULT_TOKEN": ROOT}).read(PLACE) == Secret(VALUE)
    assert of(at | {"VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": SECRET_ID}).read(PLACE) == Secret(VALUE)
    (tmp_path / "id").write_text(SECRET_ID + "\n")
    by_file = {"VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": f"file:{tmp_path}/id"}
    assert of(at | by_file).read(PLACE) == Secret(VALUE)
    (tmp_path / ".vault-token").write_text(ROOT)
    assert of(at, folder=tmp_path).read(PLACE) == Secret(VALUE)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "VAULT_ADDR is not set"),
        ({"VAULT_ADDR": "vault.example.com"}, "VAULT_ADDR should be a URL"),
        ({"VAULT_ADDR": "https://me:hush@vault.example.com"}, "VAULT_ADDR should be a URL without user"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "vault:a#b"}, "in the Vault that it is to open"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "file:/nope"}, "can't be read"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "hüsh"}, "VAULT_TOKEN holds what none does"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "hush\nhush"}, "VAULT_TOKEN holds what none does"),
        ({"VAULT_ADDR": "https://x", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "hush\udcff"}, "VAULT_SECRET_ID holds"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "t", "VAULT_NAMESPACE": "tèam"}, "VAULT_NAMESPACE holds"),
        ({"VAULT_ADDR": "https://x", "VAULT_TOKEN": "t", "VAULT_CACERT": "/nope"}, "VAULT_CACERT: /nope can't be read"),
    ],
)
def test_an_environment_of_no_use_is_told(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SecretError) as raised:
        of(environ).read(PLACE)
    assert raised.value.message.startswith("vault:huggingface/api_key#token, which can't be read: ")
    assert told in raised.value.message
    assert "hush" not in raised.value.message


def test_one_reading_asks_for_each_place_once_and_gives_a_vault_that_is_down_one_chance(server: VaultServer) -> None:
    secrets = of({"VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT})
    secrets.begin()
    secrets.read(PLACE)
    secrets.read(PLACE)
    assert len(server.asked) == 1
    server.sealed = True
    secrets.begin()
    for name in ("one", "two", "three"):
        with pytest.raises(SourceLocked, match=f"^vault:{name}, which can't be read: .* is sealed"):
            secrets.read(VaultPlace(name))
    assert len(server.asked) == 2


def test_what_was_read_before_counts_while_the_vault_is_down_and_the_new_one_afterwards(server: VaultServer) -> None:
    secrets = of({"VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT})
    secrets.read(PLACE)
    server.sealed = True
    secrets.begin()
    assert secrets.read(PLACE) == Secret(VALUE)
    assert "is sealed" in secrets.stale[str(PLACE)]
    server.sealed = False
    server.put("secret/huggingface/api_key", token="hf_new")
    assert secrets.current(PLACE) == Secret(VALUE)
    secrets.begin()
    assert secrets.read(PLACE) == Secret("hf_new")
    assert secrets.current(PLACE) == Secret("hf_new")
    assert not secrets.stale


def test_what_was_taken_out_of_the_vault_does_not_count_any_more(server: VaultServer) -> None:
    secrets = of({"VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT})
    secrets.read(PLACE)
    server.secrets["secret/huggingface/api_key"].append("deleted")
    secrets.begin()
    with pytest.raises(SecretMissing, match="deleted"):
        secrets.read(PLACE)


def test_another_token_counts_from_the_next_reading_on(server: VaultServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hvs.first")
    server.tokens["hvs.first"] = Token()
    secrets = of({"VAULT_ADDR": server.url, "VAULT_TOKEN": f"file:{tmp_path}/token"})
    secrets.read(PLACE)
    del server.tokens["hvs.first"]
    (tmp_path / "token").write_text(ROOT)
    secrets.begin()
    assert secrets.read(PLACE) == Secret(VALUE)


async def test_a_loop_may_read_too(server: VaultServer) -> None:
    assert by_token(server).read(PLACE) == Secret(VALUE)


def test_many_threads_log_in_once(server: VaultServer) -> None:
    vault = by_role(server)
    threads = [threading.Thread(target=vault.read, args=(PLACE,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert server.logins == 1


async def test_the_keeper_renews_early_by_chance_and_tries_again_after_growing_pauses(server: VaultServer) -> None:
    server.role_lease = 30  # due in 20 s, which is soon enough to wait for
    secrets = of({"VAULT_ADDR": server.url, "VAULT_ROLE_ID": ROLE, "VAULT_SECRET_ID": SECRET_ID})
    waits: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            await asyncio.to_thread(secrets.read, PLACE)
        server.sealed = len(waits) in (2, 3, 4)  # three renewals fail
        if len(waits) == 6:
            enough.set()
            await asyncio.Event().wait()

    keeper = asyncio.create_task(keep_renewed(secrets, sleep=sleep, chance=lambda: 1.0))
    async with asyncio.timeout(10):
        await enough.wait()
    keeper.cancel()
    assert waits[0] == 30.0  # nothing is in use: it looks again later
    assert waits[1] == pytest.approx(18, abs=1)  # two thirds, a tenth early
    assert waits[2:5] == [0.5, 1.0, 2.0]
    assert waits[5] == pytest.approx(18, abs=1)
    assert server.asked.count("POST /v1/auth/token/renew-self") == 4
