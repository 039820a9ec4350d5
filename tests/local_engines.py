"""A tiny real HTTP server as engine, and how tests of the local provider wait for it.

Its behaviour is chosen by arguments; what it does later is asked of it over HTTP, so that no test waits by the clock.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lamplighter.domain.endpoint import EngineSpec, Spec, State, Status
from lamplighter.engines.base import Launch, Progress
from lamplighter.errors import InvalidInput
from lamplighter.providers.local import LocalProvider

DEADLINE = 15.0

SCRIPT = r"""
import os, signal, socket, sys, time
args = sys.argv[1:]
def option(name, default=None):
    return args[args.index(name) + 1] if name in args else default
def say(*words):
    print(*words, flush=True)
if "--print" in args:
    for line in option("--print").split("|"):
        say(line)
if "--exit" in args:
    sys.exit(int(option("--exit")))
if "--signal" in args:
    os.kill(os.getpid(), int(option("--signal")))
if "--stubborn" in args:
    signal.signal(signal.SIGTERM, lambda *_: say("no"))
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if "--child" in args and os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--own-session" in args:
        os.setsid()
    say("child", os.getpid())
    while True:
        signal.pause()
if "--deaf" in args:
    while True:
        signal.pause()
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((option("--host", "127.0.0.1"), int(option("--port"))))
server.listen(64)
say("listening, pid", os.getpid())
gate = option("--gate")
while True:
    try:
        client, _ = server.accept()
        path = client.recv(65536).split(b" ")[1].decode()
        code = 200
        if path == "/health" and gate and not os.path.exists(gate):
            code = 503
        if path.startswith("/say/"):
            say(path[5:])
        if path.startswith("/flood/"):
            count = int(path[7:])
            for number in range(count):
                os.write(1, b"flood line %08d\n" % number)
        body = str(os.getpid()).encode() if path != "/env" else os.environ.get("SHOWN", "").encode()
        client.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (code, len(body)) + body)
        client.close()
        if path.startswith("/exit/"):
            say("last words")
            os._exit(int(path[6:]))
    except (ConnectionError, IndexError):
        pass
"""


class ScriptEngine:
    """Runs SCRIPT with the spec's arguments. `on_launch` sees each port before the process starts."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "engine.py"
        self.script.write_text(SCRIPT)
        self.on_launch: Callable[[int], None] = lambda _port: None
        self.on_prepare: Callable[[EngineSpec, Progress], str | None] = lambda _spec, _progress: None
        self.launches = 0

    def check(self, spec: EngineSpec) -> None:
        if "--refused" in spec.args:
            raise InvalidInput("--refused is refused", field="engine.args")

    def prepare(self, spec: EngineSpec, progress: Progress) -> str | None:
        return self.on_prepare(spec, progress)

    def launch(self, spec: EngineSpec, *, name: str, host: str, port: int, model: str | None) -> Launch:
        self.launches += 1
        self.on_launch(port)
        command = spec.command or (sys.executable, "-I", "-S", str(self.script))
        return Launch(
            argv=(*command, "--host", host, "--port", str(port), *spec.args),
            env=spec.env,
            cwd=spec.cwd,
            health_route=spec.health_route or "/health",
        )


def spec(name: str = "e", *args: str, replicas: int = 1, **engine: Any) -> Spec:
    options: dict[str, Any] = {"start_timeout": 20.0, "stop_grace": 5.0, **engine}
    return Spec(
        name=name,
        provider="local",
        engine=EngineSpec(engine="script", args=args, **options),
        replicas=replicas,
    )


class Local:
    """A provider, its engine, and waiting for what it reports."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.engine = ScriptEngine(folder)
        self.provider = LocalProvider(
            resources={"gpu": 2.0},
            state_dir=folder / "state",
            log_dir=folder / "logs",
            engines={"script": self.engine},
            **options,
        )
        self._news = asyncio.Event()
        self.changes: list[str] = []

    async def open(self) -> Local:
        await self.provider.open(self._heard)
        return self

    def _heard(self, name: str) -> None:
        self.changes.append(name)
        self._news.set()

    async def until(self, fits: Callable[[Status], bool], name: str = "e") -> Status:
        """Wait until the status fits; only a reported change makes it look again."""
        async with asyncio.timeout(DEADLINE):
            while True:
                self._news.clear()
                status = await self.provider.observe(name)
                if fits(status):
                    return status
                await self._news.wait()

    async def until_state(self, state: State, name: str = "e") -> Status:
        return await self.until(lambda status: status.state is state and status.message != "stopping", name)

    async def awake(self, it: Spec) -> Status:
        """Create it, wake it, and wait until all replicas are ready."""
        await self.provider.create(it)
        await self.provider.wake(it.name)
        return await self.until_ready(it.replicas, it.name)

    async def until_ready(self, count: int = 1, name: str = "e") -> Status:
        status = await self.until(
            lambda s: s.state is State.FAILED or (s.state is State.RUNNING and len(s.replicas) == count), name
        )
        assert status.state is State.RUNNING, status.message
        return status


@asynccontextmanager
async def local(folder: Path, **options: Any) -> AsyncIterator[Local]:
    it = await Local(folder, **options).open()
    try:
        yield it
    finally:
        await it.provider.close()


async def get(status: Status, path: str, replica: int = 0) -> str:
    """Ask an engine something; returns the body."""
    host, port = status.replicas[replica].url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def pid_of(status: Status, replica: int = 0) -> int:
    return int(await get(status, "/pid", replica))


async def line_with(provider: LocalProvider, text: str, name: str = "e") -> str:
    """Follow the log until a line has this text."""
    async with asyncio.timeout(DEADLINE):
        async for line in provider.logs(name, follow=True):
            if text in line:
                return line
    raise AssertionError("the log ended")
