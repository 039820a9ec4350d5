"""A web application that has endpoints awake while it runs: `FastAPI(lifespan=lamplighter.lifespan("mert"))`.

Works with everything that takes a lifespan as Starlette and FastAPI do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from lamplighter.errors import InvalidInput, LamplighterError, ProviderError

if TYPE_CHECKING:
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]


def lifespan(
    *names: str,
    client: Callable[[], AsyncClient] | None = None,
    auto_pause: bool = True,
    timeout: float = 600.0,
    lease: float = 60.0,
    namespace: str | None = None,
) -> Lifespan:
    """Sessions on these endpoints for as long as the application lives, started side by side.

    Their URLs are in `app.state.endpoints`, by name, and in the lifespan's state (`request.state.endpoints`). An
    endpoint that can't be started keeps the application from starting; the others are paused again. `client` makes the
    client; without it the environment says where: LAMPLIGHTER_URL, or Hugging Face with HF_TOKEN. The rest is as in
    `AsyncClient.session`. Raises InvalidInput for no name, or one given twice.
    """
    if not names or len(set(names)) != len(names):
        raise InvalidInput(f"names: {', '.join(names) or 'nothing'}: name each endpoint, once.", field="names")

    @asynccontextmanager
    async def alive(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with client() if client is not None else _client() as opened, AsyncExitStack() as stack:
            sessions = {
                name: opened.session(name, auto_pause=auto_pause, timeout=timeout, lease=lease, namespace=namespace)
                for name in names
            }
            ready = await _enter_all(stack, sessions)
            urls = {name: endpoint.url for name, endpoint in ready.items()}
            app.state.endpoints = urls
            yield {"endpoints": urls}

    return alive


async def _enter_all(
    stack: AsyncExitStack, sessions: Mapping[str, AbstractAsyncContextManager[Endpoint]]
) -> dict[str, Endpoint]:
    """Enter them side by side; they are left together, side by side again. One that fails fails all."""

    async def leave_all() -> None:
        done = await asyncio.gather(
            *(sessions[name].__aexit__(None, None, None) for name in entered), return_exceptions=True
        )
        failed = [one for one in done if isinstance(one, BaseException)]
        for one in failed:
            if not isinstance(one, LamplighterError):
                raise one
        if len(failed) > 1:  # one error that tells of all: each names an endpoint that may be billed
            raise ProviderError(" ".join(str(one) for one in failed)) from ExceptionGroup(
                "sessions that could not be ended", [one for one in failed if isinstance(one, LamplighterError)]
            )
        if failed:
            raise failed[0]

    entered: dict[str, Endpoint] = {}

    async def enter(name: str) -> None:
        entered[name] = await sessions[name].__aenter__()

    stack.push_async_callback(leave_all)
    tasks = [asyncio.create_task(enter(name), name=f"session {name}") for name in sessions]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return entered


def _client() -> AsyncClient:
    from lamplighter.sdk.client import AsyncClient  # noqa: PLC0415 - importing the package should not cost it

    return AsyncClient(os.environ.get("LAMPLIGHTER_URL", "").strip() or None)
