"""A process that pauses an endpoint when the session that started it is gone: `python -m lamplighter.sdk.watchdog`.

It is told everything over its standard input, the token too, so that nothing of it is in an argument list, in the
environment or in a file: one line of JSON, then lines that say that the session lives, then `done`. When that pipe
ends without `done`, or is silent for too long, it pauses the endpoint, however often that has to be tried, unless
another session on this machine holds it. It imports nothing but the standard library, and outlives whoever started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lamplighter.sdk.folders import WISH, FileLock, held, is_left_to_others, is_wished, remove

READY = b"ready\n"
DONE = b"done"

_PATIENCE = 30.0  # for the first line, and for each attempt to pause
_GIVE_UP = 86400.0
_MOST_REFUSALS = 12  # of a token that is not good enough; with the pauses between them more than half an hour
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_LOCK_LOOK = 0.2
_LOCK_PATIENCE = 120.0  # a session that begins or ends holds the lock for seconds
_MOST_LINE = 65536
_MOST_BYTES = 4_000_000
_ASLEEP = ("paused", "scaledToZero")
_MOST_LOG = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What it is told. `lease` is in seconds; `file` is the session's own, in `folder`; `direct`: past all proxies.

    `pauses` is this session's own wish; it must not be lost with the folder, in which others look for it.
    """

    base: str
    namespace: str
    name: str
    token: str | None = field(repr=False)
    lease: float
    folder: Path
    file: Path
    direct: bool = False
    pauses: bool = True

    @classmethod
    def of(cls, line: bytes) -> Order:
        """Read the first line."""
        told = json.loads(line)
        return cls(
            base=told["base"],
            namespace=told["namespace"],
            name=told["name"],
            token=told["token"],
            lease=float(told["lease"]),
            folder=Path(told["folder"]),
            file=Path(told["file"]),
            direct=bool(told["direct"]),
            pauses=bool(told["pauses"]),
        )

    def line(self) -> bytes:
        """Write it."""
        plain = ("base", "namespace", "name", "token", "lease", "direct", "pauses")
        told = {key: getattr(self, key) for key in plain}
        return json.dumps(told | {"folder": str(self.folder), "file": str(self.file)}).encode() + b"\n"


class _Terminated(BaseException):
    """SIGTERM: somebody ends all that runs here."""


class Log:
    """Lines in a file beside what is watched; a full disk keeps nobody from acting."""

    def __init__(self, folder: Path, who: str = "watchdog") -> None:
        self._who = who
        self._path = folder / f"{who}.log"
        with contextlib.suppress(OSError):
            if self._path.stat().st_size > _MOST_LOG:
                self._path.unlink()

    def __call__(self, text: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{when} {self._who} {os.getpid()}: {text}\n")


def main() -> int:
    """Watch, and pause if need be; returns the exit code: 0 when the endpoint is as it should be."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    stdin = os.dup(0)
    first, rest = first_line(stdin)
    if not first:
        return 2  # whoever started it is gone already, and nothing was woken yet
    order = Order.of(first)
    log = Log(order.folder)
    own = FileLock(order.file)
    try:
        taken = own.try_take()
    except OSError:
        return 2  # nothing was woken yet, and whoever started it is told that nobody watches
    if not taken:
        log(f"{order.file.name} is somebody else's")
        return 2
    with held(own):
        signal.signal(signal.SIGTERM, _on_sigterm)
        report_ready()
        try:
            reason = _watch(stdin, order.lease, rest)
        except _Terminated:
            reason = "it was told to end"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if reason is None:
            remove(order.file)
            return 0
        log(f"{order.namespace}/{order.name}: {reason}; pausing")
        return _pause_for_long(order, log)


def first_line(stdin: int) -> tuple[bytes, bytes]:
    """The first line that it is told, and what came behind it; empty when nobody tells anything."""
    data = b""
    deadline = time.monotonic() + _PATIENCE
    while b"\n" not in data and len(data) < _MOST_LINE:
        readable, _, _ = select.select([stdin], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(stdin, _MOST_LINE) if readable else b""
        if not piece:
            return b"", b""
        data += piece
    line, _, rest = data.partition(b"\n")
    return line, rest


def report_ready() -> None:
    """Say that from now on somebody watches, and let go of everything that belongs to the session's own process."""
    os.write(1, READY)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def _watch(stdin: int, lease: float, rest: bytes) -> str | None:
    """Tell why the endpoint has to be paused, or None when the session has ended as it should."""
    tail = rest
    deadline = time.monotonic() + lease
    while DONE not in tail:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([stdin], [], [], max(0.0, left))
        if not readable:
            return f"no heartbeat for {lease:g} s"
        piece = os.read(stdin, 4096)
        if not piece:
            return "its session is gone"
        tail = (tail + piece)[-64:]
        deadline = time.monotonic() + lease
    return None


def _on_sigterm(_number: int, _frame: object) -> None:
    raise _Terminated


# Pausing.


def _pause_for_long(order: Order, log: Log) -> int:
    """Try until it is done, or somebody else holds the endpoint, or a day has passed."""
    deadline = time.monotonic() + _GIVE_UP
    pause, refused = _FIRST_PAUSE, 0
    while True:
        with held(_folder_lock(order, log)):
            outcome = _settle(order)
        if outcome.over:
            log(f"{order.namespace}/{order.name}: {outcome.text}")
            return 0
        refused += outcome.refused
        if time.monotonic() > deadline or refused >= _MOST_REFUSALS:
            log(f"{order.namespace}/{order.name}: given up, it may be running and billed: {outcome.text}")
            return 1
        log(f"{order.namespace}/{order.name}: {outcome.text}; again in about {pause:g} s")
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        pause = min(_LONGEST_PAUSE, pause * 2)


@dataclass(frozen=True, slots=True)
class _Outcome:
    over: bool
    text: str
    refused: bool = False


def _folder_lock(order: Order, log: Log) -> FileLock:
    """The folder's lock, taken; not taken where that can't be done: what is billed is not left for want of a file."""
    lock = FileLock(order.folder / "lock")
    deadline = time.monotonic() + _LOCK_PATIENCE
    try:
        while not lock.try_take():
            if time.monotonic() > deadline:
                log(f"the lock of {order.folder} is held for over {_LOCK_PATIENCE:g} s; going on without it")
                break
            time.sleep(_LOCK_LOOK)
    except OSError:
        pass  # the folder is gone, or can't be written any more
    return lock


def _settle(order: Order) -> _Outcome:
    """Do what is to be done under the folder's lock."""
    if is_left_to_others(order.folder, order.file, pauses=order.pauses):
        remove(order.file)
        return _Outcome(True, "left to another session")
    if not order.pauses and not is_wished(order.folder):
        remove(order.file)
        return _Outcome(True, "left running: no session asked for a pause")
    outcome = _pause(order)
    if outcome.over:
        remove(order.folder / WISH)
        remove(order.file)
    return outcome


def _pause(order: Order) -> _Outcome:
    from http.client import HTTPException  # noqa: PLC0415 - most watchdogs never need it
    from urllib.error import HTTPError  # noqa: PLC0415

    try:
        with _ask(order, "POST", "/pause") as answer:
            answer.read(_MOST_LINE)
        refused = ""
    except HTTPError as error:
        error.close()
        if error.code == 404:
            return _Outcome(True, "it is gone")
        if error.code not in (400, 409):  # those two may mean that it is paused already
            return _Outcome(False, f"pausing was refused: {error.code}", refused=error.code in (401, 403))
        refused = f"; pausing was refused: {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return _Outcome(False, f"pausing failed: {type(error).__name__}")
    try:
        state = _state(order)
    except (OSError, HTTPException, ValueError) as error:
        return _Outcome(False, f"whether it is paused could not be asked: {type(error).__name__}{refused}")
    return _Outcome(True, "paused") if state in _ASLEEP else _Outcome(False, f"its state is {state[:60]!r}{refused}")


def _state(order: Order) -> str:
    """Its state, as its provider calls it. Raises OSError, HTTPException, ValueError."""
    with _ask(order, "GET") as answer:
        document = json.loads(answer.read(_MOST_BYTES))
    status = document.get("status") if isinstance(document, dict) else None
    state = status.get("state") if isinstance(status, dict) else None
    return state if isinstance(state, str) else "not told"


def _ask(order: Order, method: str, verb: str = "") -> IO[Any]:
    import ssl  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415
    from urllib.parse import quote  # noqa: PLC0415

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """The token must not follow to another host."""

        def redirect_request(self, *_args: Any, **_options: Any) -> None:
            return None

    path = f"/v2/endpoint/{quote(order.namespace, safe='')}/{quote(order.name, safe='')}{verb}"
    headers = {"User-Agent": "lamplighter-watchdog"}
    if order.token:
        headers["Authorization"] = f"Bearer {order.token}"
    data = b"" if method == "POST" else None
    request = urllib.request.Request(order.base + path, data=data, headers=headers, method=method)  # noqa: S310 - checked
    try:
        import truststore  # noqa: PLC0415 - the certificates that the client itself trusts
    except ImportError:
        context = ssl.create_default_context()
    else:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxies = urllib.request.ProxyHandler({} if order.direct else None)
    opener = urllib.request.build_opener(proxies, NoRedirect, urllib.request.HTTPSHandler(context=context))
    answer: IO[Any] = opener.open(request, timeout=_PATIENCE)
    return answer


if __name__ == "__main__":
    sys.exit(main())
