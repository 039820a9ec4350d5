"""A reverse proxy on real sockets that does to requests what networks, proxies and overloaded servers do.

    with FaultProxy(server.url) as proxy:
        rule = proxy.plan(lost_answer(), method="POST", path=r"/v2/endpoint/acme$")
        ...                                    # talk to proxy.url
        assert rule.hits == 1

It runs in a thread of its own, so synchronous tests use it as well. A request that no rule is due for passes through
as it is, streams piece by piece. All methods may be called from any thread.

Each request goes over its own connection to the server, so a client that leaves ends its request there too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

Plane = Literal["management", "data"]

_MANAGEMENT = re.compile(r"/(v2|v3|api|healthz|readyz)(/|$)").match
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"})
_PIECE = 64 * 1024
_MAX_HEAD = 64 * 1024
_MAX_BODY = 64 * 1024 * 1024
_MAX_SEEN = 50_000
_KEPT_OF_BODY = 4096
_PATIENCE = 10.0


class _Gone(Exception):
    """The other side closed or reset the connection."""


@dataclass(frozen=True, slots=True)
class Head:
    """A first line and headers, as they came."""

    line: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The last header of this lower-case name."""
        return next((value for key, value in reversed(self.headers) if key.lower() == name), None)

    def with_headers(self, *new: tuple[str, str], less: frozenset[str] = frozenset()) -> Head:
        """The same with these instead of others of their names, and without those in `less`."""
        gone = less | {name for name, _ in new}
        return replace(self, headers=(*((k, v) for k, v in self.headers if k.lower() not in gone), *new))

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def chunked(self) -> bool:
        return (self.get("transfer-encoding") or "").lower() == "chunked"

    @property
    def framed(self) -> bool:
        """Whether the end of an answer's body can be told from its head."""
        return self.chunked or self.get("content-length") is not None or self.status in {204, 304}

    @property
    def is_json(self) -> bool:
        return (self.get("content-type") or "").startswith("application/json")

    def render(self) -> bytes:
        lines = [self.line, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class _Side:
    """One connection, read through a buffer so that looking for a goodbye loses no bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._buffer = bytearray()

    async def _fill(self) -> bool:
        try:
            data = await self._reader.read(_PIECE)
        except OSError:
            return False
        self._buffer += data
        return bool(data)

    async def gone(self) -> None:
        """Wait until the other side says goodbye. What it sends until then is kept for the next read."""
        while len(self._buffer) < _MAX_BODY and await self._fill():
            pass

    async def head(self) -> Head:
        """The next head. Raises _Gone."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD or not await self._fill():
                raise _Gone
        text = self._take(end + 4).decode("latin-1")
        line, *rest = text.rstrip("\r\n").split("\r\n")
        pairs = (each.partition(":") for each in rest)
        return Head(line, tuple((name, value.strip()) for name, _, value in pairs))

    async def body(self, head: Head, *, is_answer: bool) -> AsyncIterator[bytes]:
        """The payload that follows a head, in the pieces in which it comes. Raises _Gone when it is cut off."""
        if head.chunked:
            while size := int((await self._line()).split(b";")[0], 16):
                async for piece in self._exactly(size):
                    yield piece
                await self._line()
            while await self._line():
                pass
        elif (length := head.get("content-length")) is not None:
            async for piece in self._exactly(int(length)):
                yield piece
        elif is_answer:
            while self._buffer or await self._fill():
                yield self._take(len(self._buffer))

    async def whole(self, head: Head, *, is_answer: bool) -> bytes:
        """The payload in one piece."""
        pieces = [piece async for piece in self.body(head, is_answer=is_answer)]
        return b"".join(pieces)

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._buffer and not await self._fill():
                raise _Gone
            piece = self._take(min(size, len(self._buffer)))
            size -= len(piece)
            yield piece

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD or not await self._fill():
                raise _Gone
        return self._take(end + 2)[:-2]

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def say(self, data: bytes) -> None:
        """Write, at the reader's pace. Raises _Gone."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            raise _Gone from None

    async def close(self) -> None:
        """Say goodbye once everything is sent; after a second, without."""
        try:
            self.writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self.writer.wait_closed(), 1)
        finally:
            self.writer.transport.abort()

    def reset(self) -> None:
        """End it so that the other side sees "connection reset by peer"."""
        link = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


# The faults


class Fault:
    """What is done to a request instead of passing it. Each says in `name` how it is counted."""

    ends_with_client: ClassVar[bool] = True
    """Whether a client that leaves ends it; else what the server was asked is done to its end."""

    @property
    def name(self) -> str:
        return type(self).__name__

    async def meet(self, visit: Visit) -> bool:
        """Do it; True when the client's connection may be used again."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Answer(Fault):
    """Any answer of the proxy's own. The server is not asked, or with `executed`, it is, and its answer is dropped."""

    ends_with_client: ClassVar[bool] = False
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    executed: bool = False

    @property
    def name(self) -> str:
        return str(self.status)

    async def meet(self, visit: Visit) -> bool:
        if self.executed:
            await visit.execute()
        return await visit.answer(self.status, self.body, self.headers)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """A reset instead of an answer. With `executed` the server has done what was asked, and only the answer is lost."""

    ends_with_client: ClassVar[bool] = False
    executed: bool = False

    @property
    def name(self) -> str:
        return "LostAnswer" if self.executed else "Reset"

    async def meet(self, visit: Visit) -> bool:
        if self.executed:
            await visit.execute()
        visit.client.reset()
        return False


@dataclass(frozen=True, slots=True)
class Hangup(Fault):
    """A plain goodbye instead of an answer; the server is not asked.

    Planned with `kept=True` it is what a server does that closes an idle connection just as a request is written.
    """

    async def meet(self, visit: Visit) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """No answer for `bound` seconds, then a goodbye. The server is not asked unless `executed`."""

    ends_with_client: ClassVar[bool] = False
    bound: float = 60.0
    executed: bool = False

    async def meet(self, visit: Visit) -> bool:
        if self.executed:
            await visit.execute()
        await visit.client_left(self.bound)
        return False


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """Pass it on `seconds` later."""

    seconds: float

    async def meet(self, visit: Visit) -> bool:
        if await visit.client_left(self.seconds):
            return False
        return await visit.relay()


@dataclass(frozen=True, slots=True)
class Late(Fault):
    """The server does what was asked; its answer comes `seconds` later, or is dropped when the client has left."""

    ends_with_client: ClassVar[bool] = False
    seconds: float

    async def meet(self, visit: Visit) -> bool:
        head, body = await visit.execute()
        if await visit.client_left(self.seconds):
            return False
        return await visit.answer(head.status, body, head.headers)


@dataclass(frozen=True, slots=True)
class Half(Fault):
    """The server's answer with a true head, cut after `size` bytes of its body; None for half of it."""

    size: int | None = None

    async def meet(self, visit: Visit) -> bool:
        async with visit.asked() as (server, head):
            length = head.get("content-length")
            left = self.size if self.size is not None else int(length) // 2 if length else 64
            await visit.say_head(head)
            async for piece in server.body(head, is_answer=True):
                await visit.say_piece(head, piece[:left])
                left -= len(piece)
                if left <= 0:
                    break
            if not head.framed:  # a goodbye would be the end of it, and nothing would be missing
                visit.client.reset()
        return False


@dataclass(frozen=True, slots=True)
class WrongLength(Fault):
    """The server's answer with a Content-Length that is `by` off: too long is cut short, too short is a torn text."""

    ends_with_client: ClassVar[bool] = False
    by: int = 10

    async def meet(self, visit: Visit) -> bool:
        head, body = await visit.execute()
        length = ("content-length", str(max(0, len(body) + self.by)))
        await visit.say_head(head.with_headers(length, less=frozenset({"transfer-encoding"})))
        await visit.client.say(body)
        return False


@dataclass(frozen=True, slots=True)
class Garbage(Fault):
    """Bytes that are no HTTP, and a goodbye."""

    ends_with_client: ClassVar[bool] = False
    data: bytes = b"\x15\x03\x01\x00\x02\x02\x16 it is a lamp, not a server\r\n\r\n"
    executed: bool = False

    async def meet(self, visit: Visit) -> bool:
        if self.executed:
            await visit.execute()
        await visit.client.say(self.data)
        return False


@dataclass(slots=True)
class SlowState(Fault):
    """For `seconds` from the first time it would be seen, an endpoint's state `of` is shown as `shown` instead.

    Works on endpoint JSON (`{"status": {"state": …}}`, alone or in `items`); each endpoint has its own clock.
    """

    seconds: float
    shown: str = "initializing"
    of: str = "running"
    _until: dict[str, float] = field(default_factory=dict)

    async def meet(self, visit: Visit) -> bool:
        return await visit.relay(self._rewrite)

    def _rewrite(self, document: Any) -> None:
        endpoints = document.get("items", [document]) if isinstance(document, dict) else document
        for one in endpoints if isinstance(endpoints, list) else []:
            status = one.get("status") if isinstance(one, dict) else None
            if not isinstance(status, dict) or status.get("state") != self.of:
                continue
            if time.monotonic() < self._until.setdefault(str(one.get("name")), time.monotonic() + self.seconds):
                status["state"] = self.shown
                status["readyReplica"] = 0


def rate_limited(seconds: int = 1, *, bucket: str = "api") -> Answer:
    """429 as the Hub sends it: nothing left in this window, which ends in `seconds`."""
    headers = (
        ("content-type", "application/json"),
        ("retry-after", str(seconds)),
        ("ratelimit", f'"{bucket}";r=0;t={seconds}'),
        ("ratelimit-policy", f'"fixed window";"{bucket}";q=1000;w=300'),
    )
    return Answer(429, b'{"error":"Too many requests"}', headers)


def unavailable() -> Answer:
    """503 as the cloud's proxy says it of an endpoint that is scaled to zero or still starts."""
    body = b'{"error":"503 Service Unavailable","code":"SERVICE_UNAVAILABLE"}'
    return Answer(503, body, (("content-type", "application/json"),))


def error(status: int, text: str = "internal error", *, executed: bool = False) -> Answer:
    """Any status with an error as the management API words it."""
    body = json.dumps({"error": text}).encode()
    return Answer(status, body, (("content-type", "application/json"),), executed)


def html(status: int = 503) -> Answer:
    """A load balancer's page instead of JSON."""
    body = b"<html><head><title>%d</title></head><body><center>try again</center></body></html>" % status
    return Answer(status, body, (("content-type", "text/html"),))


def lost_answer() -> Reset:
    """The server did it, and nobody learns so."""
    return Reset(executed=True)


# When they happen


@dataclass(slots=True, eq=False)
class Rule:
    """When a fault happens. `hits` counts how often it did."""

    fault: Fault
    method: str | None = None
    path: str | None = None
    plane: Plane | None = None
    kept: bool = False
    skip: int = 0
    every: int = 1
    times: int | None = 1
    hits: int = 0
    _matched: int = 0
    _hit: threading.Condition = field(default_factory=threading.Condition)

    def due(self, request: Request) -> bool:
        """Whether this request gets the fault; counts it."""
        if not self._matches(request) or (self.times is not None and self.hits >= self.times):
            return False
        self._matched += 1
        if self._matched <= self.skip or (self._matched - self.skip - 1) % self.every:
            return False
        with self._hit:
            self.hits += 1
            self._hit.notify_all()
        return True

    def _matches(self, request: Request) -> bool:
        return (
            self.method in {None, request.method}
            and (self.path is None or re.search(self.path, request.path) is not None)
            and self.plane in {None, request.plane}
            and (not self.kept or request.on_kept)
        )

    def wait(self, hits: int = 1, timeout: float = _PATIENCE) -> None:
        """Block until it happened that often. Raises TimeoutError."""
        with self._hit:
            if not self._hit.wait_for(lambda: self.hits >= hits, timeout):
                raise TimeoutError(f"{self.fault.name} happened {self.hits} times, not {hits}, in {timeout:g} s")


@dataclass(slots=True, eq=False)
class Storm:
    """A random mix: each fault with its probability, at most `in_a_row` of them for one method and path.

    The n-th request of a method and path meets the same fault in each run with this seed, in whatever order requests
    of different paths come.
    """

    seed: int
    mix: Sequence[tuple[float, Fault]]
    plane: Plane | None = None
    path: str | None = None
    in_a_row: int = 3
    hits: Counter[str] = field(default_factory=Counter)
    _numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    _rows: Counter[tuple[str, str]] = field(default_factory=Counter)

    def pick(self, request: Request) -> Fault | None:
        """The fault of this request, if any; counts it."""
        if self.plane not in {None, request.plane} or (
            self.path is not None and not re.search(self.path, request.path)
        ):
            return None
        key = (request.method, request.path.partition("?")[0])
        self._numbers[key] += 1
        fault = self._drawn(*key)
        if fault is None or self._rows[key] >= self.in_a_row:
            self._rows[key] = 0
            return None
        self._rows[key] += 1
        self.hits[fault.name] += 1
        return fault

    def _drawn(self, method: str, path: str) -> Fault | None:
        drawn = random.Random(f"{self.seed} {method} {path} {self._numbers[method, path]}").random()
        for chance, fault in self.mix:
            drawn -= chance
            if drawn < 0:
                return fault
        return None


def usual_mix(chance: float = 0.3, *, wait: float = 0.2) -> list[tuple[float, Fault]]:
    """What goes wrong between a client and a busy service, together with probability `chance`."""
    faults: list[Fault] = [
        rate_limited(1),
        error(500),
        html(502),
        error(503, executed=True),
        Reset(),
        lost_answer(),
        Late(wait),
        Half(),
        Hangup(),
        Garbage(),
    ]
    return [(chance / len(faults), fault) for fault in faults]


# What passes


@dataclass(slots=True)
class Request:
    """One request and what became of it.

    `upstream_status` is what the server answered, None if it wasn't asked or did not say; `status` is what the client
    was told, None if nothing. `fault` names what was done to it. `at` is when it came, monotonic.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    on_kept: bool = False
    at: float = field(default_factory=time.monotonic)
    fault: str | None = None
    forwarded: bool = False
    upstream_status: int | None = None
    status: int | None = None
    done: bool = False

    @property
    def plane(self) -> Plane:
        return "management" if _MANAGEMENT(self.path) else "data"


class Visit:
    """One request on its way, as faults see it."""

    def __init__(self, proxy: FaultProxy, client: _Side, head: Head, body: bytes, request: Request) -> None:
        self.client = client
        self.request = request
        self.left = asyncio.ensure_future(client.gone())
        self._proxy = proxy
        self._head = head
        self._body = body

    async def client_left(self, seconds: float) -> bool:
        """Wait, at most until the client leaves; whether it did."""
        await asyncio.wait([self.left], timeout=seconds)
        return self.left.done()

    @contextlib.asynccontextmanager
    async def asked(self) -> AsyncIterator[tuple[_Side, Head]]:
        """Send the request on and wait for the answer's head. Raises OSError, _Gone."""
        where = urlsplit(self._proxy.upstream)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=_PIECE)
        server = _Side(reader, writer)
        try:
            length = (("content-length", str(len(self._body))),) if self._has_body else ()
            dropped = _HOP_BY_HOP | {"transfer-encoding", "content-length", "expect"}
            if self.request.plane == "management":
                dropped |= {"accept-encoding"}  # addresses in the answer are replaced
            head = self._head.with_headers(*length, ("connection", "close"), less=dropped)
            await server.say(head.render() + self._body)
            self.request.forwarded = True
            answer = await server.head()
            while answer.status < 200:
                answer = await server.head()
            self.request.upstream_status = answer.status
            if self.request.method == "HEAD" or answer.status in {204, 304}:
                answer = answer.with_headers(less=frozenset({"transfer-encoding"}))
            yield server, answer
        finally:
            writer.transport.abort()

    @property
    def _has_body(self) -> bool:
        return bool(self._body) or self.request.method in {"POST", "PUT", "PATCH"}

    @property
    def _bodiless(self) -> bool:
        return self.request.method == "HEAD" or self.request.upstream_status in {204, 304}

    async def execute(self) -> tuple[Head, bytes]:
        """Let the server do it, and keep its whole answer."""
        async with self.asked() as (server, head):
            body = b"" if self._bodiless else await server.whole(head, is_answer=True)
        return head, body

    async def relay(self, rewrite: Callable[[Any], None] | None = None) -> bool:
        """Pass the request and the answer. `rewrite` changes a JSON answer in place."""
        async with self.asked() as (server, head):
            if self._bodiless:
                await self.say_head(head)
                return True
            if head.is_json and self.request.plane == "management":
                body = self._moved(await server.whole(head, is_answer=True), rewrite)
                return await self.answer(head.status, body, head.headers)
            await self.say_head(head)
            async for piece in server.body(head, is_answer=True):
                await self.say_piece(head, piece)
            if head.chunked:
                await self.client.say(b"0\r\n\r\n")
            return head.framed

    def _moved(self, body: bytes, rewrite: Callable[[Any], None] | None) -> bytes:
        """The server's own address is the proxy's here, so that the data plane comes through it as well."""
        body = body.replace(self._proxy.upstream.encode(), self._proxy.url.encode())
        if rewrite is None:
            return body
        document = json.loads(body)
        rewrite(document)
        return json.dumps(document).encode()

    async def answer(self, status: int, body: bytes, headers: Sequence[tuple[str, str]]) -> bool:
        """Send a whole answer."""
        dropped = frozenset({"transfer-encoding", "content-length"})
        head = Head(f"HTTP/1.1 {status} Answer", tuple(headers)).with_headers(less=dropped)
        if status not in {204, 304}:
            head = head.with_headers(("content-length", str(len(body))))
        await self.say_head(head)
        if self.request.method != "HEAD":
            await self.client.say(body)
        return True

    async def say_head(self, head: Head) -> None:
        """Send a head; the connection to the client is its own matter."""
        connection = ("connection", "keep-alive" if head.framed else "close")
        self.request.status = head.status
        await self.client.say(head.with_headers(connection, less=_HOP_BY_HOP).render())

    async def say_piece(self, head: Head, piece: bytes) -> None:
        """Send a piece of a body in the framing that the head announced."""
        if piece:
            await self.client.say(b"%x\r\n%b\r\n" % (len(piece), piece) if head.chunked else piece)


class FaultProxy:
    """Listens on a port of its own on the loopback while the context lasts."""

    def __init__(self, upstream: str) -> None:
        """`upstream` is the server's URL; set it anew when the server comes back elsewhere."""
        self.upstream = upstream.rstrip("/")
        self.seen: deque[Request] = deque(maxlen=_MAX_SEEN)
        self.connections = 0
        self._rules: list[Rule] = []
        self._storm: Storm | None = None
        self._lock = threading.Lock()
        self._greetings = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], _Side] = {}
        self._failures: list[BaseException] = []
        # Bound and never listening, it keeps the port for us while connections are to be refused.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()
        self._reserved.close()
        if self._failures:
            raise self._failures[0]

    # What a test asks for

    def plan(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str | None = None,
        plane: Plane | None = None,
        kept: bool = False,
        skip: int = 0,
        every: int = 1,
        times: int | None = 1,
    ) -> Rule:
        """Let `fault` happen to requests of this method, whose path with query matches the regular expression `path`.

        `kept`: only to those that are not the first on their connection. The first `skip` pass, then each `every`-th
        gets it, `times` in all (None: without end). Rules are asked in the order in which they were planned; the
        first that is due is the one that happens.
        """
        rule = Rule(fault, method, path, plane, kept, skip, every, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def storm(self, storm: Storm | None) -> None:
        """Begin random faults, or end them with None. Planned rules come first."""
        with self._lock:
            self._storm = storm

    def clear(self) -> None:
        """Forget all rules and the storm: from here on everything passes."""
        with self._lock:
            self._rules.clear()
            self._storm = None

    def reset_connections(self, count: int) -> None:
        """Reset the next `count` connections as soon as they are open, before anything of a request is read."""
        with self._lock:
            self._greetings += count

    def refuse(self) -> None:
        """Refuse connections from now on, and reset those that are open, as when the server's machine is gone."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._call(self._listen())

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections while the context lasts."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def count(self, method: str | None = None, path: str = "", *, executed: bool | None = None) -> int:
        """How many requests came; `executed`: only those that the server answered, or did not."""
        return len(self.requests(method, path, executed=executed))

    def requests(self, method: str | None = None, path: str = "", *, executed: bool | None = None) -> list[Request]:
        """The requests that came, oldest first, by method and a regular expression for the path."""
        found = re.compile(path).search
        with self._lock:
            seen = list(self.seen)
        return [
            one
            for one in seen
            if method in {None, one.method} and found(one.path) and executed in {None, one.upstream_status is not None}
        ]

    # The thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._visited, sock=_bound(self.port), limit=_PIECE, backlog=1024)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._open:
            open_now = dict(self._open)
            for task, side in open_now.items():
                side.reset()
                task.cancel()
            await asyncio.gather(*open_now, return_exceptions=True)
            await asyncio.sleep(0)  # transports close their sockets in the turn after `abort`

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = client = _Side(reader, writer)
        self.connections += 1
        try:
            await self._serve(client)
        except (_Gone, asyncio.CancelledError):
            pass  # only `_refuse` cancels, and asyncio's streams would report a cancelled task as a failure
        except Exception as mistake:
            self._failures.append(mistake)
        finally:
            try:
                await client.close()
            finally:
                del self._open[task]

    async def _serve(self, client: _Side) -> None:
        if self._greeted():
            client.reset()
            return
        again = await self._take(client, await client.head(), first=True)
        while again:
            again = await self._take(client, await client.head(), first=False)

    def _greeted(self) -> bool:
        with self._lock:
            self._greetings, reset = max(0, self._greetings - 1), self._greetings > 0
        return reset

    async def _take(self, client: _Side, head: Head, *, first: bool) -> bool:
        method, path, _ = head.line.split(" ")
        request = Request(method, path, {k.lower(): v for k, v in head.headers}, on_kept=not first)
        with self._lock:
            self.seen.append(request)
            fault = self._due(request)
        request.fault = fault.name if fault else None
        try:
            if head.get("expect"):
                await client.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await client.whole(head, is_answer=False)
            request.body = body[:_KEPT_OF_BODY]
            again = await self._meet(Visit(self, client, head, body, request), fault)
        finally:
            request.done = True
        return again and (head.get("connection") or "").lower() != "close"

    def _due(self, request: Request) -> Fault | None:
        for rule in self._rules:
            if rule.due(request):
                return rule.fault
        return self._storm.pick(request) if self._storm is not None else None

    async def _meet(self, visit: Visit, fault: Fault | None) -> bool:
        """Do the fault, or pass. A client that leaves ends what passes at the server, too."""
        work = asyncio.ensure_future(fault.meet(visit) if fault else visit.relay())
        try:
            if fault is None or fault.ends_with_client:
                await asyncio.wait([work, visit.left], return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    return False
            return await work
        except (OSError, _Gone):
            return await self._broken(visit)
        finally:
            visit.left.cancel()
            work.cancel()
            await asyncio.gather(visit.left, work, return_exceptions=True)

    async def _broken(self, visit: Visit) -> bool:
        """The server is not there, or broke off: a proxy's own 502, or a cut where the answer had begun."""
        if visit.request.status is not None:
            return False
        page = html(502)
        return await visit.answer(page.status, page.body, page.headers)


def _bound(port: int) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.bind(("127.0.0.1", port))
    return link
