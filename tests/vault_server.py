"""A server of the tests' own that speaks the part of HashiCorp Vault's API which is used here.

It is not the real one: its answers have the shapes that Vault's documentation shows (KV version 2, AppRole, tokens), and
what it does with time is what a test tells it. Real sockets, so that deadlines, refusals and garbage are real, too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = "hvs.root-token-of-the-tests"
ROLE = "role-of-the-tests"
SECRET_ID = "secret-id-of-the-tests"


@dataclass
class Token:
    lease: float = 0
    renewable: bool = False


@dataclass
class VaultServer:
    """What it holds and how it behaves; a test changes it while it runs."""

    url: str = ""
    secrets: dict[str, list[dict[str, Any] | str]] = field(default_factory=dict)
    """By `mount/path`, the versions from the first on; a text instead is `deleted` or `destroyed`."""
    tokens: dict[str, Token] = field(default_factory=lambda: {ROOT: Token()})
    role_lease: float = 3600
    renewed_lease: float | None = None
    namespace: str | None = None
    version_1: set[str] = field(default_factory=set)
    sealed: bool = False
    slow: float = 0.0
    raw: tuple[int, bytes] | None = None
    redirect_to: str | None = None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    logins: int = 0
    waker: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, **fields: Any) -> None:
        """Write one more version of a secret; `path` begins with the mount."""
        self.secrets.setdefault(path, []).append(fields)

    def answer(self, method: str, url: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        parts = urlsplit(url)
        path = unquote(parts.path).removeprefix("/v1/")
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if self.namespace is not None and headers.get("x-vault-namespace") != self.namespace:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if (method, path) == ("POST", "auth/approle/login"):
            return self._log_in(body)
        token = headers.get("x-vault-token", "")
        if token not in self.tokens:
            return 403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}
        if path.startswith("auth/token/"):
            return self._token(path, token)
        if path.startswith("sys/internal/ui/mounts/"):
            mount = path.removeprefix("sys/internal/ui/mounts/")
            version = "1" if mount in self.version_1 else "2"
            return 200, _whole(data={"path": f"{mount}/", "type": "kv", "options": {"version": version}})
        return self._read(path, int(parse_qs(parts.query).get("version", ["0"])[0]))

    def _log_in(self, body: dict[str, Any]) -> tuple[int, Any]:
        if (body.get("role_id"), body.get("secret_id")) != (ROLE, SECRET_ID):
            return 400, {"errors": ["invalid role or secret ID"]}
        self.logins += 1
        name = f"hvs.login-{self.logins}"
        self.tokens[name] = Token(self.role_lease, renewable=True)
        return 200, _whole(auth={"client_token": name, "lease_duration": self.role_lease, "renewable": True})

    def _token(self, path: str, token: str) -> tuple[int, Any]:
        known = self.tokens[token]
        if path.endswith("lookup-self"):
            return 200, _whole(data={"id": token, "ttl": known.lease, "renewable": known.renewable})
        if not known.renewable:
            return 400, {"errors": ["lease is not renewable"]}
        lease = known.lease if self.renewed_lease is None else self.renewed_lease
        return 200, _whole(auth={"client_token": token, "lease_duration": lease, "renewable": True})

    def _read(self, path: str, version: int) -> tuple[int, Any]:
        mount, data, rest = path.partition("/data/")
        if mount in self.version_1 or not data:
            return 404, {"errors": []}
        versions = self.secrets.get(f"{mount}/{rest}")
        if rest.startswith("forbidden/"):
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if versions is None or version > len(versions):
            return 404, {"errors": []}
        number = version or len(versions)
        found = versions[number - 1]
        metadata = {
            "created_time": "2026-01-02T03:04:05.6Z",
            "custom_metadata": None,
            "deletion_time": "2026-02-03T04:05:06.7Z" if found == "deleted" else "",
            "destroyed": found == "destroyed",
            "version": number,
        }
        if isinstance(found, str):
            return 404, _whole(data={"data": None, "metadata": metadata})
        return 200, _whole(data={"data": found, "metadata": metadata})


def _whole(*, data: Any = None, auth: Any = None) -> dict[str, Any]:
    return {
        "request_id": "6f1b7a3e-0000-0000-0000-000000000000",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": auth,
    }


@contextmanager
def vault_server() -> Iterator[VaultServer]:
    """One that listens while the context lasts."""
    vault = VaultServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            vault.asked.append(f"{self.command} {self.path}")
            vault.headers.append({name.lower(): value for name, value in self.headers.items()})
            if vault.slow:
                vault.waker.wait(vault.slow)
            with suppress(OSError):  # whoever asked may have given up
                self._say(*self._answer(body))

        def _say(self, status: int, text: bytes) -> None:
            self.send_response(status)
            if status == 307:
                self.send_header("location", f"{vault.redirect_to}{self.path}")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _answer(self, body: bytes) -> tuple[int, bytes]:
            if vault.redirect_to is not None:
                return 307, b""
            if vault.raw is not None:
                return vault.raw
            status, document = vault.answer(
                self.command, self.path, vault.headers[-1], json.loads(body) if body else {}
            )
            return status, json.dumps(document).encode()

        do_GET = do_POST = _handle  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    vault.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield vault
    finally:
        vault.waker.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
