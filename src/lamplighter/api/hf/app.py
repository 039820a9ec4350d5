"""Puts the routes of this API together, and stands before the management routes."""

from __future__ import annotations

import itertools
import re
import secrets

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamplighter.api.access import Access
from lamplighter.api.hf import aliases, audit, catalog, endpoints, hardware, hub, logs, metrics, problems
from lamplighter.api.hf.context import ServedWire
from lamplighter.control.origin import ORIGIN, Origin
from lamplighter.control.sources import Sources

_DESCRIPTION = """\
The management API of Hugging Face Inference Endpoints, for the endpoints of this server. The official client and the \
`hf endpoints` commands work with it.
"""

_SERVED = ("/v2", "/v3", "/api/inference-endpoints", "/api/whoami-v2", "/api/agent-harnesses", "/api/v1/catalog")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
_SLASHES = re.compile(r"/{2,}")
_RUN = secrets.token_hex(6)
_COUNT = itertools.count(1)


def wire(served: ServedWire, access: Access) -> FastAPI:
    """Make the application of this API."""
    app = FastAPI(
        title="Lamplighter: Inference Endpoints",
        version=served.version,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.wire = served
    app.state.access = access
    for module in (endpoints, aliases, metrics, logs, hardware, audit, catalog, hub):
        app.include_router(module.router)
    problems.install(app)
    access.refusals.watch(app)
    return app


class Switch:
    """Sends each request to this API or to the management routes, and gives every answer its `x-request-id`.

    A path is taken with or without slashes at its end or doubled in it: clients that were given a base with a slash
    send those, and a redirect would cost them their body or their key.
    """

    def __init__(self, app: ASGIApp, *, wire: ASGIApp | None, sources: Sources) -> None:
        self._management = app
        self._wire = wire
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._management(scope, receive, send)
            return
        number = _request_id(scope)
        mine = self._wire is not None and _is_served(scope["path"])
        if mine:
            scope = _tidied(scope)
        token = ORIGIN.set(Origin(source=self._sources.of(scope), request_id=number))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", number.encode())]
            await send(message)

        try:
            await (self._wire if mine and self._wire else self._management)(scope, receive, send_with_id)
        finally:
            ORIGIN.reset(token)


def _is_served(path: str) -> bool:
    return any(path.startswith(prefix) and path[len(prefix) :][:1] in {"", "/"} for prefix in _SERVED)


def _tidied(scope: Scope) -> Scope:
    path = _SLASHES.sub("/", scope["path"]).rstrip("/")
    return scope if path == scope["path"] else {**scope, "path": path, "raw_path": path.encode()}


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if _SANE_ID(given) else f"{_RUN}-m{next(_COUNT):x}"
