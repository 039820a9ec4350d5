"""How the demo talks to its server: over HTTP, as any client would."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx2

from lamplighter.cli.base.refusals import Refused, refusal

CHAT = "chat"
EMBED = "embed"

_TIMEOUT = 330.0
"""Longer than a request is held, so that the server is the one to say that it took too long (seconds)."""


class Reading:
    """A streamed answer. Times are in seconds since the request was sent; `waited` is how long it was held.

    `cut` says that it was ended at the most tokens that were asked for.
    """

    def __init__(self, response: httpx2.Response, sent_at: float) -> None:
        self._response = response
        self._sent_at = sent_at
        self.waited = float(response.headers.get("x-lamplighter-waited-ms", 0)) / 1000
        self.first_token = 0.0
        self.last_token = 0.0
        self.tokens = 0
        self.cut = False

    @property
    def tokens_per_second(self) -> float:
        """How fast the answer came after its first token."""
        took = self.last_token - self.first_token
        return (self.tokens - 1) / took if took > 0 and self.tokens > 1 else 0.0

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes. Raises Refused when the answer breaks off."""
        async for line in self._response.aiter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data and data != "[DONE]" and (text := self._take(json.loads(data))):
                yield text

    def _take(self, chunk: dict[str, Any]) -> str:
        if error := chunk.get("error"):
            raise Refused(f"the answer broke off: {error}")
        if usage := chunk.get("usage"):
            self.tokens = usage["completion_tokens"]
        choices = chunk.get("choices") or [{}]
        self.cut = self.cut or choices[0].get("finish_reason") == "length"
        text: str = choices[0].get("delta", {}).get("content") or ""
        if text:
            self.last_token = time.perf_counter() - self._sent_at
            self.first_token = self.first_token or self.last_token
        return text


class Talk:
    """A client of the server at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx2.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def chat(self, prompt: str, *, max_tokens: int) -> AsyncIterator[Reading]:
        """Ask, and enter when the answer begins. Raises Refused."""
        body = {
            "model": CHAT,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        sent_at = time.perf_counter()
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            if not response.is_success:
                await response.aread()
                raise refusal(self._url, response.status_code, response.text)
            yield Reading(response, sent_at)

    async def embed(self, text: str) -> tuple[list[float], float]:
        """Turn a text into numbers; also tells how long the request was held (seconds). Raises Refused."""
        response = await self._client.post("/v1/embeddings", json={"model": EMBED, "input": text})
        if not response.is_success:
            raise refusal(self._url, response.status_code, response.text)
        waited = float(response.headers.get("x-lamplighter-waited-ms", 0)) / 1000
        numbers: list[float] = response.json()["data"][0]["embedding"]
        return numbers, waited
