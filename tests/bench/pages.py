"""Open pages, as a browser keeps them: `python -m tests.bench.pages URL COUNT [KEY]`.

Says `open` when all of them follow the board, then how many changes came as often as it is asked by a line, until its
input ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from urllib.parse import urlencode

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

_QUERY = re.compile(r"query: (\{.*?\})")


class Pages:
    """Counts what comes."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._key = key
        self.heard = 0

    async def open(self, count: int) -> list[asyncio.Task[None]]:
        """Load so many pages, and follow with each."""
        async with httpx2.AsyncClient(base_url=self._url, headers={"origin": self._url}) as client:
            if self._key is not None:
                answer = await client.post("/sign-in", data={"key": self._key})
                assert answer.status_code == 303, answer.text
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
            sockets = [await self._one(client, cookie) for _ in range(count)]
        return [asyncio.create_task(self._hear(socket)) for socket in sockets]

    async def _one(self, client: httpx2.AsyncClient, cookie: str) -> ClientConnection:
        document = (await client.get("/")).text
        found = _QUERY.search(document)
        assert found, document[:500]
        query = json.loads(found[1].replace("'", '"').replace("True", "true").replace("False", "false"))
        query = {**query, "document_id": "d", "tab_id": query["client_id"], "EIO": "4", "transport": "websocket"}
        query["implicit_handshake"] = "true"
        address = f"{self._url.replace('http', 'ws')}/_nicegui_ws/socket.io/?{urlencode(query)}"
        headers = {"Cookie": cookie} if cookie else {}
        socket = await connect(address, origin=Origin(self._url), additional_headers=headers, max_size=None)
        await socket.recv()
        await socket.send("40")
        while not (await socket.recv()).startswith("40"):  # type: ignore[arg-type]
            pass
        await socket.send('420["follow",{}]')
        return socket

    async def _hear(self, socket: ClientConnection) -> None:
        async for message in socket:
            if message == "2":
                await socket.send("3")
            elif str(message).startswith('42["board"'):
                self.heard += 1


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def _main(url: str, count: int, key: str | None) -> None:
    pages = Pages(url, key)
    tasks = await pages.open(count)
    _say("open")
    while await asyncio.to_thread(sys.stdin.readline):
        _say(pages.heard)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
