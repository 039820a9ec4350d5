"""Where a command acts, and what it says of it."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lamplighter.cli.deployment import read_image, values_of
from lamplighter.cli.options import complete_name
from lamplighter.cli.reach import place
from lamplighter.cli.reach.place import Asked, find_place, is_lamplighter
from lamplighter.errors import InvalidInput, NotAllowed, TokenMissing, TokenWrong
from tests.cli_cloud import TOKEN, ScriptedCloud, endpoint, scripted_cloud
from tests.cli_stage import scripted_server
from tests.cli_world import bounded, clean_environment

ALIVE = {"status": "ok", "version": "1"}


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable, no login, no server on this machine."""
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setattr(place, "DEFAULT_URL", f"http://127.0.0.1:{unused_port()}")
    return monkeypatch


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def server_here(patch: pytest.MonkeyPatch) -> Iterator[str]:
    with scripted_server() as script:
        script.put("/healthz", ALIVE)
        patch.setattr(place, "DEFAULT_URL", script.url)
        yield script.url


def test_what_is_named_wins_over_everything(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("LAMPLIGHTER_URL", "http://elsewhere:1")
    clean.setenv("HF_TOKEN", TOKEN)
    assert find_place(Asked(server="here:2")).url == "http://here:2"
    assert find_place(Asked(cloud=True)).url is None
    assert find_place(Asked()).url == "http://elsewhere:1"


def test_then_a_server_on_this_machine_then_the_token(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("HF_TOKEN", TOKEN)
    assert find_place(Asked()).is_cloud
    with server_here(clean) as url:
        assert find_place(Asked()).url == url


def test_with_nothing_at_all_one_line_says_all_ways(clean: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokenMissing) as told:
        find_place(Asked())
    for way in ("HF_TOKEN", "hf auth login", "--token-file", "lamplighter serve", "LAMPLIGHTER_URL", "--server"):
        assert way in told.value.message
    assert "\n" not in told.value.message
    assert told.value.exit_code == 4


def test_something_else_on_the_port_is_no_lamplighter(clean: pytest.MonkeyPatch) -> None:
    with scripted_server() as script:
        for answer in ("<html>", "[]", '{"status": "ok"}', '{"version": "1"}'):
            script.put("/healthz", answer)
            assert not is_lamplighter(script.url)
        script.put("/healthz", ALIVE)
        assert is_lamplighter(script.url)


def test_the_token_stands_in_no_picture_of_a_place(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    found = find_place(Asked(token_file=tmp_path / "token"))
    assert found.is_cloud
    assert found.key == TOKEN
    assert TOKEN not in repr(found) + found.title


@pytest.mark.parametrize(
    "asked",
    [
        Asked(server="http://x", cloud=True),
        Asked(server="http://x", token_file=Path("t")),
        Asked(cloud=True, key_file=Path("k")),
    ],
)
def test_options_that_contradict_each_other_are_refused(asked: Asked) -> None:
    with pytest.raises(InvalidInput, match="choose"):
        find_place(asked)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_token_file_of_no_use_exits_4(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NotAllowed, match="token file"):
        find_place(Asked(token_file=file))


def test_a_text_that_is_no_token_is_told_before_it_is_sent(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("HF_TOKEN", "my token")
    with pytest.raises(TokenWrong, match="HF_TOKEN"):
        find_place(Asked())


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        one.have({"me": [endpoint("chat"), endpoint("embed", "paused")]})
        yield one


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": "Invalid username or password."}, ["token"]),
        (401, {"error": "Token expired"}, ["expired"]),
        (403, {"error": "Forbidden: missing permissions: inference.endpoints.write", "code": "FORBIDDEN"}, ["write"]),
    ],
)
def test_wrong_expired_and_weak_tokens_are_told_apart(
    status: int, body: dict[str, str], words: list[str], cloud: ScriptedCloud
) -> None:
    cloud.script.put("/v2/endpoint/me/chat/pause", body, status=status)
    said = cloud("pause", "chat", "--cloud")
    assert said.code == 4
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert TOKEN not in said.out + said.err


def test_a_namespace_without_rights_exits_4(cloud: ScriptedCloud) -> None:
    cloud.script.put("/v2/endpoint/org", {"error": "Forbidden: no access", "code": "FORBIDDEN"}, status=403)
    assert cloud("list", "--cloud", "-n", "org").code == 4


def test_an_endpoint_that_vanished_meanwhile_exits_3(cloud: ScriptedCloud) -> None:
    cloud.script.put("/v2/endpoint/me/chat/pause", {"error": "Not Found", "code": "NOT_FOUND"}, status=404)
    said = cloud("pause", "chat", "--cloud")
    assert said.code == 3
    assert "chat" in said.err


def test_names_of_all_namespaces_are_shown_with_theirs(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")], "org": [endpoint("shared")]})
    said = cloud("list", "--cloud", "-n", "*")
    assert said.out.splitlines()[0].startswith("namespace")
    assert "org" in said.out


def test_a_state_that_nobody_knows_is_passed_through(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat", "hibernating")]})
    assert "hibernating" in cloud("list", "--cloud").out
    assert "Not known: its provider says 'hibernating'" in cloud("describe", "chat", "--cloud").out


def test_names_are_completed_at_the_cloud_too(cloud: ScriptedCloud) -> None:
    ctx = click.Context(click.Command("stop"))
    ctx.params["cloud"] = True
    found = complete_name(ctx, click.Argument(["name"]), "e")
    assert [(item.value, item.help) for item in found] == [("embed", "paused")]


def test_completion_says_nothing_where_there_is_nothing_to_say(clean: pytest.MonkeyPatch) -> None:
    assert complete_name(click.Context(click.Command("stop")), click.Argument(["name"]), "") == []


@pytest.mark.parametrize("verb", ["list", "status"])
def test_watching_prints_a_line_per_change_until_ctrl_c(verb: str, cloud: ScriptedCloud) -> None:
    cloud.script.put("/v2/endpoint/me", {"items": [endpoint("chat")]}, {"items": [endpoint("chat", "paused")]})
    watching = subprocess.Popen(
        [sys.executable, "-m", "lamplighter", verb, "--cloud", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with bounded(watching) as process:
        assert process.stdout
        assert "chat  running  1/1 ready" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (130, "")


@pytest.mark.parametrize(
    ("text", "port", "route", "image"),
    [
        ("tei", None, None, {"tei": {}}),
        ("vllm=vllm/vllm-openai:v1", None, None, {"vLLM": {"url": "vllm/vllm-openai:v1"}}),
        ("ghcr.io/me/it:1", 8000, "/ok", {"url": "ghcr.io/me/it:1", "port": 8000, "healthRoute": "/ok"}),
        ('{"custom": {"url": "x/y"}}', None, None, {"custom": {"url": "x/y"}}),
        (None, None, None, None),
    ],
)
def test_images_are_given_in_several_ways(
    text: str | None, port: int | None, route: str | None, image: dict[str, object] | None
) -> None:
    assert read_image(text, port, route) == image


@pytest.mark.parametrize(
    ("text", "port", "said"),
    [
        ("{oops", None, "no JSON"),
        ('{"tei": {}}', 80, "leave the options out"),
        ("", None, "neither a variant"),
        ("word", None, "neither a variant"),
        (None, 80, "give --image"),
    ],
)
def test_what_is_no_image_is_told(text: str | None, port: int | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_image(text, port)


def test_secrets_come_from_the_environment_or_a_file_and_from_no_argument(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secrets"
    file.write_text("# mine\n\nA=one=1\nB=two\n")
    clean.setenv("C", "three")
    assert values_of({"secret": ("C",), "secrets_file": file})["secrets"] == {"A": "one=1", "B": "two", "C": "three"}
    file.write_text("A=1\nhunter2\n")
    with pytest.raises(InvalidInput, match="secrets:2: a line should be NAME=VALUE") as told:
        values_of({"secrets_file": file})
    assert "hunter2" not in told.value.message
