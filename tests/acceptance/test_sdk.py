"""The SDK against a real Lamplighter with real engines: starting, stopping, sessions and every way out of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

import lamplighter as package
from lamplighter import (
    AsyncClient,
    Client,
    EndpointNotFound,
    Forbidden,
    InvalidInput,
    Phase,
    Progress,
    ProviderError,
    SessionWarning,
    Unavailable,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.sdk.folders import session_folder
from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter
from tests.local_engines import SCRIPT

pytestmark = pytest.mark.acceptance

KEY = "test-key-of-the-sdk"
NAMES = ("plain", "other", "gated", "broken", "killed", "watched", "muted", "told", "shared", "kept")


def configuration(folder: Path) -> str:
    script = folder / "engine.py"
    script.write_text(SCRIPT)
    command = f"[{sys.executable}, -I, -S, {script}, --host, '{{host}}', --port, '{{port}}'"
    lines = ["endpoints:"]
    for name in NAMES:
        extra = {"gated": f", --gate, {folder / 'gate'}", "broken": ", --print, no such model, --exit, '3'"}
        lines += [
            f"  {name}:",
            "    engine: command",
            f"    command: {command}{extra.get(name, '')}]",
            "    health_route: /health",
            "    idle_timeout: 10m",
            "    stop_grace: 1s",
        ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sdk")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LamplighterProcess]:
    with lamplighter(folder, configuration(folder), environ={"LAMPLIGHTER_KEYS": KEY}) as one:
        yield one


@pytest.fixture(autouse=True)
def _own_state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("LAMPLIGHTER_KEY", KEY)
    monkeypatch.delenv("LAMPLIGHTER_SESSIONS", raising=False)


@pytest.fixture
def client(server: LamplighterProcess) -> Iterator[Client]:
    with Client(server.url) as one:
        yield one


def paused(client: Client, name: str) -> Callable[[], bool]:
    return lambda: client.get(name).state == "paused"


# Starting and stopping.


def test_start_wakes_waits_for_the_health_route_and_returns_at_once_when_it_is_ready(
    client: Client, folder: Path
) -> None:
    gate, told = folder / "gate", list[Progress]()
    threading.Timer(1.2, gate.touch).start()
    endpoint = client.start("gated", timeout=20, on_progress=told.append)
    assert gate.exists()
    assert httpx2.get(f"{endpoint.url}/health", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert {step.endpoint.phase for step in told} <= {Phase.SLEEPING, Phase.STARTING}
    began = time.monotonic()
    assert client.start("gated").url == endpoint.url
    assert time.monotonic() - began < 1.0
    assert client.stop("gated").name == "gated"
    assert client.wait("gated", until="sleeping", timeout=15).state == "paused"
    assert client.stop("gated").state == "paused"
    gate.unlink()


def test_waiting_for_a_paused_endpoint_fails_at_once_and_resume_then_wait_works(client: Client) -> None:
    client.pause("plain")
    client.wait("plain", until="sleeping", timeout=15)
    with pytest.raises(WakeFailed, match="lamplighter start plain"):
        client.wait("plain", timeout=60)
    client.resume("plain")
    assert client.wait("plain", timeout=20).phase is Phase.RUNNING
    client.scale_to_zero("plain")
    assert client.wait("plain", until="sleeping", timeout=15).state == "scaledToZero"


def test_a_start_that_takes_too_long_tells_the_last_state_and_the_time_waited(client: Client, folder: Path) -> None:
    (folder / "gate").unlink(missing_ok=True)
    with pytest.raises(WakeTimeout, match=r"after 1\.5 s.*(pending|initializing).*lamplighter stop gated"):
        client.start("gated", timeout=1.5)
    client.stop("gated")


def test_a_start_that_fails_tells_the_engines_last_words(client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(WakeFailed, match="no such model"):
        client.start("broken", timeout=60)
    assert time.monotonic() - began < 20
    client.stop("broken")


def test_a_missing_endpoint_is_told_with_the_flag_that_makes_it_and_other_failures_are_themselves(
    server: LamplighterProcess, client: Client
) -> None:
    with pytest.raises(EndpointNotFound, match="create_if_missing"):
        client.get_or_create("plane")
    assert client.get_or_create("plain").name == "plain"
    with Client(server.url, token="wrong") as stranger, pytest.raises(package.NotAllowed):
        stranger.get_or_create("plain", create_if_missing=True, repository="x/y")
    with Client(server.url, namespace="elsewhere") as lost, pytest.raises(Forbidden, match="lamplighter"):
        lost.get_or_create("plain")
    with Client("http://127.0.0.1:9", namespace="me") as nowhere, pytest.raises(ProviderError):
        nowhere.get_or_create("plain")


def test_both_faces_see_the_same_and_the_functions_need_nothing_but_the_environment(
    server: LamplighterProcess, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> list[str]:
        async with AsyncClient(server.url) as asynchronous:
            return [endpoint.name for endpoint in await asynchronous.list()]

    assert asyncio.run(look()) == [endpoint.name for endpoint in client.list()] == sorted(NAMES)
    monkeypatch.setenv("LAMPLIGHTER_URL", server.url)
    assert package.status("plain").name == "plain"
    with package.session("other", lease=10) as endpoint:
        assert endpoint.url
        assert package.status("other").phase is Phase.RUNNING
    eventually(paused(client, "other"), "paused")
    assert "127.0.0.1" in client.where
    assert "namespace lamplighter" in client.where


def test_lines_of_the_log_come_one_by_one_and_following_can_be_left(client: Client) -> None:
    client.start("plain", timeout=20)
    assert any("listening" in line for line in client.logs("plain"))
    following = client.logs("plain", follow=True)
    assert next(following)
    following.close()  # type: ignore[attr-defined]
    assert client.get("plain").name == "plain"


# Sessions.


def test_a_session_pauses_at_its_end_also_after_an_exception_and_after_a_failed_start(client: Client) -> None:
    with client.session("other", lease=10) as endpoint:
        assert endpoint.phase is Phase.RUNNING
        assert client.status("other").held_by == ("1 lease",)
    eventually(paused(client, "other"), "paused after a normal end")
    with pytest.raises(ZeroDivisionError), client.session("other", lease=10):
        raise ZeroDivisionError
    eventually(paused(client, "other"), "paused after an exception")
    with pytest.raises(WakeFailed), client.session("broken", lease=10, timeout=30):
        raise AssertionError("it must not get here")
    eventually(paused(client, "broken"), "paused after a failed start")


def test_the_last_session_out_pauses_and_without_auto_pause_it_is_left_running(client: Client) -> None:
    with client.session("shared", lease=10):
        with client.session("shared", lease=10):
            pass
        assert client.status("shared").phase is Phase.RUNNING
    eventually(paused(client, "shared"), "paused by the last one out")
    with client.session("kept", lease=10, auto_pause=False):
        pass
    assert client.status("kept").phase is Phase.RUNNING
    client.stop("kept")


@pytest.mark.parametrize("mode", ["server", "watchdog"])
def test_sessions_in_two_places_are_counted_together(
    client: Client, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", mode)
    first, second = client.session("shared", lease=10), client.session("shared", lease=10)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert client.status("shared").phase is Phase.RUNNING
    second.__exit__(None, None, None)
    eventually(paused(client, "shared"), "paused by the last one out")


def test_a_session_whose_lease_was_ended_says_so_and_holds_anew(client: Client) -> None:
    with client.session("shared", lease=5), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.pause("shared")
        eventually(lambda: bool(caught), "a warning", 10)
        assert issubclass(caught[0].category, SessionWarning)
        eventually(lambda: client.status("shared").phase is Phase.RUNNING, "resumed and held anew", 10)
    eventually(paused(client, "shared"), "paused at the end")


def test_a_pause_that_fails_is_tried_again_then_told_with_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamplighter.sdk.sessions._END_PAUSES", (0.05,))
    with (
        lamplighter(tmp_path, configuration(tmp_path), environ={"LAMPLIGHTER_KEYS": KEY}) as mortal,
        Client(mortal.url) as client,
        pytest.raises(
            ProviderError, match=r"Once its server.*lamplighter pause plain --server http:.* -n lamplighter`"
        ),
        client.session("plain", lease=10),
    ):
        mortal.stop()


# A program of its own, and what becomes of its endpoint when it ends.

PROGRAM = """
import sys, time
from lamplighter import Client
client = Client(sys.argv[1])
try:
    with client.session(sys.argv[2], lease=float(sys.argv[3])) as endpoint:
        print("ready", flush=True)
        exec(sys.argv[4])
finally:
    print("after", flush=True)
"""


class Program:
    """A user's program that is in a session."""

    def __init__(self, url: str, name: str, *, lease: float = 5, body: str = "time.sleep(60)", mode: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url, name, str(lease), body],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LAMPLIGHTER_SESSIONS": mode},
        )

    def await_ready(self) -> Program:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def watchdog(self) -> psutil.Process:
        (dog,) = psutil.Process(self.process.pid).children()
        return dog

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def programs(*made: Program) -> Iterator[tuple[Program, ...]]:
    try:
        for program in made:
            program.await_ready()
        yield made
    finally:
        for program in made:
            program.close()


def test_a_program_that_is_killed_or_stopped_leaves_nothing_running_longer_than_its_lease(
    server: LamplighterProcess, client: Client
) -> None:
    with programs(
        Program(server.url, "killed", lease=5, mode="server"),
        Program(server.url, "watched", lease=30, mode="watchdog"),
        Program(server.url, "muted", lease=5, mode="watchdog"),
    ) as (killed, watched, muted):
        assert {client.status(name).phase for name in ("killed", "watched", "muted")} == {Phase.RUNNING}
        killed.process.kill()
        watched.process.kill()
        muted.process.send_signal(signal.SIGSTOP)  # it lives, and says nothing: the end of a pipe is not what tells
        ended = time.monotonic()
        eventually(paused(client, "watched"), "paused when the pipe ended", 4)
        eventually(paused(client, "killed"), "paused when the lease was over", 8)
        eventually(paused(client, "muted"), "paused when the heartbeats stopped", 8)
        assert time.monotonic() - ended < 7
        muted.process.send_signal(signal.SIGCONT)
        eventually(lambda: client.status("muted").phase is Phase.RUNNING, "resumed by the session that goes on", 10)
        muted.process.kill()
        eventually(paused(client, "muted"), "paused again", 8)


@pytest.mark.parametrize("mode", ["server", "watchdog"])
def test_ctrl_c_while_it_starts_pauses(
    server: LamplighterProcess, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    (folder / "gate").unlink(missing_ok=True)
    program = Program(server.url, "gated", mode=mode)
    try:
        eventually(lambda: client.status("gated").phase is Phase.STARTING, "starting")
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(20) == -signal.SIGINT
        eventually(paused(client, "gated"), "paused")
    finally:
        program.close()


def test_a_session_that_nobody_left_ends_with_its_client_and_with_the_program(
    server: LamplighterProcess, client: Client
) -> None:
    with Client(server.url) as other:
        other.session("shared", lease=30).__enter__()
        assert client.status("shared").phase is Phase.RUNNING
    eventually(paused(client, "shared"), "paused with its client", 5)
    code = "import sys; from lamplighter import Client; Client(sys.argv[1]).session('shared', lease=60).__enter__()"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit(7)", server.url], check=False)
    eventually(paused(client, "shared"), "paused with the program", 5)


def test_a_session_can_be_entered_once_and_what_stands_behind_it_is_a_known_word(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = client.session("shared", lease=10)
    with session, pytest.raises(package.LamplighterError, match="entered once"):
        session.__enter__()
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", "cron")
    with pytest.raises(InvalidInput, match="'cron'"), client.session("shared"):
        raise AssertionError("it must not get here")
    eventually(paused(client, "shared"), "paused")


@pytest.mark.parametrize("mode", ["server", "watchdog"])
def test_sigterm_ends_a_session_in_order(server: LamplighterProcess, client: Client, mode: str) -> None:
    with programs(Program(server.url, "told", mode=mode)) as (program,):
        dogs = psutil.Process(program.process.pid).children()
        program.process.terminate()
        assert program.process.wait(20) == 143
        assert program.process.stdout is not None
        assert program.process.stdout.read() == "after\n"
        assert paused(client, "told")() or client.status("told").phase is Phase.STOPPING
        assert len(dogs) == (mode == "watchdog")
        psutil.wait_procs(dogs, timeout=5)
        assert not any(dog.is_running() for dog in dogs)
    eventually(paused(client, "told"), "paused")


def test_a_watchdog_shows_no_token_and_survives_what_ends_the_programs_group(
    server: LamplighterProcess, client: Client, folder: Path
) -> None:
    with programs(Program(server.url, "watched", mode="watchdog")) as (program,):
        dog = program.watchdog()
        shown = json.dumps([dog.cmdline(), dog.environ(), dog.cwd()])
        assert KEY not in shown
        assert os.getsid(dog.pid) == dog.pid
        place = session_folder(server.url, "lamplighter", "watched")
        kept = [path for path in (folder / "state").rglob("*") if path.is_file()]
        assert place in {path.parent for path in kept}
        assert not any(KEY.encode() in path.read_bytes() for path in kept)
        for number in (signal.SIGINT, signal.SIGHUP):
            dog.send_signal(number)
        assert dog.memory_info().rss < 40_000_000
        dog.terminate()  # somebody ends all that runs here: it pauses before it goes
        eventually(paused(client, "watched"), "paused by the watchdog", 6)
        dog.wait(5)
        assert "it was told to end" in (place / "watchdog.log").read_text()


def test_a_killed_program_leaves_an_endpoint_alone_that_another_session_holds(
    server: LamplighterProcess, client: Client
) -> None:
    first = Program(server.url, "shared", mode="watchdog", lease=30)
    second = Program(server.url, "shared", mode="watchdog", lease=30)
    with programs(first, second):
        dog = first.watchdog()
        first.process.kill()
        dog.wait(10)
        assert client.status("shared").phase is Phase.RUNNING
        second.process.kill()
        eventually(paused(client, "shared"), "paused by the last watchdog", 5)


def test_leases_live_through_a_restart_of_the_server(tmp_path: Path) -> None:
    environ = {"LAMPLIGHTER_KEYS": KEY}
    one = LamplighterProcess(tmp_path, configuration(tmp_path), environ=environ).start()
    port = int(one.url.rpartition(":")[2])
    another = LamplighterProcess(tmp_path, configuration(tmp_path), environ=environ, port=port)
    try:
        with (
            Client(one.url) as client,
            programs(Program(one.url, "killed", lease=6), Program(one.url, "watched", mode="watchdog")) as (
                killed,
                watched,
            ),
        ):
            with client.session("plain", lease=6):
                one.kill()
                watched.process.kill()  # its watchdog finds nobody to ask, and goes on trying
                another.start()
                eventually(lambda: client.status("plain").phase is Phase.RUNNING, "running again")
                held = client.status("plain").held_by
                assert held == ("1 lease",)
                killed.process.kill()
                eventually(paused(client, "killed"), "paused when its lease was over", 12)
                eventually(paused(client, "watched"), "paused by its watchdog", 12)
                assert client.status("plain").phase is Phase.RUNNING
            eventually(paused(client, "plain"), "paused at the end")
    finally:
        one.close()
        another.close()


def test_what_is_asked_for_over_leases_is_checked_and_shown(server: LamplighterProcess) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.url, headers=headers) as http:
        form: dict[str, Any] = {"holder": "me@here pid 1", "ttl": 30}
        made = http.post("/api/endpoints/kept/leases", json=form)
        assert made.status_code == 201
        lease = made.json()["lease"]
        assert (lease["endpoint"], lease["holder"], lease["ttl"], lease["pause_at_end"]) == (
            "kept",
            "me@here pid 1",
            30.0,
            True,
        )
        assert http.get("/api/leases?endpoint=kept").json()["leases"] == [lease]
        assert http.put(f"/api/leases/{lease['id']}").json()["lease"]["expires_at"] >= lease["expires_at"]
        assert http.delete(f"/api/leases/{lease['id']}").status_code == 200
        assert http.delete(f"/api/leases/{lease['id']}").status_code == 200
        assert http.put(f"/api/leases/{lease['id']}").status_code == 404
        assert http.post("/api/endpoints/nobody/leases", json=form).status_code == 404
        for wrong in ({"ttl": 1}, {"ttl": 1e9}, {"holder": ""}, {"holder": "x" * 201}, {"hold": 1}):
            assert http.post("/api/endpoints/kept/leases", json=form | wrong).status_code in (400, 422), wrong
    assert httpx2.get(f"{server.url}/api/leases").status_code == 401


def test_an_endpoint_is_made_used_changed_measured_and_deleted(client: Client, folder: Path) -> None:
    script = str(folder / "engine.py")
    values: dict[str, Any] = {
        "repository": "me/a-model",
        "framework": "custom",
        "vendor": "local",
        "region": "local",
        "accelerator": "cpu",
        "instance_type": "cpu",
        "instance_size": "x1",
        "image": {"custom": {"url": "none", "healthRoute": "/health"}},
        "command": [sys.executable, "-I", "-S", script, "--host", "{host}", "--port", "{port}"],
    }
    for wrong, told in (("region", "local"), ("instance_type", "cpu"), ("vendor", "local")):
        with pytest.raises(InvalidInput, match=told):
            client.create("made", **values | {wrong: "somewhere"})
    assert client.get_or_create("made", create_if_missing=True, **values).name == "made"
    assert client.get_or_create("made", create_if_missing=True, **values).name == "made"
    with pytest.raises(package.EndpointExists):
        client.create("made", **values)
    assert client.start("made", timeout=20).url
    assert client.update("made", scale_to_zero_timeout=30).compute.scaling.scale_to_zero_timeout == 30
    measured = client.metrics("made", window=3600)
    assert measured.uptime is not None
    assert 0 <= measured.uptime < 60
    assert (measured.price_per_hour, measured.cost, measured.tokens) == (0.0, 0.0, None)
    client.delete("made", confirm=True)
    with pytest.raises(EndpointNotFound):
        client.get("made")


def test_deleting_wants_a_yes_and_an_endpoint_of_the_file_stays(client: Client) -> None:
    with pytest.raises(InvalidInput, match="confirm=True"):
        client.delete("plain")
    with pytest.raises(package.Conflict, match="configuration file"):
        client.delete("plain", confirm=True)


# A folder of sessions that is gone, or of no use.


def test_sessions_whose_folder_disappears_pause_all_the_same(
    server: LamplighterProcess, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "lost"))
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", "watchdog")
    with client.session("plain", lease=10):
        shutil.rmtree(tmp_path / "lost")
    eventually(paused(client, "plain"), "paused at a normal end", 10)
    with programs(Program(server.url, "watched", lease=30, mode="watchdog")) as (program,):
        shutil.rmtree(tmp_path / "lost")
        program.process.kill()
        eventually(paused(client, "watched"), "paused by the watchdog", 10)


def test_a_wish_to_pause_outlives_a_folder_that_was_made_anew(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "lost"))
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", "watchdog")
    first = client.session("plain", lease=10)
    first.__enter__()
    shutil.rmtree(tmp_path / "lost")
    with client.session("plain", lease=10, auto_pause=False):
        first.__exit__(None, None, None)
        assert client.status("plain").phase is Phase.RUNNING  # it is held, and the wish is left to who holds it
    eventually(paused(client, "plain"), "paused by the last one out", 10)


def test_a_folder_of_no_use_is_told_before_anything_is_woken(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", "watchdog")
    client.stop("plain")
    client.wait("plain", until="sleeping", timeout=15)
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nope")
    with pytest.raises(Unavailable, match=r"/proc/nope.*XDG_STATE_HOME"), client.session("plain", lease=10):
        raise AssertionError("it must not get here")
    assert client.get("plain").state == "paused"
