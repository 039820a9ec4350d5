"""A management API on a real socket that answers by script, and a clock that nobody has to wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from lamplighter.domain.secret import Secret
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.forms import DeploymentForm
from lamplighter.hf.pace import Pace

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456"
OWNER = {"type": "user", "name": "me", "orgs": [], "canPay": True}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Reply:
    """`drop` hangs up without a word, `cut` in the midst of the body. `pieces` are sent one by one, then it hangs up.

    With `drips` a blank follows every so many seconds, for ever.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: bool = False
    pieces: tuple[bytes | asyncio.Event, ...] | None = None
    drips: float | None = None

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


DROPPED = Reply(drop=True)
Script = Reply | Callable[[Asked], Reply]


class Stage:
    """`script` adds what is answered to a method and path, one after another; the last one stays."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.was_asked = asyncio.Event()
        self._scripts: dict[tuple[str, str], list[Script]] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    def script(self, method: str, path: str, *replies: Script) -> None:
        self._scripts[method, path] = list(replies)

    def questions(self, method: str | None = None, path: str | None = None) -> list[Asked]:
        return [
            asked
            for asked in self.asked
            if (method is None or asked.method == method) and (path is None or asked.path == path)
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (item.partition(":") for item in rest if item)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = line.split(" ")
        parts = urlsplit(target)
        body = json.loads(raw) if raw else None
        asked = Asked(method, parts.path, dict(parse_qsl(parts.query)), headers, body)
        self.asked.append(asked)
        self.was_asked.set()
        return await self._answer(self._reply(asked), writer)

    def _reply(self, asked: Asked) -> Reply:
        script = self._scripts.get((asked.method, unquote(asked.path)))
        if script is None:
            return Reply(404, {"error": "Not Found: no such route", "code": "NOT_FOUND"})
        reply = script[0] if len(script) == 1 else script.pop(0)
        return reply if isinstance(reply, Reply) else reply(asked)

    async def _answer(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        if reply.drop:
            return False
        content = reply.content() if reply.pieces is None else b""
        headers = {"Content-Type": "application/json", **reply.headers}
        headers |= {"Connection": "close"} if reply.pieces is not None else {"Content-Length": str(len(content))}
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode())
        writer.write(content[: len(content) // 2] if reply.cut else content)
        for piece in reply.pieces or ():
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                writer.write(piece)
                await writer.drain()
        while reply.drips is not None:
            await asyncio.sleep(reply.drips)
            writer.write(b" ")
            await writer.drain()
        await writer.drain()
        return not reply.cut and reply.pieces is None

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def stage(owner: Any = OWNER) -> AsyncIterator[Stage]:
    played = Stage()
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0, limit=1 << 22)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    played.script("GET", "/api/whoami-v2", Reply(body=owner))
    try:
        yield played
    finally:
        server.close()
        played.close()
        await asyncio.sleep(0)


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1_700_000_000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def client(url: str, *, time: Time | None = None, **options: Any) -> AsyncIterator[ManagementApi]:
    passing = time or Time()
    options.setdefault("token", Secret(TOKEN))
    options.setdefault("timeout", 5.0)
    api = ManagementApi(
        url,
        clock=passing.clock,
        wall=passing.wall,
        sleep=passing.sleep,
        chance=lambda: 0.5,
        **options,
    )
    try:
        yield api
    finally:
        await api.close()


def document(name: str = "bert", **more: Any) -> dict[str, Any]:
    """An endpoint as the cloud tells it."""
    state = more.pop("state", "running")
    return {
        "name": name,
        "type": "authenticated",
        "healthRoute": "/health",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "gpu",
            "instanceType": "nvidia-l4",
            "instanceSize": "x1",
            "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15, "measure": {"hardwareUsage": None}},
        },
        "model": {
            "repository": "org/model",
            "framework": "pytorch",
            "revision": "6c0e6080953db56375760c0471a8c5f2929baf11",
            "task": "text-generation",
            "image": {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "port": 8000, "healthRoute": "/health"}},
            "command": [],
            "args": ["--max-model-len", "4096"],
            "env": {"A": "1"},
            "secrets": {},
        },
        "tags": ["nlp"],
        "status": {
            "state": state,
            "message": "Endpoint is ready",
            "createdAt": "2026-10-26T12:41:53.263078506Z",
            "createdBy": {"id": "1", "name": "me"},
            "updatedAt": "2026-10-26T12:41:53.263079138Z",
            "readyReplica": 1,
            "targetReplica": 1,
            "url": "https://abc.us-east-1.aws.endpoints.huggingface.cloud/",
            "private": {"serviceName": None},
        },
        **more,
    }


def form(**more: Any) -> DeploymentForm:
    """What `document` was made from."""
    return DeploymentForm(
        **{
            "name": "bert",
            "repository": "org/model",
            "vendor": "aws",
            "region": "us-east-1",
            "accelerator": "gpu",
            "instance_type": "nvidia-l4",
            "instance_size": "x1",
            **more,
        }
    )


SHORT = Pace(attempts=3, base=1.0, cap=4.0, deadline=60.0)
