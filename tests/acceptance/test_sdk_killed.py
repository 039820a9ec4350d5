"""What becomes of the engines of a Lamplighter inside of a program that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lamplighter import Client
from tests.acceptance.harness import eventually
from tests.local_engines import SCRIPT

pytestmark = pytest.mark.acceptance

BEGIN = """
import json, os, sys, time
from lamplighter import Client
client = Client.embedded(json.loads(sys.argv[1]))
client.start("mert", timeout=20)
"""
READY = "\nprint('ready', flush=True)\ntime.sleep(60)"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def configuration(folder: Path, *more: str, **server: Any) -> dict[str, Any]:
    script = folder / "engine.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-I", "-S", str(script), "--host", "{host}", "--port", "{port}", *more]
    one = {"engine": "command", "command": command, "health_route": "/health", "stop_grace": "1s"}
    return {"endpoints": {"mert": one}} | ({"server": server} if server else {})


def engines(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder / "engine.py") in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def program(code: str, config: dict[str, Any] | None = None, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A user's program, which is ready."""
    argv = [sys.executable, "-c", code, json.dumps(config)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


def kill(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.wait(10)


@pytest.mark.parametrize("end", ["", "\nprint('ready', flush=True)\nos._exit(3)"])
def test_a_program_that_is_killed_leaves_no_engine_and_can_begin_again(tmp_path: Path, end: str) -> None:
    config = configuration(tmp_path)
    with program(BEGIN + (end or READY), config) as killed:
        if not end:
            assert len(engines(tmp_path)) == 1
        kill(killed)
    eventually(lambda: not engines(tmp_path), "no engine left", 10)
    with Client.embedded(config) as client:
        client.start("mert", timeout=20)
        assert len(engines(tmp_path)) == 1
    assert not engines(tmp_path)


def test_a_child_that_keeps_what_its_parent_had_open_keeps_no_engine_alive(tmp_path: Path) -> None:
    with program(BEGIN + "os.fork() or time.sleep(60)" + READY, configuration(tmp_path)) as killed:
        children = [child for child in psutil.Process(killed.pid).children() if "json.loads" in str(child.cmdline())]
        assert len(children) == 1
        kill(killed)
        try:
            eventually(lambda: not engines(tmp_path), "no engine left", 10)
            assert children[0].is_running()
        finally:
            children[0].kill()


def test_a_program_that_begins_again_at_once_waits_until_the_engines_are_ended(tmp_path: Path) -> None:
    """Its engine ignores a friendly word, so that ending it takes a while."""
    config = configuration(tmp_path, "--stubborn")
    with program(BEGIN + READY, config) as killed:
        (old,) = engines(tmp_path)
        kill(killed)
    with Client.embedded(config) as client:
        client.start("mert", timeout=30)
        assert [engine.pid for engine in engines(tmp_path)] != [old.pid]
        assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
    eventually(lambda: not engines(tmp_path), "no engine left", 10)


def test_nothing_is_left_of_a_killed_program_without_a_configuration(tmp_path: Path) -> None:
    code = "import time; from lamplighter import Client; client = Client.embedded(); client.list()" + READY
    with program(code, TMPDIR=str(tmp_path)) as killed:
        assert list(tmp_path.glob("lamplighter-*"))
        kill(killed)
    eventually(lambda: not list(tmp_path.glob("lamplighter-*")), "no folder left", 10)


def test_where_nobody_could_end_it_the_next_start_finds_the_engine_again(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    with program(BEGIN + READY, config) as killed:
        (ender,) = [each for each in psutil.Process(killed.pid).children() if "lamplighter.sdk.ender" in each.cmdline()]
        ender.kill()
        kill(killed)
    (left,) = engines(tmp_path)
    with Client.embedded(config) as client:
        client.start("mert", timeout=20)
        assert [engine.pid for engine in engines(tmp_path)] == [left.pid]
    eventually(lambda: not engines(tmp_path), "no engine left", 10)


def test_engines_that_are_to_be_left_are_left_also_by_a_kill(tmp_path: Path) -> None:
    config = configuration(tmp_path, on_shutdown="leave")
    with program(BEGIN + READY, config) as killed:
        children = psutil.Process(killed.pid).children()
        assert not any("lamplighter.sdk.ender" in child.cmdline() for child in children)
    for engine in engines(tmp_path):
        engine.kill()
