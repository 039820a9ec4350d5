"""Requests mutated at random, against the gateway on the event loop of production and a server that is strict.

Whatever comes in: the endpoint gets whole, well-formed requests and never more of them than were sent, every connection
comes to an end, and no answer is an error of ours that isn't documented.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import pytest
import uvloop

from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import Stage, StageDemand, Visit, answer, endpoint, stage, until

pytestmark = pytest.mark.acceptance

SECONDS = 4.0
AT_ONCE = 16
HANG = 15.0
"""What a connection may take; all deadlines of the gateway are below it (seconds)."""
SETTINGS = GatewaySettings(
    head_timeout=0.1,
    body_timeout=0.1,
    first_byte_timeout=10.0,
    between_bytes_timeout=10.0,
    max_body_bytes=20_000,
    sweep_every=0.02,
)
DOCUMENTED = {200, 204, 400, 404, 405, 408, 413, 415, 421, 422, 431, 501}

BODY = b'{"model": "lamp", "messages": [{"role": "user", "content": "hi"}]}'
_LINE = re.compile(rb"[A-Z-]+ /[!-~]* HTTP/1\.1").fullmatch
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*").fullmatch


def _framed(
    extra: bytes = b"", body: bytes = BODY, *, chunked: bool = False, path: bytes = b"/v1/chat/completions"
) -> bytes:
    head = (
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n" + extra
    )
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 20]), body[i : i + 20]) for i in range(0, len(body), 20))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


VALID = [
    _framed(),
    _framed(chunked=True),
    _framed(b"Expect: 100-continue\r\n"),
    _framed(b"Connection: close\r\n"),
    _framed(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
    _framed(b"X-Scale-Up-Timeout: 5\r\nX-Request-Id: fuzz-1\r\nAuthorization: Bearer x\r\n"),
    _framed(path=b"/endpoints/lamp/generate?a=%20b", chunked=True),
    _framed(body=b""),
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /endpoints/lamp/some/path?q=1 HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\n\r\n",
    b"HEAD /endpoints/lamp/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"DELETE /endpoints/lamp/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
]

TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b"\x0b", b"\xa0", b"\xff", b":", b";", b",", b"0", b"1", b"-1", b"+",
    b"0x10", b"ffffffffffffffff", b"99999999999999999999", b"chunked", b"identity", b"gzip, chunked", b"close", b"upgrade", b"HTTP/1.0",
    b"HTTP/1.1", b"HTTP/2.0", b"GET ", b"POST ", b"CONNECT ", b"/", b"//", b"..", b"%00", b"%0d%0a", b"#", b"?", b"http://elsewhere/",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length : 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Connection: content-length\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n", b"X-Lamplighter-Model: lamp\r\n", b" folded: yes\r\n", b"Trailer: x\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n",
    b"GET /endpoints/lamp/smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]  # fmt: skip


def _put(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(TOKENS) + raw[at:]


def _replace(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(TOKENS) + raw[at + chance.randrange(1, 12) :]


def _drop(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + raw[at + chance.randrange(1, 8) :]


def _flip(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw)) if raw else 0
    return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]


def _double_line(chance: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    at = chance.randrange(len(lines))
    return b"\r\n".join([*lines[: at + 1], *lines[at:]])


def _swap_lines(chance: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def _cut(chance: random.Random, raw: bytes) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _swell(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return (
        raw[:at]
        + chance.choice([b"a", b"\r\n", b"0", b"a: b\r\n", b"1\r\na\r\n"]) * chance.choice([50, 5000, 80_000])
        + raw[at:]
    )


def _another_number(chance: random.Random, raw: bytes) -> bytes:
    found = list(re.finditer(rb"\d{1,12}", raw))
    if not found:
        return raw
    one = chance.choice(found)
    number = chance.choice(
        [b"%d" % (int(one[0]) + chance.choice([-1, 1, 2, 100])), b"0", b"00" + one[0], b"+" + one[0], b"-1"]
    )
    return raw[: one.start()] + number + raw[one.end() :]


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    _put, _put, _put, _replace, _replace, _drop, _flip, _double_line, _swap_lines, _cut, _swell, _another_number, _another_number,
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    raw = chance.choice(VALID)
    for _ in range(chance.choice([0, 1, 1, 2, 3, 6])):
        raw = chance.choice(MUTATIONS)(chance, raw)
    return raw


def most_requests(raw: bytes) -> int:
    """How many requests the bytes can hold at most, however they are read: each has a method and a target."""
    return len(re.findall(rb"[A-Za-z] +[/*hH]", raw))


@dataclass
class Strict:
    """An endpoint that takes nothing but what RFC 9112 says a sender must write."""

    asked: int = 0
    faults: list[str] = field(default_factory=list)

    async def __call__(self, visit: Visit) -> None:
        while True:
            head = await visit.reader.readuntil(b"\r\n\r\n")
            line, *lines = head[:-4].split(b"\r\n")
            names = [each.split(b":")[0].lower() for each in lines]
            lengths = [each.split(b":")[1] for each in lines if each.lower().startswith(b"content-length:")]
            for wrong in self._wrong(line, lines, names):
                self.faults.append(f"{wrong}: {head!r}")
            self.asked += 1
            await visit.reader.readexactly(int(lengths[0]) if lengths else 0)
            await visit.say(answer(b"" if line.startswith(b"HEAD ") else b"{}"))

    @staticmethod
    def _wrong(line: bytes, lines: list[bytes], names: list[bytes]) -> list[str]:
        checks = {
            "request line": _LINE(line),
            "header": all(_HEADER(each) for each in lines),
            "one host": names.count(b"host") == 1,
            "one length at most": names.count(b"content-length") <= 1,
            "one request id": names.count(b"x-request-id") == 1,
            "framing and secrets stay": not {*names} & {b"transfer-encoding", b"connection", b"upgrade", b"authorization", b"cookie", b"expect"},
        }  # fmt: skip
        return [name for name, holds in checks.items() if not holds]


async def converse(s: Stage, chance: random.Random, raw: bytes) -> list[int]:
    """Send the bytes in a few pieces, read until the server hangs up or is quiet, and leave; the statuses that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", s.port, limit=1 << 20)
    got = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                got.extend(piece)

    reading = asyncio.ensure_future(read())
    with contextlib.suppress(ConnectionError, RuntimeError):  # the latter from uvloop: the connection is closed already
        ends = sorted(chance.randrange(len(raw) + 1) for _ in range(chance.choice([0, 0, 1, 3])))
        for start, end in zip([0, *ends], [*ends, len(raw)], strict=True):
            writer.write(raw[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        # What is left of an unfinished request is ended by the gateway's own deadlines, or a request follows and ends it.
        await asyncio.wait({reading}, timeout=0.15)
        if not reading.done():
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await asyncio.wait({reading}, timeout=HANG)
    hung = not reading.done()
    reading.cancel()
    writer.transport.abort()
    assert not hung, f"hangs: {raw!r} was answered {bytes(got)[:500]!r}"
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got) if status != b"100"]


async def one_case(s: Stage, strict: Strict, seed: int) -> None:
    chance = random.Random(seed)
    raw = mutated(chance)
    before = strict.asked
    statuses = await converse(s, chance, raw)
    most = most_requests(raw)
    assert set(statuses) <= DOCUMENTED, f"seed {seed}: {statuses} for {raw[:2000]!r}"
    assert len(statuses) <= most + 1, f"seed {seed}: {len(statuses)} answers for {raw[:2000]!r}"
    assert strict.asked - before <= most, f"seed {seed}: {strict.asked - before} requests for {raw[:2000]!r}"
    assert strict.asked - before <= len(statuses), f"seed {seed}: a request without an answer for {raw[:2000]!r}"
    assert not strict.faults, f"seed {seed}: {strict.faults[0]} for {raw[:2000]!r}"


async def storm(start: int, seconds: float) -> int:
    """Cases with successive seeds, several at once, each with a gateway's endpoint of its own; how many there were."""
    seeds = iter(range(start, start + 10_000_000))
    until_when = monotonic() + seconds
    count = 0

    async def worker() -> None:
        nonlocal count
        strict = Strict()
        async with endpoint(strict) as there, stage(StageDemand(there.url), SETTINGS, keep_alive=0.3) as s:
            while monotonic() < until_when:
                await one_case(s, strict, next(seeds))
                count += 1
            await until(lambda: s.idle)
            assert all(claim.releases == 1 for claim in s.demand.claims)
            assert len(s.usage.all) == len(s.demand.claims)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return count


def test_mutated_requests_are_understood_in_one_way_or_refused_and_never_hang() -> None:
    assert uvloop.run(storm(0, SECONDS)) > 100
