"""An answer on its way from an endpoint to a client, piece by piece."""

from __future__ import annotations

from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.shortcuts import can_write_chunk, cycle_of, write_chunk
from lamplighter.gateway.tokens import AnswerTokens, StreamTokens
from lamplighter.gateway.upstream import UpstreamConnection


class Passage:
    """While the client keeps up, the request's task sleeps: what comes is poured on as it comes, by no turn of it."""

    __slots__ = ("_cycle", "_tokens", "_upstream", "_x")

    def __init__(self, x: Exchange, upstream: UpstreamConnection, tokens: StreamTokens | AnswerTokens | None) -> None:
        self._x = x
        self._upstream = upstream
        self._tokens = tokens
        self._cycle = cycle_of(x.send)

    async def pass_all_but_the_end(self) -> bytes:
        """Pass on what comes until the answer is complete; its last piece is returned.

        Raises UpstreamBroken when it is cut off.
        """
        x, upstream = self._x, self._upstream
        upstream.sink = self._pour
        try:
            while not upstream.complete:
                if not self._pour() and (piece := self._take()):
                    x.bytes_out += len(piece)
                    await x.send({"type": "http.response.body", "body": piece, "more_body": True})
                while not upstream.has_more:
                    await upstream.news()
        finally:
            upstream.sink = None
        last = self._take()
        return last + self._tokens.end() if isinstance(self._tokens, StreamTokens) else last

    def _pour(self) -> bool:
        """Pass on what has come; False if the client has to be waited for."""
        cycle = self._cycle
        if not can_write_chunk(cycle):
            return False
        piece = self._take()
        if piece:
            self._x.bytes_out += len(piece)
            write_chunk(cycle, piece)
        return True

    def _take(self) -> bytes:
        """What has come, as the client is to have it."""
        piece = self._upstream.take()
        return piece if self._tokens is None else self._tokens.feed(piece)
