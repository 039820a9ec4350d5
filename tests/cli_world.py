"""A whole Lamplighter in a thread, with simulated endpoints that a real model server answers for: for the commands."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog

from lamplighter.cli.main import main
from lamplighter.providers.memory import MemoryProvider
from tests.hf_cloud import DOCUMENT, NAMESPACE, Cloud, cloud

T = TypeVar("T")

CHAT = [
    *("-r", "org/model", "--vendor", "memory", "--region", "memory", "--accelerator", "cpu"),
    *("--instance-type", "cpu", "--instance-size", "x1"),
]
"""What a new endpoint is made from."""

VARIABLES = (
    *("HF_TOKEN", "HUGGINGFACE_API_KEY", "LAMPLIGHTER_KEY", "LAMPLIGHTER_URL", "LAMPLIGHTER_CONFIG", "HF_ENDPOINT"),
    *("LAMPLIGHTER_SESSIONS", "LAMPLIGHTER_CLOUD_URL"),
)


@dataclass
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class World:
    """A server, and the commands that talk to it. `home` is the folder that state goes to."""

    cloud: Cloud
    loop: asyncio.AbstractEventLoop
    home: Path
    capsys: pytest.CaptureFixture[str] | None = None

    @property
    def url(self) -> str:
        return self.cloud.url

    @property
    def simulated(self) -> MemoryProvider:
        return self.cloud.simulated

    def __call__(self, *argv: str) -> Said:
        """Run a command in this process."""
        assert self.capsys
        self.capsys.readouterr()
        code = main(argv)
        told = self.capsys.readouterr()
        return Said(code, told.out, told.err)

    def wire(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server itself."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"} if text else {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status < 300, answer
        return json.loads(answer)

    def make(self, name: str, **more: Any) -> None:
        """Make an endpoint that has run and is paused. `more` goes into its document."""
        self.simulated.start_delay = 0.02
        self.wire("POST", f"/v2/endpoint/{NAMESPACE}", {**DOCUMENT, "name": name, **more})
        self.reach(name, "running")
        self.wire("POST", f"/v2/endpoint/{NAMESPACE}/{name}/pause")

    def reach(self, name: str, *wanted: str, timeout: float = 20.0) -> None:
        """Wait until an endpoint has one of these states; nobody tells when."""
        deadline = time.monotonic() + timeout
        while (state := self.wire("GET", f"/v2/endpoint/{NAMESPACE}/{name}")["status"]["state"]) not in wanted:
            assert time.monotonic() < deadline, (state, wanted)
            threading.Event().wait(0.02)

    def only(self, *names: str) -> None:
        """Have these endpoints, paused, and no others."""
        for one in self.wire("GET", f"/v2/endpoint/{NAMESPACE}")["items"]:
            self.wire("DELETE", f"/v2/endpoint/{NAMESPACE}/{one['name']}")
        for name in names:
            self.make(name)

    def do(self, work: Callable[[], T]) -> T:
        """Do something on the server's own loop."""

        async def doing() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(doing(), self.loop).result(10)

    def state(self, name: str) -> str:
        return str(self("describe", name, "--json").json["status"]["state"])


@contextmanager
def world(folder: Path, **options: Any) -> Iterator[World]:
    """Run one; `options` are the memory provider's."""
    ready: list[World] = []
    started, end = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def live() -> None:
        async with cloud(folder, **options) as one:
            ready.append(World(one, asyncio.get_running_loop(), folder))
            started.set()
            await asyncio.to_thread(end.wait)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(20)
    try:
        if not ready:
            raise AssertionError("the server did not start") from (failed[0] if failed else None)
        yield ready[0]
    finally:
        end.set()
        thread.join(20)
    if failed:
        raise failed[0]


def clean_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing of whoever runs the tests gets into them."""
    for name in VARIABLES:
        patch.delenv(name, raising=False)
    patch.setenv("COLUMNS", "200")
    patch.setenv("HF_HOME", str(home / "hf"))
    patch.setenv("HF_TOKEN_PATH", str(home / "hf" / "token"))
    patch.setenv("XDG_STATE_HOME", str(home / "state"))
    patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    patch.chdir(home)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the server's log is not the command's output


@contextmanager
def bounded(process: subprocess.Popen[str], seconds: float = 40.0) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed when a test has waited for it too long, so that no test waits for ever."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        with process:
            yield process
    finally:
        timer.cancel()


__all__ = ["CHAT", "NAMESPACE", "Said", "World", "bounded", "clean_environment", "world"]
