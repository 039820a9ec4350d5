"""`init`, `config` and what `serve` and the demo make of options."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from lamplighter.cli.demo import settings as demo
from lamplighter.cli.main import main
from lamplighter.cli.serve import overridden
from lamplighter.config import load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("LAMPLIGHTER_CONFIG", "LAMPLIGHTER_HOST", "LAMPLIGHTER_PORT", "LAMPLIGHTER_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config-home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_init_writes_a_configuration_that_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert "lamplighter serve" in capsys.readouterr().out
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith("ok: 1 endpoint (lamplighter.yaml)\n  chat")


def test_init_overwrites_only_when_it_is_told_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lamplighter.yaml").write_text("mine")
    assert main(["init"]) == 1
    assert "--force overwrites it" in capsys.readouterr().err
    assert (folder / "lamplighter.yaml").read_text() == "mine"
    assert main(["init", "--force"]) == 0
    assert "endpoints:" in (folder / "lamplighter.yaml").read_text()


def test_init_elsewhere_tells_how_to_use_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "etc").mkdir()
    assert main(["init", "etc"]) == 0
    assert "lamplighter serve --config etc/lamplighter.yaml" in capsys.readouterr().out
    assert main(["init", "no/such/folder.yaml"]) == 1
    assert capsys.readouterr().err == "error: no/such/folder.yaml: No such file or directory\n"


def test_check_tells_file_and_line_and_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.yaml").write_text("endpoints:\n  chat:\n    engin: llamacpp\n")
    assert main(["config", "check", "c.yaml"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "c.yaml:3" in told


def test_check_shows_where_routes_lead(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lamplighter.yaml").write_text(
        "endpoints:\n  a: {command: run}\n  b: {command: run}\n"
        "upstreams:\n  far: {base_url: http://127.0.0.1:9/v1, model: org/m}\n"
        "routes:\n"
        "  best: {targets: [[a, b], {name: far, model: x}], aliases: [top], while_waking: bridge}\n"
        "  a: {targets: [a, b]}\n"
    )
    assert main(["config", "check"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "ok: 2 endpoints, 1 upstream, 2 routes (lamplighter.yaml)"
    assert told[3:] == [
        "  upstream far: http://127.0.0.1:9/v1, as org/m",
        "  route best (also top): a or b, then far as x; bridges a wake",
        "  route a: a, then b",
    ]


def test_check_asks_the_engines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.yaml").write_text(
        "endpoints:\n  a: {engine: llamacp, model: SmolLM2-135M-Instruct}\n  b: {engine: llamacpp, model: smollm3}\n"
    )
    assert main(["config", "check", "c.yaml"]) == 2
    told = capsys.readouterr().err
    assert "endpoints.a.engine: 'llamacp' is not known. Did you mean 'llamacpp'?" in told
    assert "endpoints.b.model" in told


def test_what_only_engines_services_and_folders_know_is_told_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD", "json://127.0.0.1/")
    monkeypatch.setenv("ODD", "slakc://s3cret")
    (folder / "c.yaml").write_text(
        "server:\n"
        "  access_log: nowhere/access.log\n"
        "alarms:\n"
        "  urls:\n"
        "    - env:GOOD\n"
        "    - env:ODD\n"
        "endpoints:\n"
        "  a.b:\n"
        "    model: SmolLM2-135M-Instruct\n"
        "    engine: llamacp\n"
        "  c: {engine: vllm}\n"
    )
    assert main(["config", "check", "c.yaml"]) == 2
    told = capsys.readouterr().err
    for line, key in (
        (2, "server.access_log"),
        (6, "alarms.urls[1]"),
        (10, "endpoints.a.b.engine"),
        (11, "endpoints.c"),
    ):
        assert f"c.yaml:{line}: {key}" in told
    assert "s3cret" not in told


def test_check_looks_for_the_folder_of_the_access_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "logs").mkdir()
    file = folder / "lamplighter.yaml"
    for place, told in (
        ("nowhere/access.log", f"server.access_log: there is no folder {folder.resolve() / 'nowhere'}; make it first"),
        ("logs", f"server.access_log: {folder.resolve() / 'logs'} is a folder; name a file in it"),
    ):
        file.write_text(f"server: {{access_log: {place}}}\nendpoints: {{a: {{command: run}}}}\n")
        assert main(["config", "check"]) == 2
        assert told in capsys.readouterr().err
    for place in ("logs/access.log", "off", "stderr"):
        file.write_text(f"server: {{access_log: {place}}}\nendpoints: {{a: {{command: run}}}}\n")
        assert main(["config", "check"]) == 0


def test_a_missing_configuration_tells_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 2
    assert "lamplighter init" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert "endpoints" in json.loads(capsys.readouterr().out)["properties"]


def test_an_option_of_serve_wins_over_file_and_environment(folder: Path) -> None:
    (folder / "lamplighter.yaml").write_text("server: {port: 1, data: from-file}\nendpoints: {}\n")
    environ = overridden({"LAMPLIGHTER_PORT": "2"}, host=None, port=3, data=Path("here"))
    server = load("lamplighter.yaml", environ).server
    assert server.port == 3
    assert server.data == folder / "here"


def test_an_option_can_not_open_the_server_to_the_network_without_keys(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lamplighter.yaml").write_text("endpoints: {}\n")
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "would let everybody in" in capsys.readouterr().err


def test_the_demo_has_a_folder_of_its_own(folder: Path) -> None:
    (folder / "lamplighter.yaml").write_text("endpoints: {}\n")
    real = load("lamplighter.yaml", {"XDG_STATE_HOME": str(folder / "state")})
    assert demo.demo_settings().server.data == folder / "state/lamplighter/demo"
    assert demo.demo_settings().server.data != real.server.data


def test_the_demo_minds_no_environment_of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPLIGHTER_PORT", "1")
    monkeypatch.setenv("LAMPLIGHTER_KEYS", "secret")
    settings = demo.demo_settings(idle=7.5)
    assert settings.server.port == demo.PORT
    assert not settings.server.keys
    assert {name: spec.policy.idle_timeout for name, spec in settings.specs().items()} == {"chat": 7.5, "embed": 7.5}


def test_the_demo_takes_a_free_port_while_the_usual_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(demo, "PORT", taken.getsockname()[1])
        assert demo.usual_port_or_free() == 0
    assert demo.usual_port_or_free() == demo.PORT


def test_check_needs_no_file_where_the_environment_names_endpoints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_BASE_URL_120B", "https://endpoints.huggingface.co/me/endpoints/gpt")
    assert main(["config", "check"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("ok: 1 endpoint (the environment)\n  120b: me/gpt on hosted at huggingface, sleeps after")
    Path("lamplighter.yaml").write_text("endpoints: {120b: {provider: huggingface, remote: me/other}}")
    assert main(["config", "check"]) == 0
    out, err = capsys.readouterr()
    assert "120b: me/other" in out
    assert err == "warning: HF_BASE_URL_120B does not count: '120b' stands in lamplighter.yaml.\n"
    monkeypatch.setenv("HF_BASE_URL_BAD", "hf_hush")
    assert main(["config", "check"]) == 2
    err = capsys.readouterr().err
    assert "environment variable HF_BASE_URL_BAD" in err
    assert "https://endpoints.huggingface.co/{namespace}/endpoints/{name}" in err
    assert "hush" not in err


def test_serve_without_a_token_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_BASE_URL_120B", "https://endpoints.huggingface.co/me/endpoints/gpt")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGINGFACE_API_KEY", "HF_OIDC_RESOURCE", "LAMPLIGHTER_CLOUD_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["serve", "--port", "0"]) == 4
    err = capsys.readouterr().err.strip().splitlines()
    assert [line for line in err if line.startswith("error")] == [
        "error: No Hugging Face token: set HF_TOKEN, or log in with `hf auth login`."
    ]
