"""The first thing that a new user sees, from end to end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx2
import psutil
import pytest

from lamplighter.providers.local.group import MARKER
from lamplighter.providers.local.runfiles import RunFiles

pytestmark = pytest.mark.acceptance


@contextlib.contextmanager
def lamplighter(folder: Path, *argv: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A command that is ended with the context, and has left no engine then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lamplighter", *argv, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(folder), **environ},
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
    assert engines(folder / "lamplighter" / "demo") == []


def engines(data: Path) -> list[psutil.Process]:
    mine = RunFiles(data / "local" / "run").marker_prefix
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARKER, "").startswith(mine):
                found.append(process)
    return found


def read_until(process: subprocess.Popen[str], wanted: str, of: Literal["stdout", "stderr"] = "stdout") -> str:
    """Read up to the line that holds `wanted`."""
    stream: Iterator[str] = getattr(process, of)
    said = ""
    for line in stream:
        said += line
        if wanted in line:
            return said
    rest = process.communicate(timeout=30)
    raise AssertionError(f"no {wanted!r} in:\n{said}\nexit code {process.returncode}, also said: {rest}")


def test_the_demo_tells_its_story_in_a_minute(tmp_path: Path) -> None:
    began = time.monotonic()
    with lamplighter(tmp_path, "demo", "--once", "--idle", "2") as process:
        said, wrong = process.communicate(timeout=60)
    assert process.returncode == 0, wrong
    assert time.monotonic() - began < 60
    assert wrong == ""
    assert "\x1b" not in said
    in_order = [
        "The model is here",
        "The server listens on http://127.0.0.1:",
        "Two endpoints, both asleep",
        "chat is starting",
        "chat is running",
        "│ ",
        "for the cold start, first token after",
        "tokens/s",
        "First token after",
        "embed is running",
        "numbers: ",
        "each is put to sleep",
        "chat is asleep: process",
        "embed is asleep: process",
    ]
    places = [said.find(part) for part in in_order]
    assert places == sorted(places), said
    assert -1 not in places, said


def test_the_demo_stays_up_to_be_tried_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with lamplighter(tmp_path, "demo", "--idle", "2") as process:
        said = read_until(process, "Ctrl-C ends it")
        url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
        assert httpx2.get(f"{url}/api/endpoints/status", timeout=10).json()["success"]
        process.send_signal(signal.SIGINT)
        rest, wrong = process.communicate(timeout=30)
    assert process.returncode == 0, wrong
    assert "The server stays up" in said
    assert "from openai import OpenAI" in said
    assert "Stopped; the engines have ended." in rest
    assert wrong == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_the_story_ends_all_of_it(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with lamplighter(tmp_path, "demo") as process:
        read_until(process, "chat is starting")
        process.send_signal(number)
        _, wrong = process.communicate(timeout=30)
    assert process.returncode == code
    assert wrong == ""


def test_a_model_that_is_broken_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    broken = tmp_path / "cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    broken.parent.mkdir(parents=True)
    with broken.open("wb") as file:
        file.truncate(98_362_432)  # the right size: it is taken for the model
    with lamplighter(tmp_path, "demo", "--once", LAMPLIGHTER_CACHE=str(tmp_path / "cache")) as process:
        _, wrong = process.communicate(timeout=60)
    assert process.returncode == 1
    assert wrong.startswith("error: ")
    assert "is not a GGUF file" in wrong
    assert "Traceback" not in wrong


def test_a_second_demo_is_told_that_one_runs(tmp_path: Path) -> None:
    with lamplighter(tmp_path, "serve", "--demo") as first:
        read_until(first, "listens on", of="stderr")
        second = subprocess.run(
            [sys.executable, "-m", "lamplighter", "demo", "--once", "--port", "0"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            check=False,
        )
        assert second.returncode == 1
        assert f"Another Lamplighter (process {first.pid})" in second.stderr
