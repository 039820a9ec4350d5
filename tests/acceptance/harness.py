"""A real Lamplighter in a process of its own, as a user would start it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil

from lamplighter.providers.local.group import MARKER
from lamplighter.providers.local.runfiles import RunFiles

_LISTENS = re.compile(r"(http://127\.0\.0\.1:\d+)")

LIKELIEST = {"temperature": 0, "ignore_eos": True}
"""Makes what a request of llama.cpp is answered the same each time, and as long as it asks for: no test rests on chance."""

CHAT = """
  chat:
    engine: llamacpp
    model: SmolLM2-135M-Instruct
    aliases: [smollm2]
"""


class LamplighterProcess:
    """Started with a configuration text; `{data}` and `{port}` are filled in."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        *,
        environ: dict[str, str] | None = None,
        server: str = "drain_timeout: 5s",
        port: int = 0,
        own_session: bool = False,
        arguments: tuple[str, ...] = (),
        page: bool = False,
    ) -> None:
        """In a session of its own it gets no signal that a terminal sends to whoever started it.

        Most tests need no page, which takes half a second.
        """
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "lamplighter.yaml"
        self._environ = {**os.environ, **(environ or {})}
        self._server = server
        self._port = port
        self._own_session = own_session
        self._arguments = arguments if page else ("--no-page", *arguments)
        self.write(configuration)
        self.process: subprocess.Popen[str]
        self.lines: list[str] = []
        self.url = ""
        self._news = threading.Condition()

    def write(self, configuration: str) -> None:
        """Write the configuration file anew."""
        rate = "" if "management_rate" in self._server else "management_rate: 100000, "  # tests look often
        self.config.write_text(f"server: {{data: {self.data}, {rate}{self._server}}}\n{configuration}")

    def launch(self) -> LamplighterProcess:
        """Start the process and wait for nothing."""
        command = [sys.executable, "-m", "lamplighter", "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self._port), "--log-format", "json", *self._arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=self._environ,
            cwd=self.folder,
            start_new_session=self._own_session,
        )
        self.lines = []
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        return self

    def start(self) -> LamplighterProcess:
        """Start the process and wait until it listens."""
        self.launch()
        self.url = self.await_line(lambda line: _LISTENS.search(line) is not None, "an address").strip()
        found = _LISTENS.search(self.url)
        assert found
        self.url = found[1]
        return self

    def _read(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._news:
                    lines.append(line)
                    self._news.notify_all()
        with self._news:
            lines.append("")
            self._news.notify_all()

    def await_line(self, wanted: Callable[[str], bool], what: str, timeout: float = 30.0) -> str:
        """Wait for a line of its log."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines:
                    if wanted(line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or (self.lines and self.lines[-1] == ""):
                    raise AssertionError(f"no {what} in:\n{''.join(self.lines)}")
                self._news.wait(left)

    def kill(self) -> None:
        """What an out-of-memory killer does."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it, and whatever it left."""
        engines = self.engines()
        if self.process.poll() is None:
            self.stop()
        for engine in engines:
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.kill()

    def engines(self) -> list[psutil.Process]:
        """The processes of its engines, whoever started them."""
        mine = RunFiles(self.data / "local" / "run").marker_prefix
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARKER, "").startswith(mine) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def status(self, name: str) -> dict[str, Any]:
        answer = httpx2.get(f"{self.url}/api/endpoints/status/{name}", timeout=10)
        answer.raise_for_status()
        endpoint: dict[str, Any] = answer.json()["endpoint"]
        return endpoint

    def sleep(self, name: str, *, wait: float = 30) -> None:
        httpx2.post(f"{self.url}/api/endpoints/sleep/{name}?wait={wait}", timeout=wait + 10).raise_for_status()

    def wake(self, name: str, *, wait: float = 60) -> None:
        httpx2.post(f"{self.url}/api/endpoints/wake/{name}?wait={wait}", timeout=wait + 10).raise_for_status()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.data / "lamplighter.db")) as database:
            return database.execute(query).fetchall()


def eventually(check: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Wait for something outside that tells nobody when it happens."""
    deadline = time.monotonic() + timeout
    wait = threading.Event()
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {timeout:g} s: {what}")
        wait.wait(0.05)


@contextlib.contextmanager
def lamplighter(folder: Path, configuration: str, **options: Any) -> Iterator[LamplighterProcess]:
    """Run one while the context lasts."""
    one = LamplighterProcess(folder, configuration, **options).start()
    try:
        yield one
    finally:
        one.close()
