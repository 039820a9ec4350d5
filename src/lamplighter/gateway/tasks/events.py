"""Taking a stream of server-sent events apart, wherever its pieces were cut."""

from __future__ import annotations

from lamplighter.errors import UpstreamError

_LIMIT = 4 * 1024 * 1024


class Events:
    """Collects the `data` of events; other fields and comments are passed over."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece. Raises UpstreamError when one grows without end."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) + sum(map(len, self._data)) > _LIMIT:
            raise UpstreamError("The engine's stream has an event without end.")
        taken = [self._take(line.removesuffix(b"\r")) for line in lines]
        return [event for event in taken if event is not None]

    def _take(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            event = b"\n".join(self._data)
            self._data = []
            return event
        return None
