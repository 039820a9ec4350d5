"""Fetches one file of known size and digest over HTTP, and goes on where a cut download ended."""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lamplighter.engines.base import Progress
from lamplighter.engines.progress import Meter
from lamplighter.errors import EngineError

if TYPE_CHECKING:  # imported when something is fetched: an eighth of a second that a cached model need not cost
    import httpx2

_TIMEOUT = 30.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be had: `name` for people, `size` in bytes, `sha256` in lower-case hex."""

    name: str
    size: int
    sha256: str


def download(url: str, part: Path, wanted: Wanted, progress: Progress) -> None:
    """Complete the file `part`, from what is there of it already.

    A server that can't continue is read from the start. Afterwards `part` has the right size and digest.

    Raises EngineError: not permanent where the network failed (`part` stays, for the next try), permanent where the
    server has no such file or another one (`part` is removed). OSError comes through. No text holds the whole URL,
    as that may hold credentials.
    """
    import httpx2  # noqa: PLC0415

    resumed = part.exists()
    with httpx2.Client(follow_redirects=True, timeout=_TIMEOUT, verify=_trust()) as client:
        _complete(client, url, part, wanted, progress)
        if resumed and _digest_of(part) != wanted.sha256:
            part.unlink()  # the old beginning may be to blame: once more, all of it
            _complete(client, url, part, wanted, progress)
    _check_digest(part, wanted)


def _check_digest(path: Path, wanted: Wanted) -> None:
    """Remove `path` and raise a permanent EngineError unless it is what is wanted."""
    found = _digest_of(path)
    if found == wanted.sha256:
        return
    path.unlink()
    raise EngineError(
        f"What came as {wanted.name} is another file: its SHA-256 is {found}, not {wanted.sha256}. It was removed.",
        permanent=True,
    )


def _digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _trust() -> ssl.SSLContext | bool:
    """Trust whom pip trusts; httpx itself heeds SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables."""
    place = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
    if not place:
        return True
    folder = Path(place).is_dir()
    return ssl.create_default_context(cafile=None if folder else place, capath=place if folder else None)


def _complete(client: httpx2.Client, url: str, part: Path, wanted: Wanted, progress: Progress) -> None:
    """Ask again for the rest as long as each answer brings something."""
    meter = Meter(f"downloading {wanted.name}", wanted.size, progress)
    for _ in range(_ROUNDS):
        have = _size(part)
        if have == wanted.size:
            return
        problem = _attempt(client, url, part, wanted, meter)
        if problem is not None and _size(part) <= have:
            raise EngineError(f"{wanted.name} can't be downloaded: {problem}.")
    raise EngineError(f"{wanted.name} can't be downloaded: the connection breaks off again and again.")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(client: httpx2.Client, url: str, part: Path, wanted: Wanted, meter: Meter) -> str | None:
    """Take one answer. Returns what cut it short, if anything did."""
    import httpx2  # noqa: PLC0415

    have = _size(part)
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={have}-"} if have else {})
    try:
        with client.stream("GET", url, headers=headers) as response:
            return _take(response, part, have, wanted, meter)
    except httpx2.HTTPError as error:
        return f"{type(error).__name__} from {_host(url)}"
    except (httpx2.InvalidURL, ValueError):
        raise EngineError(f"{wanted.name} has an address that can't be used.", permanent=True) from None


def _take(response: httpx2.Response, part: Path, have: int, wanted: Wanted, meter: Meter) -> str | None:
    status = response.status_code
    if status == 200:
        return _write(response, part, 0, wanted, meter)
    if status == 206 and response.headers.get("content-range", "").startswith(f"bytes {have}-"):
        return _write(response, part, have, wanted, meter)
    if have and status in (206, 416):  # a range that we did not ask for, or none: the beginning is of no use
        part.unlink()
        return None
    host = response.url.host
    raise EngineError(
        f"{wanted.name} can't be downloaded: {host} answered {status} {response.reason_phrase}.",
        permanent=400 <= status < 500 and status not in (408, 425, 429),
    )


def _write(response: httpx2.Response, part: Path, start: int, wanted: Wanted, meter: Meter) -> str | None:
    done = start
    with part.open("ab" if start else "wb") as file:
        for chunk in response.iter_raw():  # as it comes: a gathered chunk would be lost with the connection
            done += len(chunk)
            if done > wanted.size:
                break
            file.write(chunk)
            meter.update(done)
    if done > wanted.size:
        part.unlink()
        raise EngineError(
            f"What comes as {wanted.name} is another file: it is longer than it should be.", permanent=True
        )
    return None if done == wanted.size else "the answer ended early"


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2] or "its server"
