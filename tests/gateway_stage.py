"""The gateway on a real socket, between raw clients and endpoints that say what a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from uvicorn.server import ServerState

from lamplighter.control.demand import SOMEBODY, Caller, Claim, Listing
from lamplighter.domain.endpoint import Phase, Replica
from lamplighter.domain.usage import UsageRecord
from lamplighter.engines.tasks import RootTasks
from lamplighter.errors import EndpointPaused, LamplighterError, Unavailable, WakeTimeout
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.server import uvicorn_config
from lamplighter.gateway.settings import GatewaySettings

PATIENCE = 10.0
SOON = GatewaySettings(sweep_every=0.01, watch_after=0.01)


class StageClaim:
    def __init__(self, replica: Replica, waited: float = 0.0) -> None:
        self.replica = replica
        self.waited = waited
        self.released = asyncio.Event()
        self.releases = 0
        self.failures = 0
        self.struggles = 0
        self.abandons = 0
        self.counts = True

    def release(self) -> None:
        self.releases += 1
        self.released.set()

    def failed(self) -> None:
        self.failures += 1

    def struggled(self) -> None:
        self.struggles += 1

    def abandoned(self) -> None:
        self.abandons += 1

    def uncount(self) -> None:
        self.counts = False


class StageDemand:
    """One endpoint, `lamp`, also known as `bulb`. Awake as long as `replica` is set; `claim` waits until it is."""

    def __init__(
        self,
        url: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        proxied: bool = False,
        model: str | None = None,
    ) -> None:
        self.replica = Replica(id="1", url=url, headers=headers, proxied=proxied, model=model) if url else None
        self.patience = 300.0
        self.tasks: RootTasks | None = None
        self.claims: list[StageClaim] = []
        self.public = False
        self.asked: list[float | None] = []
        self.callers: list[Caller] = []
        self.wanted = 0
        self.expected = 7.0
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._granted: asyncio.Future[Replica] | None = None
        self.probed: list[float] = []
        self.paused = False
        self.busy = False
        self.is_full = False
        """Whether it is awake with every slot taken."""
        self._opened: asyncio.Future[Replica] | None = None

    def resolve(self, model: str) -> str | None:
        return "lamp" if model in {"lamp", "bulb"} else None

    def known(self) -> Sequence[str]:
        return ["lamp", "bulb"]

    def is_probe(self, name: str, path: str) -> bool:
        return path == "/health"

    def root_tasks(self, name: str) -> RootTasks | None:
        return self.tasks

    def idle_timeout(self, name: str) -> float | None:
        return 900.0

    def wake_timeout(self, name: str) -> float:
        return self.patience

    def too_late(self, name: str, waited: float) -> WakeTimeout:
        return WakeTimeout(f"not ready after {waited:.1f} s", retry_after=41.0)

    def is_public(self, name: str) -> bool:
        return self.public

    def listings(self) -> Sequence[Listing]:
        phase = Phase.RUNNING if self.replica else Phase.SLEEPING
        return [Listing(name="lamp", model="org/lamp", phase=phase, task="text-generation", created=7)]

    def try_claim(self, name: str) -> Claim | None:
        return self._grant(self.replica) if self.replica and not self.is_full else None

    def want(self, name: str, caller: Caller = SOMEBODY) -> bool:
        if self.paused:
            return False
        self.wanted += 1
        return True

    def is_awake(self, name: str) -> bool:
        return self.replica is not None or self.busy

    def is_starting(self, name: str) -> bool:
        return not self.is_awake(name) and bool(self.asked)

    def is_paused(self, name: str) -> bool:
        return self.paused

    def expected_wait(self, name: str) -> float:
        return 0.0 if self.replica and not self.is_full else self.expected

    def in_flight(self, name: str) -> int:
        return sum(not claim.releases for claim in self.claims)

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY) -> Claim:
        if self.paused:
            raise EndpointPaused(name)
        self.asked.append(timeout)
        self.callers.append(caller)
        self._granted = asyncio.get_running_loop().create_future()
        self.waiting.set()
        try:
            return self._grant(await self._granted, waited=1.5)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def await_awake(self, name: str, timeout: float) -> Claim:
        self.probed.append(timeout)
        if self.paused:
            raise EndpointPaused(name)
        self._opened = asyncio.get_running_loop().create_future()
        self.waiting.set()
        try:
            async with asyncio.timeout(timeout):
                claim = self._grant(await self._opened)
        except TimeoutError:
            raise Unavailable(f"{name} is not awake") from None
        claim.uncount()
        return claim

    def open(self, url: str) -> None:
        """Let in the probe that is held."""
        assert self._opened is not None
        self._opened.set_result(Replica(id="2", url=url))

    def wake(self, url: str) -> None:
        """Grant what waits."""
        assert self._granted is not None
        self._granted.set_result(Replica(id="2", url=url))

    def refuse(self, error: LamplighterError) -> None:
        """Fail what waits."""
        assert self._granted is not None
        self._granted.set_exception(error)

    def _grant(self, replica: Replica, waited: float = 0.0) -> StageClaim:
        self.claims.append(StageClaim(replica, waited))
        return self.claims[-1]

    @property
    def touched(self) -> bool:
        """Whether any request expressed demand."""
        return bool(self.claims or self.asked or self.wanted)


class Records:
    def __init__(self) -> None:
        self.all: list[UsageRecord] = []
        self._new = asyncio.Event()

    def add(self, record: UsageRecord) -> None:
        self.all.append(record)
        self._new.set()

    async def one(self) -> UsageRecord:
        """The only record, as soon as it is there."""
        async with asyncio.timeout(PATIENCE):
            while not self.all:
                self._new.clear()
                await self._new.wait()
        assert len(self.all) == 1
        return self.all[0]


@dataclass
class Stage:
    gateway: Gateway
    demand: StageDemand
    usage: Records
    port: int
    connections: set[Any]
    """What uvicorn has open to clients."""

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        try:
            async with asyncio.timeout(PATIENCE):
                yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(
        self, path: str = "/v1/chat/completions", body: Any = None, *, method: str = "POST", **headers: str
    ) -> Reply:
        """Send one request and read all of its answer; JSON in the body if it isn't bytes."""
        async with self.client() as client:
            client.send(request(path, body, method=method, **headers))
            return await client.reply(method=method)

    @property
    def idle(self) -> bool:
        """Whether nothing is held any more."""
        services = self.gateway._services
        return not services.sweeper.active and not services.held.used


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    cut: bool = False
    """The body ended before its end."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: bytearray = field(default_factory=bytearray)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Reply:
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = raw.rstrip().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return Reply(int(status.split()[1]), headers)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def reply(self, *, method: str = "POST") -> Reply:
        reply = await self.head()
        if method == "HEAD" or reply.status in {204, 304}:
            return reply
        parts = []
        try:
            if reply.headers.get("transfer-encoding") == "chunked":
                while part := await self.chunk():
                    parts.append(part)
            else:
                parts.append(await self.reader.readexactly(int(reply.headers["content-length"])))
        except (asyncio.IncompleteReadError, ConnectionError):
            reply.cut = True
        reply.body = b"".join(parts)
        return reply


def request(path: str, body: Any = None, *, method: str = "POST", **headers: str) -> bytes:
    """The bytes of a request; underscores in the names of headers stand for hyphens."""
    if body is None and method == "POST":
        body = {"model": "lamp"}
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"host": "gateway", "content-type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    if data:
        given |= {"content-length": str(len(data))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


@contextlib.asynccontextmanager
async def stage(
    demand: StageDemand | None = None, settings: GatewaySettings = SOON, *, keep_alive: float = 75, **options: Any
) -> AsyncIterator[Stage]:
    """The gateway, served as in production but for signals and the lifespan."""
    demand, usage = demand or StageDemand(), Records()
    gateway = Gateway(demand, usage, settings, **options)
    config = uvicorn_config(gateway, settings, log_config=None, timeout_keep_alive=keep_alive)
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    try:
        yield Stage(gateway, demand, usage, server.sockets[0].getsockname()[1], state.connections)
        async with asyncio.timeout(PATIENCE):
            while state.tasks:
                await asyncio.wait(state.tasks)
    finally:
        for connection in list(state.connections):
            connection.transport.abort()
        server.close()
        await server.wait_closed()
        gateway.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the other side does without telling anybody."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


def reset(writer: asyncio.StreamWriter) -> None:
    """Hang up with a reset, which the other side sees as an error, and drop what was not sent."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


Script = Callable[["Visit"], Awaitable[None]]


@dataclass
class Visit:
    """One connection to a scripted endpoint."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """The next request: its first line, headers and body. Raises IncompleteReadError at the end."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        assert len(headers) == len(lines), "a header was sent twice"
        return line, headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the gateway hangs up."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Hang up with a reset rather than a goodbye."""
        reset(self.writer)


@dataclass
class ScriptedEndpoint:
    url: str
    visits: list[Visit]


@contextlib.asynccontextmanager
async def endpoint(script: Script, **options: Any) -> AsyncIterator[ScriptedEndpoint]:
    """A server whose every connection follows the script; a failing script fails the test."""
    visits: list[Visit] = []
    failures: list[Exception] = []
    running: set[asyncio.Task[Any]] = set()

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        visits.append(visit := Visit(len(visits) + 1, reader, writer))
        try:
            await script(visit)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:
            failures.append(error)
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0, limit=1 << 20, **options)
    scheme = "https" if options.get("ssl") else "http"
    try:
        yield ScriptedEndpoint(f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}", visits)
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        raise failures[0]


def answer(body: bytes = b'{"ok":true}', *, status: str = "200 OK", headers: str = "") -> bytes:
    """A plain answer."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def always(data: bytes) -> Script:
    """Answers every request on every connection with the same bytes."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(data)

    return script


def once(data: bytes) -> Script:
    """Answers one request, and hangs up."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(data)

    return script


@contextlib.asynccontextmanager
async def relayed(
    script: Script, settings: GatewaySettings = SOON, headers: tuple[tuple[str, str], ...] = (), **options: Any
) -> AsyncIterator[Stage]:
    """The gateway in front of a scripted endpoint that is awake."""
    async with endpoint(script) as there, stage(StageDemand(there.url, headers), settings, **options) as here:
        yield here
