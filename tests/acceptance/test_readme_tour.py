"""The tour of the README, pasted line by line as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx2
import pytest

pytestmark = pytest.mark.acceptance

README = Path(__file__).parents[2] / "README.md"
USUAL = "http://127.0.0.1:8470"
_LISTENS = re.compile(r"listens on (http://127\.0\.0\.1:\d+)")
_MODEL = "    model: SmolLM2-135M-Instruct"
_OURS = ("LAMPLIGHTER_", "ENDPOINT_")


def blocks(language: str) -> list[str]:
    tour = README.read_text("utf-8").split("## A tour\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", tour, re.MULTILINE | re.DOTALL)


def command_lines(block: str) -> list[str]:
    """The lines of a block for the shell; one that goes on in the next counts as one."""
    return block.replace("\\\n", " ").splitlines()


class Reader:
    """Somebody with a terminal in an empty folder. The server takes a free port; all else is as the README has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(folder / "state"),
            "LAMPLIGHTER_PORT": "0",
        }
        if cache := os.environ.get("LAMPLIGHTER_CACHE"):
            self.environ["LAMPLIGHTER_CACHE"] = cache

    def paste(self, line: str) -> str:
        """Run a line in the shell, and give what it printed."""
        line = line.replace(USUAL, self.url)
        if line.startswith("curl ") and not shutil.which("curl"):
            return self._post(line)
        return self._run(["sh", "-c", line])

    def run_python(self, code: str) -> str:
        return self._run([sys.executable, "-c", code.replace(USUAL, self.url)])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=self.folder, env=self.environ, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @staticmethod
    def _post(line: str) -> str:
        _, url, _, body = shlex.split(line)
        return httpx2.post(url, content=body, timeout=120).raise_for_status().text

    def serve(self, line: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            shlex.split(line), stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.environ
        )
        assert process.stderr is not None
        self.url = _address(process.stderr)
        self.environ["LAMPLIGHTER_URL"] = self.url
        self._draining = threading.Thread(target=_drain, args=(process.stderr,), daemon=True)
        self._draining.start()
        return process

    def stop(self, process: subprocess.Popen[str]) -> None:
        """What Ctrl-C does."""
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        self._draining.join(10)


def _address(stream: IO[str]) -> str:
    said = ""
    for line in stream:
        said += line
        if found := _LISTENS.search(line):
            return found[1]
    raise AssertionError(f"no address in:\n{said}")


def _drain(stream: IO[str]) -> None:
    with stream:
        for _ in stream:
            pass


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    one = Reader(tmp_path)
    make, serve = command_lines(blocks("sh")[0])
    assert "one endpoint, `chat`" in one.paste(make)
    _one_thread(tmp_path / "lamplighter.yaml")
    process = one.serve(serve)
    try:
        yield one
    finally:
        one.stop(process)


def _one_thread(config: Path) -> None:
    """Beside other tests, threads that wait for each other make a small model many times slower. Nor may it go on long."""
    text = config.read_text("utf-8")
    assert text.count(_MODEL) == 1
    config.write_text(text.replace(_MODEL, f"    args: [--threads, 1, --ctx-size, 256]\n{_MODEL}"), "utf-8")


def test_the_tour_works_as_pasted(reader: Reader) -> None:
    curl, status, sleep, wake, logs, cost = command_lines(blocks("sh")[1])
    assert '"role":"assistant"' in reader.paste(curl)
    assert re.search(r"chat\s+\S*\s*running", reader.paste(status))
    assert reader.paste(sleep).startswith("chat is sleeping")
    assert reader.paste(wake).startswith("chat is running")
    assert "ready on http://" in reader.paste(logs)
    assert re.search(r"^chat +\$", reader.paste(cost), re.MULTILINE)
    reader.paste(sleep)
    (code,) = blocks("python")
    assert re.search(r"\w", reader.run_python(code))
    assert re.search(r"chat\s+\S*\s*running", reader.paste(status))


def test_endpoints_are_made_and_deleted_as_pasted(reader: Reader) -> None:
    hardware, deploy, run, listing, delete = command_lines(blocks("sh")[2])
    assert re.search(r"local local\s+cpu", reader.paste(hardware))
    assert reader.paste(deploy).startswith("small is ")
    assert reader.paste(run).strip() == f"{reader.url}/endpoints/small/v1"
    assert re.search(r"small\s+\S*\s*paused", reader.paste(listing))
    assert reader.paste(delete).startswith("small is deleted")
