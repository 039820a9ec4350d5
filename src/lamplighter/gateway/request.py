"""A request's head, read in one pass."""

from __future__ import annotations

import re

from lamplighter.errors import InvalidInput
from lamplighter.gateway.asgi import Scope
from lamplighter.gateway.headers import NOT_SENT_UPSTREAM, ORDINARY_CONNECTION, named_by_connection, request_id, without

_SECONDS = re.compile(rb"\d{1,9}(\.\d{1,9})?").fullmatch


class Request:
    """`kept` are the headers that stop here (joined by commas when repeated), `lines` the rest as sent upstream."""

    __slots__ = ("id", "kept", "lines", "method", "path", "query", "raw_path", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.kept: dict[bytes, bytes] = {}
        self.lines: list[bytes] = []
        self._sort_headers()
        self.id = request_id(self.kept.get(b"x-request-id"))

    def _sort_headers(self) -> None:
        kept, lines = self.kept, self.lines
        for name, value in self.scope["headers"]:
            if name not in NOT_SENT_UPSTREAM:
                lines += (name, b": ", value, b"\r\n")
            elif name in kept:
                kept[name] += b", " + value
            else:
                kept[name] = value
        connection = kept.get(b"connection")
        if connection is not None and connection.lower() not in ORDINARY_CONNECTION:
            self.lines = self.lines_without(named_by_connection(connection))

    def lines_without(self, names: frozenset[bytes]) -> list[bytes]:
        """The lines for upstream, less the headers of these lower-case names."""
        if names.isdisjoint(self.lines[0::4]):
            return self.lines
        groups = zip(self.lines[0::4], self.lines[2::4], strict=True)
        kept = without(list(groups), names)
        return [part for name, value in kept for part in (name, b": ", value, b"\r\n")]

    def header(self, name: bytes) -> bytes | None:
        """Any header of the client's, by its lower-case name."""
        found: list[bytes] = [value for key, value in self.scope["headers"] if key == name]
        return found[-1] if found else None

    def wants_websocket(self) -> bool:
        """Whether the client asks to leave HTTP."""
        return self.kept.get(b"upgrade", b"").lower() == b"websocket"

    def is_preflight(self) -> bool:
        """Whether a browser asks for permission, which is no demand for the endpoint."""
        return self.method == "OPTIONS" and self.header(b"access-control-request-method") is not None

    def hold_timeout(self) -> float | None:
        """`X-Scale-Up-Timeout` in seconds, None where it was not given.

        Raises InvalidInput, which says what is right.
        """
        given = self.kept.get(b"x-scale-up-timeout")
        if given is None:
            return None
        if not _SECONDS(given.strip()):
            shown = given[:40].decode("latin-1")
            text = f"X-Scale-Up-Timeout must be a number of seconds such as 600 or 2.5; got {shown!r}."
            raise InvalidInput(text, field="X-Scale-Up-Timeout")
        return float(given)
