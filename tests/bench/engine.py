"""A stand-in engine: ready after a given time, answers at once, notes when it became ready and what came first.

`python -m tests.bench.engine PORT SECONDS NOTES`. A line of NOTES is `ready MOMENT` or `first MOMENT` in seconds of the
machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

ANSWER = b'{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'


class Engine:
    def __init__(self, seconds: float, notes: Path) -> None:
        self._ready_at = time.monotonic() + seconds
        self._notes = notes
        self._answered_ready = self._first = False

    def _note(self, what: str) -> None:
        with self._notes.open("a") as file:
            file.write(f"{what} {time.monotonic()}\n")

    def answer(self, path: str) -> bytes:
        if path != "/health":
            if not self._first:
                self._first = True
                self._note("first")
            return _response(200, ANSWER)
        if time.monotonic() < self._ready_at:
            return _response(503, b"{}")
        return _response(200, b"{}")

    def becomes_ready(self) -> None:
        self._note("ready")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = head.lower().split(b"content-length:")
                if len(fields) > 1:
                    await reader.readexactly(int(fields[1].split(b"\r\n")[0]))
                writer.write(self.answer(head.split(b" ", 2)[1].decode()))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _response(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


async def main() -> None:
    port, seconds, notes = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    engine = Engine(seconds, notes)
    server = await asyncio.start_server(engine.serve, "127.0.0.1", port, backlog=4096)
    asyncio.get_running_loop().call_later(seconds, engine.becomes_ready)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
