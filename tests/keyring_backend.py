"""A keyring for processes that the tests start: a backend of `keyring`, and the daemon that it asks, as on a desktop.

Named by PYTHON_KEYRING_BACKEND. It keeps nothing in files: what is in it is in the memory of the test.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import create_connection

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

BACKEND = "tests.keyring_backend.DaemonKeyring"
_PORT = "TESTS_KEYRING_PORT"


class DaemonKeyring(KeyringBackend):
    """Asks the daemon whose port the environment tells."""

    priority = 9

    def get_password(self, service: str, username: str) -> str | None:
        return _ask("get", service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        _ask("set", service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        raise PasswordDeleteError(f"{service}/{username}")


def _ask(*words: str) -> str | None:
    with create_connection(("127.0.0.1", int(os.environ[_PORT])), timeout=5) as link:
        link.sendall(json.dumps(words).encode() + b"\n")
        with link.makefile() as answer:
            locked, value = json.loads(answer.readline())
    if locked:
        raise KeyringLocked("it is locked")
    return value if isinstance(value, str) else None


@dataclass
class Daemon:
    """What it holds, by service and name, and whether it is locked."""

    entries: dict[tuple[str, str], str] = field(default_factory=dict)
    locked: bool = False
    environ: dict[str, str] = field(default_factory=dict)


@contextmanager
def keyring_daemon() -> Iterator[Daemon]:
    """One that runs while the context lasts; its `environ` leads processes there."""
    daemon = Daemon()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            verb, service, name, *rest = json.loads(self.rfile.readline())
            if verb == "set" and not daemon.locked:
                daemon.entries[(service, name)] = rest[0]
            value = None if daemon.locked else daemon.entries.get((service, name))
            self.wfile.write(json.dumps([daemon.locked, value]).encode() + b"\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        daemon.environ = {"PYTHON_KEYRING_BACKEND": BACKEND, _PORT: str(server.server_address[1])}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join(5)
