"""A Lamplighter that plays Hugging Face: simulated endpoints behind the served wire, and a model server that is real."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamplighter.config import parse
from lamplighter.domain.endpoint import Creation, Deployment, EngineSpec, Remote, Spec
from lamplighter.providers.huggingface import HuggingFaceProvider, make_provider
from lamplighter.providers.memory import MemoryProvider
from lamplighter.runtime import Server, running
from tests.gateway_stage import always, answer, endpoint

NAMESPACE = "lamplighter"

DOCUMENT: Mapping[str, Any] = {
    "name": "e",
    "type": "authenticated",
    "provider": {"vendor": "memory", "region": "memory"},
    "compute": {
        "accelerator": "cpu",
        "instanceType": "cpu",
        "instanceSize": "x1",
        "scaling": {"minReplica": 0, "maxReplica": 1},
    },
    "model": {"repository": "org/model", "framework": "pytorch", "image": {"huggingface": {}}},
    "tags": [],
}

SPEC = Spec(name="e", provider="huggingface", engine=EngineSpec(engine="hosted"), remote=Remote())
"""An endpoint that has to be there."""

MADE = replace(SPEC, remote=Remote(create=Creation.IF_MISSING), deployment=Deployment(document=DOCUMENT))
"""One that its first wake makes."""


@dataclass
class Cloud:
    """What plays Hugging Face. `simulated` is behind it, to be scripted."""

    server: Server
    simulated: MemoryProvider

    @property
    def url(self) -> str:
        return self.server.url

    def provider(self, *, resources: Mapping[str, float] | None = None, **options: Any) -> HuggingFaceProvider:
        """Ours, talking to it."""
        given = {"base_url": self.url, "namespace": NAMESPACE, "retry": {"deadline": 5, "base": 0.01}}
        return make_provider(given | options, resources or {})


@contextlib.asynccontextmanager
async def cloud(folder: Path, *, answers: bytes | None = None, **options: Any) -> AsyncIterator[Cloud]:
    """Run one; `options` are the memory provider's. Its endpoints answer every request with `answers`."""
    async with endpoint(always(answer() if answers is None else answers)) as engine:
        given = {"start_delay": 0.02, "stop_delay": 0.02, "url": engine.url} | options
        text = json.dumps(
            {
                "server": {"port": 0, "data": str(folder / "cloud"), "drain_timeout": 1},
                "providers": {"memory": {"options": given}},
            }
        )
        async with running(parse(text, "cloud.yaml", {})) as server:
            simulated = server.fleet.providers["memory"]
            assert isinstance(simulated, MemoryProvider)
            yield Cloud(server, simulated)
