"""Whether the hosts can be reached, how far they are, and whether our clocks agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.show.words import span, whole

PATIENCE = 10.0
_SKEW_NOTED = 30.0
_SKEW_BAD = 300.0
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Reached:
    """One host: how long an answer took, and by how many seconds our clock is ahead of its own."""

    finding: Finding
    skew: float | None = None


async def reach(check: str, url: str) -> Reached:
    """Ask a host for anything; each answer will do, also a refusal."""
    import httpx2  # noqa: PLC0415 - help should not pay for it

    host = urlsplit(url).netloc.rpartition("@")[2]
    began = time.monotonic()
    try:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            response = await client.get(url)
    except httpx2.TimeoutException:
        return Reached(bad(check, f"{host} did not answer within {PATIENCE:g} s", _advice()))
    except httpx2.HTTPError as error:
        return Reached(bad(check, f"{host} can't be reached: {_reason(error)}", _advice()))
    took = time.monotonic() - began
    return Reached(good(check, f"{host} answered after {span(took)}"), _skew(response.headers.get("date"), took))


async def connect(check: str, url: str) -> Finding:
    """Connect to a host and ask nothing: a request might wake what sleeps there."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=True if parts.scheme == "https" else None
            )
            writer.close()
            await writer.wait_closed()
    except TimeoutError:
        return bad(check, f"{parts.hostname} did not answer within {PATIENCE:g} s", _advice())
    except OSError as error:  # failures of TLS are such, too
        return bad(check, f"{parts.hostname} can't be reached: {_reason(error)}", _advice())
    return good(check, f"{parts.hostname} took a connection after {span(time.monotonic() - began)}")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _advice() -> str:
    return "look at the network, DNS and firewall; behind a proxy, set HTTPS_PROXY"


def _skew(date: str | None, took: float) -> float | None:
    """Seconds that our clock is ahead. The answer was made between its question and now: the middle is taken."""
    if not date:
        return None
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return time.time() - took / 2 - theirs


def clock(skews: list[float | None]) -> Finding:
    """Whether our clock is right, by what the hosts say."""
    known = [skew for skew in skews if skew is not None]
    if not known:
        return note("clock", "nobody told the time")
    skew = min(known, key=abs)
    if abs(skew) < _SKEW_NOTED:
        return good("clock", f"within {max(1, round(abs(skew)))} s of the hosts' own")
    said = f"{whole(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the hosts' own"
    advice = "set it, or let it be set (systemd-timesyncd, chrony)"
    return (
        bad("clock", said, f"{advice}: certificates and expiry dates depend on it")
        if abs(skew) >= _SKEW_BAD
        else (note("clock", said, advice))
    )


def proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Proxies of the environment; what may stand before their host is a password."""
    for name in _PROXIES:
        value = environ.get(name) or environ.get(name.lower())
        if value:
            shown = value if name == "NO_PROXY" else urlsplit(value).netloc.rpartition("@")[2] or "(ill-formed)"
            yield note("proxy", f"{name} is set: {shown}")
