"""Readiness at start: telling systemd of ours, and waiting for a server's."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

import click

from lamplighter.cli.base.refusals import ServerUnreachable
from lamplighter.cli.show.words import whole

_VARIABLE = "NOTIFY_SOCKET"
_EVERY = 1.0

log = logging.getLogger("lamplighter.cli")


def notify_ready(environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell systemd, where it started us with `Type=notify`, that requests are taken from now on.

    Its socket is taken out of the environment: engines have nothing to say there. A socket that can't be written to is
    logged: systemd then ends us by its own deadline, and the log tells why.
    """
    address = environ.pop(_VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # a name without a file
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto(b"READY=1", address)
    except OSError as error:
        log.warning("systemd could not be told that the server is ready: %s", error)


def await_server(
    look: Callable[[], object],
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look until somebody listens at a server's address, which may just be starting. Times are in seconds.

    `look` asks it something. Raises ServerUnreachable when nobody is there in time, and what else `look` raises.
    """
    deadline = clock() + timeout
    told = False
    while True:
        try:
            look()
        except ServerUnreachable as error:
            left = deadline - clock()
            if left <= 0:
                raise
            if not told:
                click.echo(f"{error.message}; waiting for it, {whole(timeout)} at most", err=True)
                told = True
        else:
            return
        pause(min(_EVERY, left))
