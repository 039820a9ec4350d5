"""The commands against a server that runs, with a real engine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import CHAT, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("cli"), f"endpoints:\n{CHAT}") as one:
        yield one


def command(server: LamplighterProcess, *argv: str) -> list[str]:
    return [sys.executable, "-m", "lamplighter", argv[0], "--server", server.url, *argv[1:]]


def run(server: LamplighterProcess, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(server, *argv), capture_output=True, text=True, timeout=90, check=False)


def test_wake_status_logs_and_sleep(server: LamplighterProcess) -> None:
    woken = run(server, "wake", "smollm2")
    assert woken.returncode == 0, woken.stderr
    assert woken.stdout.startswith("chat is running")
    assert json.loads(run(server, "status", "chat", "--json").stdout)["endpoint"]["status"] == "running"
    assert "Ready" in run(server, "status", "chat").stdout
    assert "ready on http://" in run(server, "logs", "chat").stdout
    asleep = run(server, "sleep", "chat")
    assert asleep.returncode == 0, asleep.stderr
    assert asleep.stdout.startswith("chat is sleeping")
    assert server.engines() == []


def test_an_unknown_endpoint_exits_3_with_the_known_names(server: LamplighterProcess) -> None:
    done = run(server, "wake", "chta")
    assert done.returncode == 3
    assert "Did you mean 'chat'?" in done.stderr
    assert done.stdout == ""


def test_a_wake_that_may_take_no_time_exits_5_and_goes_on(server: LamplighterProcess) -> None:
    run(server, "sleep", "chat")
    done = run(server, "wake", "chat", "--timeout", "0")
    assert done.returncode == 5
    assert "What was begun goes on" in done.stderr
    assert run(server, "wake", "chat").returncode == 0


def test_watch_prints_changes_until_it_is_interrupted(server: LamplighterProcess) -> None:
    run(server, "sleep", "chat")
    watching = subprocess.Popen(
        command(server, "status", "--watch"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with watching:
        assert watching.stdout is not None
        assert "chat  sleeping" in watching.stdout.readline()
        run(server, "wake", "chat", "--no-wait")
        assert "chat  " in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        rest, said = watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert said.strip() == ""
    assert "Traceback" not in rest


def test_a_log_is_followed_until_it_is_interrupted(server: LamplighterProcess) -> None:
    assert run(server, "wake", "chat").returncode == 0
    following = subprocess.Popen(
        command(server, "logs", "chat", "-f"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with following:
        assert following.stdout is not None
        assert "ready on http://" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=20)
    assert following.returncode == 130
    assert said.strip() == ""


def test_serve_announces_where_it_listens_and_what_to_try(server: LamplighterProcess) -> None:
    said = "".join(server.lines)
    assert f"Lamplighter listens on {server.url}" in said
    assert "sleeping  chat" in said
    assert f"curl {server.url}/v1/chat/completions" in said
    assert "Ctrl-C stops it" in said


def test_serve_tells_systemd_that_it_is_ready(tmp_path: Path) -> None:
    address = f"@lamplighter-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(30)
        process = LamplighterProcess(tmp_path, "", environ={"NOTIFY_SOCKET": address})
        try:
            process.launch()
            assert listener.recv(100) == b"READY=1"
        finally:
            process.close()


def test_a_second_server_on_the_same_records_is_told_who_holds_them(server: LamplighterProcess) -> None:
    config = ["--config", str(server.config), "--port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "lamplighter", "serve", *config], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"Another Lamplighter (process {server.process.pid})" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_with_keys_wants_one(tmp_path: Path) -> None:
    with lamplighter(tmp_path, f"endpoints:\n{CHAT}", environ={"LAMPLIGHTER_KEYS": "right"}) as server:
        environ = {**os.environ, "LAMPLIGHTER_KEY": ""}
        for key, code in (("", 4), ("wrong", 4), ("right", 0)):
            environ["LAMPLIGHTER_KEY"] = key
            done = subprocess.run(
                command(server, "status", "-q"), capture_output=True, text=True, timeout=60, env=environ, check=False
            )
            assert done.returncode == code
            assert key == "" or key not in done.stderr
        assert "$LAMPLIGHTER_KEY" in "".join(server.lines)


ASK = """
import json, os, urllib.request
body = {"model": "chat", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
)
print(json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["role"])
"""


def test_a_command_runs_with_a_real_model_that_is_paused_afterwards(server: LamplighterProcess) -> None:
    done = run(server, "run", "chat", "--", sys.executable, "-c", ASK)
    assert (done.stdout, done.returncode) == ("assistant\n", 0), done.stderr
    assert json.loads(run(server, "describe", "chat", "--json").stdout)["status"]["state"] == "paused"
    eventually(lambda: server.engines() == [], "the engine has ended")
    started = run(server, "start", "chat")
    assert started.returncode == 0, started.stderr
    assert f"export HF_ENDPOINT_URL={server.url}/endpoints/chat" in started.stdout
    assert run(server, "stop", "chat").returncode == 0
    eventually(lambda: server.engines() == [], "the engine has ended")
