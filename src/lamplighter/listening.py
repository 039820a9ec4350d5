"""Where a server listens: an address of its own, or a socket that somebody handed to it and goes on holding.

systemd hands sockets over as file descriptors from 3 on and says so in LISTEN_FDS and LISTEN_PID (sd_listen_fds(3)).
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from lamplighter.errors import Conflict, InvalidInput

BACKLOG = 4096

_FIRST_FD = 3
_OF_SYSTEMD = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class Handed:
    """A file descriptor that came from outside, and what it was named by, for errors."""

    fd: int
    origin: str


def handed_over(fd: int | None, environ: MutableMapping[str, str] = os.environ) -> Handed | None:
    """Find the socket that was handed to this process: `fd` where that is given, else systemd's.

    What systemd says is taken out of the environment: engines have nothing to listen to there. Raises InvalidInput for
    more than one.
    """
    said = {name: environ.pop(name, "") for name in _OF_SYSTEMD}
    if fd is not None:
        return Handed(fd, "--fd")
    if not said["LISTEN_FDS"] or said["LISTEN_PID"] != str(os.getpid()):
        return None  # meant for another process, such as a shell around this one
    if said["LISTEN_FDS"] != "1":
        text = f"LISTEN_FDS: systemd hands over {said['LISTEN_FDS']} sockets; one ListenStream is what can be served."
        raise InvalidInput(text, field="LISTEN_FDS")
    return Handed(_FIRST_FD, "LISTEN_FDS")


@contextmanager
def taken_over(handed: Handed, *, keyless: bool) -> Iterator[socket.socket]:
    """Use a socket that was handed over; whoever else holds it can go on accepting when this is done.

    `keyless` says that everybody who can reach it may come in. Raises InvalidInput for what is no listening TCP socket,
    or one that others than this machine can reach without a key.
    """
    listener = _socket_of(handed)
    with listener:
        _refuse_exposure(listener, handed, keyless=keyless)
        listener.set_inheritable(False)  # engines outlive this server: they must not hold its address
        listener.setblocking(False)
        yield listener


@contextmanager
def listening_on(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address. Raises Conflict when it is taken, InvalidInput for what is none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise InvalidInput(f"server.host: {host!r} is no address: {error.strerror}.", field="server.host") from error
    except OSError as error:
        text = f"Can't listen on {host} port {port}: {os.strerror(error.errno or 0)}. Try another --port."
        raise Conflict(text) from error
    with listener:
        listener.setblocking(False)
        yield listener


def url_of(listener: socket.socket) -> str:
    """The base URL of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _socket_of(handed: Handed) -> socket.socket:
    try:
        listener = socket.socket(fileno=handed.fd)
    except OSError as error:
        text = f"{handed.origin}: file descriptor {handed.fd} is no socket: {error.strerror}."
        raise InvalidInput(text, field=handed.origin) from error
    inet = listener.family in {socket.AF_INET, socket.AF_INET6} and listener.type == socket.SOCK_STREAM
    if inet and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return listener
    listener.detach()  # it is not ours to close
    text = f"{handed.origin}: file descriptor {handed.fd} is a socket, but not one that listens for TCP connections."
    raise InvalidInput(text, field=handed.origin)


def _refuse_exposure(listener: socket.socket, handed: Handed, *, keyless: bool) -> None:
    host = listener.getsockname()[0]
    if keyless and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        text = (
            f"{handed.origin}: the socket listens on {host}, which would let everybody in who can reach this machine. "
            "Give `server.keys` (for one: [env:LAMPLIGHTER_KEY]), or let it listen on 127.0.0.1."
        )
        raise InvalidInput(text, field="server.keys")
