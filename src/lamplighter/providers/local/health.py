"""Asking an engine's health route, as cheaply as it can be done: a start of 600 ms is asked some 30 times."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

PROBE_TIMEOUT = 2.0
"""Seconds. An engine that takes the connection while it loads answers it as soon as it serves, so waiting is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRoute:
    """Where to ask. `headers` may hold the engine's own key and are secret."""

    host: str
    port: int
    path: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def netloc(self) -> str:
        """`host:port` as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def probe(route: HealthRoute) -> int | None:
    """The HTTP status of the health route's answer, None without an answer that is HTTP."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await _ask(route)
    except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: a line too long, a status that is no number
        return None


def probe_interval(elapsed: float) -> float:
    """Seconds to wait before the next probe: 1 % of the time gone so far, so that asking adds little to any start."""
    return min(0.25, max(0.01, 0.01 * elapsed))


async def _ask(route: HealthRoute) -> int | None:
    reader, writer = await asyncio.open_connection(route.host, route.port)
    try:
        if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
            return None  # TCP connected to itself: nobody listens
        writer.write(_request(route))
        line = await reader.readline()
    finally:
        writer.close()
    parts = line.split(None, 2)
    return int(parts[1]) if len(parts) > 1 and parts[0].startswith(b"HTTP/") else None


def _request(route: HealthRoute) -> bytes:
    lines = [
        f"GET {route.path} HTTP/1.1",
        f"Host: {route.netloc}",
        "Accept: */*",
        "Connection: close",
        *(f"{name}: {value}" for name, value in route.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")
