"""The provider; it knows Lamplighter by its public protocols alone."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

from lamplighter.domain.endpoint import Replica, Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offers import ModelRecord, ServedBy
from lamplighter.errors import EndpointNotFound, ModelNotFound
from lamplighter.providers.base import Capabilities, OnChange
from lamplighter.providers.kinds import Abilities
from lamplighter.providers.registry import Site

MODEL = "lantern/wick-1"


class Lantern:
    """Both a place for endpoints and a marketplace."""

    abilities = Abilities(sleeps=True, lists_models=True, prices=True, runs_inference=True)

    def __init__(self, site: Site) -> None:
        self._oil = site.options.get("oil", "olive")
        self._servers: dict[str, asyncio.Server | None] = {}

    @staticmethod
    def missing() -> list[str]:
        """What its use takes beside the package."""
        return [] if os.environ.get("LANTERN_OIL") else ["No oil: set LANTERN_OIL."]

    # A place for endpoints.

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(ends_on_close=True, look_every=1.0)

    async def open(self, on_change: OnChange) -> None:
        del on_change

    async def close(self, *, leave_running: bool = False) -> None:
        del leave_running
        for name in list(self._servers):
            await self.sleep(name)

    async def create(self, spec: Spec) -> Status:
        self._servers.setdefault(spec.name, None)
        return await self.observe(spec.name)

    async def end_orphans(self) -> list[str]:
        return []

    async def update(self, spec: Spec) -> Status:
        return await self.observe(spec.name)

    async def delete(self, name: str) -> None:
        await self.sleep(name)
        self._servers.pop(name, None)

    async def observe(self, name: str) -> Status:
        if name not in self._servers:
            raise EndpointNotFound(name, self._servers)
        server = self._servers[name]
        if server is None:
            return Status(state=State.SCALED_TO_ZERO)
        port = server.sockets[0].getsockname()[1]
        return Status(state=State.RUNNING, replicas=(Replica(id="1", url=f"http://127.0.0.1:{port}"),))

    async def wake(self, name: str) -> None:
        if self._servers.get(name) is None:
            self._servers[name] = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        del into
        server = self._servers.get(name)
        self._servers[name] = None
        if server is not None:
            server.close()

    async def hardware(self) -> Sequence[Hardware]:
        return ()

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        del tail, follow
        yield f"{name} burns {self._oil} oil"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((line for line in head.split("\r\n") if line.startswith("content-length:")), ":0")
                await reader.readexactly(int(length.partition(":")[2]))
                body = json.dumps(_completion("an endpoint")).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    # A marketplace.

    async def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        model = ModelRecord(
            id=MODEL,
            task="text-generation",
            modality="text",
            providers=(ServedBy(provider="lantern", status="live", context=4096, tools=False, region="eu-west-1"),),
            source="lantern",
        )
        yield ModelPage(models=(model,) if wanted.takes(model) else ())

    async def get_pricing(self) -> Sequence[Quote]:
        return [
            Quote(
                subject=f"lantern/{MODEL}",
                unit=Unit.MILLION_TOKENS_OUT,
                amount=Decimal("0.25"),
                source="lantern",
                at=time.time(),
            )
        ]

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        if payload.model != MODEL:
            raise ModelNotFound(f"The lantern has {MODEL} alone.", model=payload.model)
        body = json.dumps(_completion("the market")).encode()
        return InferenceAnswer(model=MODEL, provider="lantern", content_type="application/json", body=body)


def _completion(whose: str) -> dict[str, object]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": f"light from {whose}"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
