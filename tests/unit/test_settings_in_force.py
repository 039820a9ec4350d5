"""What of a configuration is told to be in force: every key with who said so, and no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, BeforeValidator

from lamplighter.cli.main import main
from lamplighter.config import in_force, in_force_since, parse, values
from lamplighter.config.file import File
from lamplighter.config.in_force import InForce, size_text, span_text
from lamplighter.config.quantities import parse_duration, parse_size
from lamplighter.config.withheld import shown_words
from tests.wire_stage import configured, wire_stage

SOURCE = "/etc/lamplighter/lamplighter.yaml"
CONFIGURATION = """\
server:
  port: 9000
  keys: [env:ADMIN, "sha256:badbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadbadb"]
  max_body: 1MiB
alarms: {webhook: env:HOOK, urls: [env:MAIL]}
providers:
  cloud:
    type: memory
    options: {start_delay: 1.5, url: "http://127.0.0.1:9/?token=leak-query", faults: {chat: {wake: no_capacity}}}
endpoints:
  chat:
    engine: command
    command: [python, serve.py, --password, leak-word, --pin, 7777777, --port, 80]
    args: "-c TOKEN=leak-assigned --host={host}"
    provider: cloud
    env: {A: "${PLAIN}", B: leak-written, C: "Bearer ${env:TOKEN}", D: "file:///srv/db?password=leak-url", E: 4711, task: leak-task}
    headers: {X-Key: leak-header}
    health_route: "/health?key=leak-route"
    idle_timeout: 20m
upstreams:
  api: {base_url: "https://${HOST_NAME}/v1", key: env:UPSTREAM, headers: {X-A: "${HEADER}", X-B: env:WHOLE}}
routes:
  best: {targets: [chat, {upstream: api, model: m, weight: 2}]}
breaker: false
"""
ENVIRON = {name: f"leak-{name}" for name in ("ADMIN", "PLAIN", "TOKEN", "UPSTREAM", "HOST_NAME", "HEADER", "WHOLE")} | {
    "HOOK": "https://hooks.example/leak-hook",
    "MAIL": "json://mail.example/leak-mail",
    "ENDPOINT_AUTO_SLEEP": "600",
    "LAMPLIGHTER_PORT": "9001",
    "HOME": "/home/user",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, InForce]:
    return {row.key: row for row in in_force(parse(CONFIGURATION, SOURCE, ENVIRON))}


def test_no_secret_is_told(rows: dict[str, InForce]) -> None:
    text = "\n".join(map(str, rows.values()))
    for secret in ("leak", "badbad", "7777777", "4711"):
        assert secret not in text.replace("leak_", ""), secret


def test_secrets_are_told_by_their_places(rows: dict[str, InForce]) -> None:
    told = {key: row.text for key, row in rows.items() if row.is_secret}
    assert told["server.keys"] == "env:ADMIN, 1 digest"
    assert told["alarms.webhook"] == "env:HOOK"
    assert told["alarms.urls[0]"] == "env:MAIL"
    assert told["upstreams.api.key"] == "env:UPSTREAM"
    assert told["upstreams.api.headers.X-A"] == "${HEADER}"
    assert told["endpoints.chat.env.C"] == "… ${env:TOKEN}"
    assert told["endpoints.chat.env.B"] == told["endpoints.chat.env.D"] == "[not shown]"


def test_each_key_says_who_said_so(rows: dict[str, InForce]) -> None:
    def told(key: str) -> tuple[object, ...]:
        row = rows[key]
        return (row.text, row.origin, row.place.source if row.place else None, row.place.line if row.place else None)

    assert told("server.max_body") == ("1MiB", "file", SOURCE, 4)
    assert told("server.port") == ("9001", "environment", "LAMPLIGHTER_PORT", None)
    assert told("defaults.idle_timeout") == ("10m", "environment", "ENDPOINT_AUTO_SLEEP", None)
    assert told("defaults.wake_timeout") == ("5m", "built in", None, None)
    assert told("endpoints.chat.idle_timeout") == ("20m", "file", SOURCE, 19)
    assert told("routes.best.targets[0]") == ("chat", "file", SOURCE, 23)
    assert told("routes.best.targets[1].weight") == ("2", "file", SOURCE, 23)
    assert told("breaker.enabled") == ("false", "file", SOURCE, 24)
    assert told("upstreams.api.base_url")[0] == "https://${HOST_NAME}/v1"


def test_amounts_have_their_unit(rows: dict[str, InForce]) -> None:
    assert (rows["endpoints.chat.idle_timeout"].amount, rows["endpoints.chat.idle_timeout"].unit) == (1200.0, "seconds")
    assert (rows["server.max_body"].amount, rows["server.max_body"].unit) == (1048576.0, "bytes")
    assert rows["alarms.awake_longer_than"].text == "never"
    assert rows["defaults.concurrency"].text == "not set"


@pytest.mark.parametrize("seconds", [0.05, 0, 1, 59, 60, 90, 900, 3600, 5400, 86400, 90061])
def test_durations_are_written_so_that_the_file_could_have_them(seconds: float) -> None:
    assert parse_duration(span_text(seconds)) == seconds


@pytest.mark.parametrize("size", [1, 1000, 1024, 64_000_000, 1 << 30, 256_000_000])
def test_sizes_are_written_so_that_the_file_could_have_them(size: int) -> None:
    assert parse_size(size_text(size)) == size


def test_of_a_command_line_only_what_cannot_be_a_secret_is_shown() -> None:
    assert shown_words(["run", "-p", "a", "b", "--n", "4"], command=True) == "run -p … --n 4"
    assert shown_words(["--api-key", "123456", "--x=secret"], command=False) == "--api-key …"


_MAY_HOLD_SECRETS = {
    getattr(values, name)
    for name in (
        "_secret",
        "_secret_text",
        "_key_digest",
        "_header_value",
        "_header_text",
        "_variable_text",
        "_deployment",
    )
}


def _readers(annotation: Any, metadata: Any = ()) -> set[Any]:
    found = {one.func for one in metadata if isinstance(one, BeforeValidator)}
    for one in (*get_args(annotation), *(getattr(annotation, "__metadata__", ()))):
        found |= {one.func} if isinstance(one, BeforeValidator) else _readers(one)
    return found


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found, left = {model}, [model]
    while left:
        for info in left.pop().model_fields.values():
            stack = [info.annotation]
            while stack:
                one = stack.pop()
                stack.extend(get_args(one))
                if isinstance(one, type) and issubclass(one, BaseModel) and one not in found:
                    found.add(one)
                    left.append(one)
    return found


def test_every_field_that_may_hold_a_secret_is_marked_as_one() -> None:
    marked = []
    for model in _models(File):
        for name, info in model.model_fields.items():
            if _readers(info.annotation, info.metadata) & _MAY_HOLD_SECRETS:
                assert info.repr is False, f"{model.__name__}.{name}"
                marked.append(name)
    assert {"keys", "webhook", "urls", "key", "headers", "env", "deployment"} <= set(marked)


def test_what_waits_for_a_restart_is_told_beside_what_counts() -> None:
    started = parse("server: {port: 9000}\n", SOURCE, {})
    now = parse("server: {port: 9001, drain_timeout: 5s}\nproviders: {extra: {type: memory}}\n", SOURCE, {})
    rows = {row.key: row for row in in_force_since(started, now)}
    assert (rows["server.port"].text, rows["server.port"].next_start) == ("9000", "9001")
    assert (rows["server.drain_timeout"].text, rows["server.drain_timeout"].next_start) == ("5s", None)
    assert (rows["providers.extra.type"].text, rows["providers.extra.type"].next_start) == ("not set", "memory")
    back = {row.key: row for row in in_force_since(now, started)}
    assert back["providers.extra.type"].next_start == "not set"


def test_config_show_prints_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("ENDPOINT_AUTO_SLEEP", "600")
    file = tmp_path / "lamplighter.yaml"
    file.write_text("defaults: {idle_timeout: 20m, sleep: pause}\nalarms: {webhook: file:hook}\n")
    (tmp_path / "hook").write_text("https://hooks.example/leak-file")
    assert main(["config", "show", str(file)]) == 0
    text = capsys.readouterr().out
    assert "server.max_body" in text
    assert main(["config", "show", str(file), "--said", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "leak" not in text + json.dumps(told)
    keys = {one["key"]: one for one in told["settings"]}
    assert {"server.data", "defaults.idle_timeout", "defaults.sleep", "alarms.webhook"} <= set(keys)
    assert "server.max_body" not in keys
    assert (keys["defaults.idle_timeout"]["text"], keys["defaults.idle_timeout"]["variable"]) == (
        "10m",
        "ENDPOINT_AUTO_SLEEP",
    )
    assert (keys["defaults.sleep"]["file"], keys["defaults.sleep"]["line"]) == (str(file), 1)


async def test_the_route_takes_an_admins_key(tmp_path: Path) -> None:
    async with wire_stage(tmp_path, configured(), keys=("open-sesame",)) as stage:
        assert (await stage.http.get("/api/settings")).status_code == 401
        answer = await stage.http.get("/api/settings", headers={"x-api-key": "open-sesame"})
        assert answer.status_code == 404  # that stage has no configuration
