"""`lamplighter run`: sessions around a command, in every way out; `up` and `down`."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamplighter.cli.run.child import NoSuchCommand, find_command
from lamplighter.cli.run.command import environment, variables
from lamplighter.hf.records import Endpoint
from lamplighter.providers.memory import Fault
from tests.cli_cloud import endpoint, scripted_cloud
from tests.cli_world import VARIABLES, World, bounded, clean_environment, world


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as one:
        yield one


@pytest.fixture
def lamplighter(
    served: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> World:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("LAMPLIGHTER_URL", served.url)
    served.capsys = capsys
    served.only("chat", "my-embed")
    return served


def started(lamplighter: World, *argv: str, **more: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environ = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environ |= {"LAMPLIGHTER_URL": lamplighter.url}
    environ |= {key: os.environ[key] for key in ("LAMPLIGHTER_SESSIONS",) if key in os.environ}
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-m", "lamplighter", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,  # no terminal: what is sent to it is for it alone
        **more,  # type: ignore[call-overload]
    )
    return process


def states(lamplighter: World, *names: str) -> list[str]:
    return [lamplighter.state(name) for name in names]


def test_the_command_finds_the_urls_and_its_exit_code_is_returned(lamplighter: World, tmp_path: Path) -> None:
    script = 'import os, sys; open("seen", "w").write("\\n".join(f"{k}={os.environ.get(k)}" for k in sys.argv[1:])); sys.exit(7)'
    names = ("HF_ENDPOINT_URL", "OPENAI_BASE_URL", "CHAT_URL", "MY_EMBED_URL")
    said = lamplighter("run", "my-embed", "chat", "--", sys.executable, "-c", script, *names)
    assert said.code == 7, said.err
    base = f"{lamplighter.url}/endpoints"
    assert (tmp_path / "seen").read_text().splitlines() == [
        f"HF_ENDPOINT_URL={base}/my-embed",
        f"OPENAI_BASE_URL={base}/my-embed/v1",
        f"CHAT_URL={base}/chat",
        f"MY_EMBED_URL={base}/my-embed",
    ]
    assert states(lamplighter, "chat", "my-embed") == ["paused", "paused"]


def test_endpoints_can_be_left_running(lamplighter: World) -> None:
    assert lamplighter("run", "chat", "--no-pause", "--", "true").code == 0
    assert lamplighter.state("chat") == "running"


def test_a_command_that_is_not_there_exits_127_and_wakes_nothing(lamplighter: World, tmp_path: Path) -> None:
    before = lamplighter.simulated.counts("chat")
    said = lamplighter("run", "chat", "--", "no-such-command-anywhere")
    assert said.code == 127
    assert "command not found" in said.err
    (tmp_path / "plain").write_text("not a program")
    assert lamplighter("run", "chat", "--", "./plain").code == 126
    assert lamplighter.simulated.counts("chat") == before


@pytest.mark.parametrize("argv", [["run", "chat"], ["run", "chat", "--"], ["run", "--", "true"]])
def test_a_run_without_a_name_or_a_command_is_wrong_usage(argv: list[str], lamplighter: World) -> None:
    assert lamplighter(*argv).code == 2


def test_options_behind_the_dashes_are_the_commands_own(lamplighter: World) -> None:
    assert lamplighter("run", "chat", "--", "sh", "-c", "exit 3", "--", "--timeout", "x").code == 3


def test_when_one_can_not_start_nothing_runs_and_the_others_are_paused(lamplighter: World, tmp_path: Path) -> None:
    lamplighter.do(lambda: lamplighter.simulated.script("my-embed", "wake", Fault.BREAK, Fault.BREAK, Fault.BREAK))
    said = lamplighter("run", "chat", "my-embed", "--", "touch", str(tmp_path / "ran"))
    assert said.code == 1, said.err
    assert "my-embed" in said.err
    assert not (tmp_path / "ran").exists()
    assert lamplighter.state("chat") == "paused"


def test_an_unknown_endpoint_exits_3(lamplighter: World) -> None:
    assert lamplighter("run", "nobody", "--", "true").code == 3


def test_a_command_that_a_signal_ends_counts_128_more(lamplighter: World) -> None:
    assert lamplighter("run", "chat", "--", "sh", "-c", "kill -9 $$").code == 137
    assert lamplighter.state("chat") == "paused"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_the_endpoint_is_paused(number: signal.Signals, lamplighter: World) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    with bounded(started(lamplighter, "run", "chat", "--quiet", "--", "sh", "-c", script)) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == ("caught\n", 9), err
    assert lamplighter.state("chat") == "paused"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_pauses_what_was_begun(
    number: signal.Signals, lamplighter: World, tmp_path: Path
) -> None:
    lamplighter.simulated.start_delay = 60.0
    with bounded(started(lamplighter, "run", "chat", "--", "touch", str(tmp_path / "ran"))) as process:
        lamplighter.reach("chat", "pending", "initializing")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "pausing what was begun" in err
    lamplighter.reach("chat", "paused")
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_at_a_terminal_reaches_the_command_once(lamplighter: World) -> None:
    script = "n=0; trap 'n=$((n+1)); echo got $n' INT; echo ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; exit 5"
    environ = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    child, terminal = pty.fork()
    if child == 0:
        argv = [sys.executable, "-m", "lamplighter", "run", "chat", "-q", "--", "sh", "-c", script]
        os.execve(sys.executable, argv, environ | {"LAMPLIGHTER_URL": lamplighter.url})
    heard = b""
    pressed = False
    while select.select([terminal], [], [], 20)[0]:
        try:
            heard += os.read(terminal, 1000)
        except OSError:  # the end of a terminal
            break
        if b"ready" in heard and not pressed:
            pressed = True
            os.write(terminal, b"\x03")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 5, heard
    assert heard.count(b"got") == 1, heard
    assert lamplighter.state("chat") == "paused"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_says_that_it_goes_on_and_how_to_stop_it(
    number: signal.Signals, lamplighter: World
) -> None:
    lamplighter.simulated.start_delay = 60.0
    with bounded(started(lamplighter, "start", "chat")) as process:
        lamplighter.reach("chat", "pending", "initializing")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "goes on starting" in err
    assert "billed" in err
    assert f"lamplighter stop chat --server {lamplighter.url}" in err
    assert lamplighter.state("chat") in {"pending", "initializing"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_keep_nothing_from_being_done(closed: str, lamplighter: World, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"""
        "$0" -m lamplighter list {closed} || exit 1
        "$0" -m lamplighter start chat {closed} || exit 2
        "$0" -m lamplighter run chat {closed} -- sh -c 'echo said; echo cried >&2; echo ran > "{told}"' || exit 3
    """
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env=os.environ | {"LAMPLIGHTER_URL": lamplighter.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "fault" not in done.stderr
    assert told.read_text() == "ran\n"
    assert lamplighter.state("chat") == "paused"


def test_ctrl_c_during_up_says_how_to_stop_what_has_begun(lamplighter: World) -> None:
    lamplighter.make("tagged", tags=["evening"])
    lamplighter.simulated.start_delay = 60.0
    with bounded(started(lamplighter, "up", "evening")) as process:
        lamplighter.reach("tagged", "pending", "initializing")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"lamplighter down evening --server {lamplighter.url}" in err


def test_a_run_that_is_killed_leaves_nothing_running(lamplighter: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", "watchdog")  # as at Hugging Face, where no server ends sessions
    with bounded(started(lamplighter, "run", "chat", "-q", "--", "sh", "-c", "echo ready; sleep 1")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert lamplighter.state("chat") == "running"
        process.kill()
        process.wait(20)
        lamplighter.reach("chat", "paused")


def test_ctrl_c_while_delete_asks_deletes_nothing(lamplighter: World) -> None:
    with bounded(started(lamplighter, "delete", "chat", stdin=subprocess.PIPE)) as process:
        assert process.stderr
        said = ""
        while "Type DELETE" not in said:
            said += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert lamplighter.state("chat") == "paused"


def test_names_become_variables() -> None:
    assert variables("my-model.v2") == ("MY_MODEL_V2_URL",)
    assert variables("120b") == ("120B_URL", "_120B_URL")  # a shell can read the second one
    one, two = (Endpoint.of(endpoint(name, url=f"https://{name}.example/"), "me") for name in ("a", "b"))
    found = environment([one, two], {"PATH": "/bin", "HF_TOKEN": "kept"})
    assert found == {
        "PATH": "/bin",
        "HF_TOKEN": "kept",
        "A_URL": "https://a.example",
        "B_URL": "https://b.example",
        "HF_ENDPOINT_URL": "https://a.example",
        "OPENAI_BASE_URL": "https://a.example/v1",
    }


def test_a_command_is_found_as_a_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(NoSuchCommand, match="not found"):
        find_command("program")
    program.chmod(0o755)
    assert find_command("program") == str(program)


GROUPS = """
groups: {daytime: [chat, my-embed]}
endpoints:
  chat: {engine: command, command: "x {port}"}
  my-embed: {engine: command, command: "x {port}"}
"""


def test_a_group_of_the_configuration_goes_up_and_down(lamplighter: World, tmp_path: Path) -> None:
    (tmp_path / "lamplighter.yaml").write_text(GROUPS)
    said = lamplighter("up", "daytime")
    assert said.code == 0, said.err
    assert "2 of 2 done" in said.err
    assert states(lamplighter, "chat", "my-embed") == ["running", "running"]
    assert lamplighter("down", "daytime").code == 0
    assert states(lamplighter, "chat", "my-embed") == ["paused", "paused"]


def test_members_of_one_name_in_several_namespaces_are_all_in_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = "{provider: huggingface, remote: %s/x1}"
    text = f"groups: {{day: [a, b]}}\nendpoints:\n  a: {remote % 'acme'}\n  b: {remote % 'org2'}\n"
    with scripted_cloud(tmp_path, monkeypatch, capsys) as cloud:
        (tmp_path / "lamplighter.yaml").write_text(text)
        cloud.have({"me": [], "acme": [endpoint("x1")], "org2": [endpoint("x1")]})
        said = cloud("down", "day", "--cloud")
        assert said.code == 0, said.err
        assert "2 of 2 done" in said.err
        assert sorted(cloud.asked("pause")) == [f"POST /v2/endpoint/{name}/x1/pause" for name in ("acme", "org2")]


def test_a_tag_is_a_group(lamplighter: World) -> None:
    lamplighter.make("tagged", tags=["evening"])
    assert lamplighter("up", "evening", "-q").out == "tagged\n"
    assert states(lamplighter, "tagged", "chat") == ["running", "paused"]
    said = lamplighter("down", "evening", "--json")
    assert [(one["name"], one["error"]) for one in said.json] == [("tagged", None)]


def test_one_that_fails_does_not_stop_the_others(lamplighter: World, tmp_path: Path) -> None:
    (tmp_path / "lamplighter.yaml").write_text(GROUPS.replace("[chat, my-embed]", "[my-embed, chat]"))
    lamplighter.wire("DELETE", "/v2/endpoint/lamplighter/my-embed")
    said = lamplighter("up", "daytime")
    assert said.code == 3
    assert "error: my-embed: " in said.err
    assert "1 of 2 done" in said.err
    assert lamplighter.state("chat") == "running"


def test_an_unknown_group_names_those_there_are(lamplighter: World, tmp_path: Path) -> None:
    assert lamplighter("up", "weekend").code == 3
    (tmp_path / "lamplighter.yaml").write_text(GROUPS)
    said = lamplighter("down", "weekend")
    assert said.code == 3
    assert "the groups there are: daytime" in said.err
