"""Secrets that the configuration and the environment name by their place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from lamplighter.config import ConfigErrors, Settings, diff, named_places, parse
from lamplighter.config.values import digest
from lamplighter.control.keyring import Keyring
from lamplighter.domain.secret import Secret
from lamplighter.errors import ConfigError, NotAllowed, TokenMissing, TokenWrong
from lamplighter.hf.token import find_cloud_token, look_for_cloud_token, look_in_environment
from lamplighter.providers.huggingface.options import Options
from lamplighter.secrets.passphrase import Passphrase
from lamplighter.secrets.places import EnvironmentPlace, FilePlace, StorePlace
from lamplighter.secrets.problems import SecretMissing
from lamplighter.secrets.sources import Secrets
from lamplighter.secrets.store import SecretStore
from tests.vault_server import ROOT, VaultServer, vault_server

PASSPHRASE = "open-sesame-of-the-test"
WHOLE = """
server: {keys: ["secret:admin"]}
alarms: {webhook: "vault:hooks#url"}
providers:
  huggingface: {options: {token: "vault:"}}
upstreams:
  rented:
    base_url: https://api.example.com/v1
    key: file:upstream.key
    headers: {X-Api-Key: "secret:header", X-More: "a ${secret:header} b"}
endpoints:
  mine:
    command: run
    env: {TOKEN: "${vault:engine#token}", PLAIN: "${PLAIN}"}
    headers: {Authorization: "Bearer ${secret:engine}"}
  far:
    provider: huggingface
    remote: me/far
    create: if-missing
    deployment:
      repository: gpt2
      vendor: aws
      region: us-east-1
      accelerator: cpu
      instance_type: intel-icl
      instance_size: x1
      secrets: {TOKEN: "${secret:engine}"}
"""


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with vault_server() as one:
        one.put("secret/huggingface/api_key", token="hf_vaulted")
        one.put("secret/hooks", url="https://hooks.example.com/hush")
        one.put("secret/engine", token="engine-token")
        yield one


@pytest.fixture
def environ(vault: VaultServer, tmp_path: Path) -> dict[str, str]:
    given = {
        "HOME": str(tmp_path),
        "PLAIN": "plain",
        "VAULT_ADDR": vault.url,
        "VAULT_TOKEN": ROOT,
        "LAMPLIGHTER_PASSPHRASE": PASSPHRASE,
    }
    store = SecretStore(Secrets(given).store.path, passphrase=Passphrase(given), cost=14)
    for name in ("admin", "header", "engine"):
        store.set(name, Secret(f"{name}-stored"))
    (tmp_path / "upstream.key").write_text("upstream-filed\n")
    return given


def read(text: str, environ: dict[str, str], secrets: Secrets | None = None) -> Settings:
    return parse(text, f"{environ['HOME']}/lamplighter.yaml", environ, secrets)


def test_every_place_is_read_by_the_one_way(environ: dict[str, str]) -> None:
    settings = read(WHOLE, environ)
    assert settings.server.keys == {digest("admin-stored")}
    assert settings.alarms.webhook == Secret("https://hooks.example.com/hush")
    upstream = settings.upstreams()["rented"]
    assert dict(upstream.headers) == {
        "Authorization": "Bearer upstream-filed",
        "X-Api-Key": "header-stored",
        "X-More": "a header-stored b",
    }
    specs = settings.specs()
    assert dict(specs["mine"].engine.env) == {"TOKEN": "engine-token", "PLAIN": "plain"}
    assert dict(specs["mine"].engine.headers) == {"Authorization": "Bearer engine-stored"}
    deployment = specs["far"].deployment
    assert deployment is not None
    assert dict(deployment.secrets) == {"TOKEN": "engine-stored"}
    token = Options.of(settings.providers["huggingface"].options).find_token(settings.secrets)
    assert token() == Secret("hf_vaulted")


def test_no_value_is_in_what_settings_show(environ: dict[str, str]) -> None:
    settings = read(WHOLE, environ)
    shown = repr(settings) + str(settings) + repr(settings.specs()) + repr(settings.upstreams())
    for secret in ("stored", "filed", "vaulted", "hush", "engine-token", ROOT, PASSPHRASE):
        assert secret not in shown, secret


def test_what_can_not_be_read_at_the_start_is_an_error_of_its_field(
    vault: VaultServer, environ: dict[str, str]
) -> None:
    vault.sealed = True
    with pytest.raises(ConfigErrors) as raised:
        read(WHOLE, environ | {"LAMPLIGHTER_PASSPHRASE": "wrong-one"})
    told = raised.value.message
    for field, reason in (
        ("server.keys[0]", "names secret:admin, which can't be read: the secrets in"),
        ("alarms.webhook", "names vault:hooks#url, which can't be read: the Vault at http"),
        ("providers.huggingface.options.token", "names vault:huggingface/api_key, which can't be read: the Vault"),
        ("endpoints.mine.env.TOKEN", "names vault:engine#token, which"),
    ):
        assert f"{field}: {reason}" in told
    assert "the passphrase is wrong" in told
    assert "wrong-one" not in told


def test_a_place_that_is_not_well_written_is_an_error_of_its_field(environ: dict[str, str]) -> None:
    for text, told in (
        ("server: {keys: ['vault:a//b']}", "server.keys[0]: should name a path and a field"),
        ("alarms: {webhook: 'keyring:x'}", "alarms.webhook: should name a service"),
        ("providers: {huggingface: {options: {token: 'secret:'}}}", "options.token: what stands behind secret:"),
        ("endpoints: {a: {command: x, env: {T: '${secret:}'}}}", "endpoints.a.env.T: what stands behind secret:"),
        ("endpoints: {a: {command: x, env: {T: 'vault:x#y'}}}", "that is written as ${vault:…}"),
        ("endpoints: {a: {command: x, headers: {T: 'secret:x'}}}", "that is written as ${secret:…}"),
    ):
        with pytest.raises(ConfigError) as raised:
            read(text, environ)
        assert told in raised.value.message


def test_a_reload_takes_new_values_and_the_old_ones_of_a_vault_that_is_down(
    vault: VaultServer, environ: dict[str, str]
) -> None:
    structlog.reset_defaults()
    secrets = Secrets(environ, vault_deadline=2.0)
    first = read(WHOLE, environ, secrets)
    token = Options.of(first.providers["huggingface"].options).find_token(secrets)
    vault.put("secret/engine", token="engine-newer")
    vault.put("secret/huggingface/api_key", token="hf_newer")
    secrets.store.set("admin", Secret("admin-newer"))
    assert token() == Secret("hf_vaulted")
    second = read(WHOLE, environ, secrets)
    changes = diff(first, second)
    assert changes.changed == ("mine",)
    assert changes.access == ("server.keys",)
    assert changes.restart == ()
    assert token() == Secret("hf_newer")

    vault.sealed = True
    with capture_logs() as logs:
        third = read(WHOLE, environ, secrets)
    assert not diff(second, third)
    assert token() == Secret("hf_newer")
    told = [line for line in logs if line["log_level"] == "error"]
    assert {line["place"] for line in told} == {"vault:hooks#url", "vault:engine#token", "vault:huggingface/api_key"}
    assert all("the value from before stays in use" in line["event"] for line in told)
    assert "newer" not in str(told)


def test_what_was_removed_refuses_the_reload_as_a_whole(environ: dict[str, str]) -> None:
    secrets = Secrets(environ)
    read(WHOLE, environ, secrets)
    secrets.store.remove("header")
    with pytest.raises(ConfigErrors, match="holds no 'header'"):
        read(WHOLE, environ, secrets)


def test_a_plain_file_is_never_an_encrypted_one(environ: dict[str, str]) -> None:
    path = Secrets(environ).store.path
    with pytest.raises(ConfigError, match="is an encrypted store: write secret:NAME"):
        read(f"server: {{keys: ['file:{path}']}}", environ)


def test_what_can_not_be_written_or_read_twice_is_no_secret(environ: dict[str, str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it: who waited for that would wait for ever
    here = Secrets({**environ, "TOKEN": "hush\udcff"})
    for place, told in (
        (EnvironmentPlace("TOKEN"), "can't be written as UTF-8"),
        (FilePlace(tmp_path / "pipe"), "no regular file"),
    ):
        with pytest.raises(SecretMissing, match=told) as raised:
            here.read(place)
        assert "hush" not in raised.value.message


@pytest.mark.parametrize(
    ("key", "given", "told"),
    [
        ("headers", {"X-Key": "Bearer ${env:K}"}, "headers.X-Key: has line ends"),
        ("headers", {"X-Key": "${K}"}, "headers.X-Key: has line ends"),
        ("headers", {"X-Key": "euro €"}, "headers.X-Key: has line ends or other characters"),
        ("headers", {"X-Key: a": "b"}, "should be the name of a header"),
        ("headers", {"Host": "b"}, "belongs to each connection"),
        ("env", {"A=B": "c"}, "should be the name of an environment variable"),
        ("env", {"": "c"}, "should be the name of an environment variable"),
        ("env", {"A": "b\0c"}, "env.A: has characters that no environment variable"),
        ("env", {"A": "${ODD}"}, "env.A: has characters that no environment variable"),
    ],
)
def test_what_an_engine_can_not_be_given_is_told_before_it_is_started(
    key: str, given: dict[str, str], told: str
) -> None:
    endpoint = {"command": "run {port}", "health_route": "/h", key: given}
    with pytest.raises(ConfigError) as raised:
        parse(
            json.dumps({"endpoints": {"mine": endpoint}}),
            "x.yaml",
            {"K": "hush\r\nX-Admin: hush", "ODD": "hush\udcff"},
        )
    assert told in str(raised.value)
    assert "hush" not in str(raised.value)


def test_a_key_of_the_server_that_no_header_can_show_is_told() -> None:
    with pytest.raises(ConfigError, match=r"server\.keys\[0\]: names a key with line ends") as raised:
        parse('server: {keys: ["env:K"]}', "x.yaml", {"K": "hush\nhush"})
    assert "hush" not in str(raised.value)


def test_what_is_named_is_listed_and_nothing_is_read(vault: VaultServer, environ: dict[str, str]) -> None:
    path = Path(environ["HOME"]) / "lamplighter.yaml"
    path.write_text(WHOLE)
    found = {key: str(place) for key, place in named_places(path, environ).items()}
    assert found == {
        "server.keys[0]": "secret:admin",
        "alarms.webhook": "vault:hooks#url",
        "providers.huggingface.options.token": "vault:huggingface/api_key",
        "upstreams.rented.key": f"file:{environ['HOME']}/upstream.key",
        "upstreams.rented.headers.X-Api-Key": "secret:header",
        "upstreams.rented.headers.X-More": "secret:header",
        "endpoints.mine.env.TOKEN": "vault:engine#token",
        "endpoints.mine.headers.Authorization": "secret:engine",
        "endpoints.far.deployment.secrets.TOKEN": "secret:engine",
    }
    assert vault.asked == []


def test_variables_that_are_named_as_places_are_not_for_engines(environ: dict[str, str]) -> None:
    text = "endpoints: {a: {command: x, env: {T: '${env:MINE}', U: '${PLAIN}'}}}\nserver: {keys: ['env:KEY']}"
    named = {"MINE": "m", "KEY": "k", "LAMPLIGHTER_TOKEN_SOURCE": "env:THAT", "VAULT_TOKEN": "env:OPENS"}
    assert read(text, environ | named).secret_variables == {"MINE", "KEY", "THAT", "OPENS"}


def test_a_token_source_stands_before_every_other_place(vault: VaultServer, environ: dict[str, str]) -> None:
    named = environ | {"LAMPLIGHTER_TOKEN_SOURCE": "vault:", "HF_TOKEN": "hf_other"}
    found = look_for_cloud_token(named)
    assert found is not None
    assert (found.secret, found.source) == (Secret("hf_vaulted"), "vault:huggingface/api_key")
    assert look_in_environment(named) is None
    vault.sealed = True
    with pytest.raises(TokenMissing, match="LAMPLIGHTER_TOKEN_SOURCE names vault:huggingface/api_key, which can't be"):
        find_cloud_token(named)


@pytest.mark.parametrize("source", ["hf_hush", "secret:", "vault:a//b"])
def test_a_token_source_of_no_use_is_told_unseen(source: str) -> None:
    with pytest.raises(TokenMissing, match="LAMPLIGHTER_TOKEN_SOURCE") as raised:
        find_cloud_token({"LAMPLIGHTER_TOKEN_SOURCE": source, "HF_TOKEN": "hf_other"})
    assert "hush" not in raised.value.message
    assert raised.value.exit_code == 4


def test_what_a_source_holds_has_to_be_a_token() -> None:
    with pytest.raises(TokenWrong, match="env:MINE does not hold a token"):
        find_cloud_token({"LAMPLIGHTER_TOKEN_SOURCE": "env:MINE", "MINE": "two words"})


def test_a_provider_and_a_router_use_the_token_source(vault: VaultServer, environ: dict[str, str]) -> None:
    named = environ | {"LAMPLIGHTER_TOKEN_SOURCE": "vault:"}
    text = "endpoints: {far: {provider: huggingface, remote: me/far}}\nupstreams: {router: {type: huggingface-router}}"
    settings = read(text, named)
    assert settings.upstreams()["router"].headers["Authorization"] == "Bearer hf_vaulted"
    assert len([line for line in vault.asked if "api_key" in line]) == 1
    token = Options.of(settings.providers["huggingface"].options).find_token(settings.secrets)
    assert token() == Secret("hf_vaulted")
    vault.sealed = True
    assert token() == Secret("hf_vaulted")  # asked at each call: nobody waits for a Vault there
    with pytest.raises(ConfigErrors, match=r"providers\.huggingface\.options\.token: .*is sealed"):
        read(text, named)


def test_a_token_source_is_not_needed_where_nothing_is_at_hugging_face(environ: dict[str, str]) -> None:
    read("endpoints: {a: {command: x}}", environ | {"LAMPLIGHTER_TOKEN_SOURCE": "secret:nope"})


def test_a_file_that_is_renewed_counts_at_the_next_call(environ: dict[str, str]) -> None:
    path = Path(environ["HOME"]) / "token"
    path.write_text("hf_one")
    text = f"providers: {{huggingface: {{options: {{token: 'file:{path}'}}}}}}"
    settings = read(text, environ)
    token = Options.of(settings.providers["huggingface"].options).find_token(settings.secrets)
    path.write_text("hf_two")
    assert token() == Secret("hf_two")


def test_an_error_that_is_passing_is_no_reason_without_an_earlier_value(environ: dict[str, str]) -> None:
    secrets = Secrets({name: value for name, value in environ.items() if name != "LAMPLIGHTER_PASSPHRASE"})
    with pytest.raises(Exception, match="LAMPLIGHTER_PASSPHRASE"):
        secrets.read(StorePlace("admin"))


def test_other_configured_keys_count_at_once_and_none_at_all_does_not_open_the_server() -> None:
    keyring = Keyring([digest("old")])
    told: list[bool] = []
    keyring.subscribe(lambda: told.append(True))
    keyring.configure([digest("new")])
    assert told == [True]
    keyring.find(b"new", 0.0)
    with pytest.raises(NotAllowed):
        keyring.find(b"old", 0.0)
    keyring.configure([])
    assert not keyring.is_open
    keyring.find(b"new", 0.0)


def test_that_keys_are_gone_takes_a_restart() -> None:
    environ = {"HOME": "/nowhere"}
    some, none = read("server: {keys: ['sha256:" + "ab" * 32 + "']}", environ), read("", environ)
    assert diff(some, none).restart == ("server.keys",)
    assert diff(none, some).access == ("server.keys",)
