"""All checks, in the order in which a person would go through them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from lamplighter.cli.doctor import machine, network, server, sources, token
from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.reach.connection import DEFAULT_URL, normal_url
from lamplighter.cli.reach.place import Asked, read_key, read_secret
from lamplighter.cli.show.words import count
from lamplighter.domain.secret import Secret
from lamplighter.errors import LamplighterError, NotAllowed
from lamplighter.hf.hosts import find_hosts
from lamplighter.hf.token import Found, look_for_cloud_token

if TYPE_CHECKING:
    from lamplighter.hf.api import ManagementApi
    from lamplighter.hf.records import Endpoint

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds for what asks a management API: it asks again by itself when it is refused for the moment."""


async def examine_all(asked: Asked) -> list[Finding]:
    """Go through everything; what is not asked about is left out: no server with --cloud, no cloud with --server."""
    findings: list[Finding] = []
    if not asked.server:
        findings += [finding async for finding in _cloud(asked)]
    if not asked.cloud:
        findings += [finding async for finding in _server(asked, alone=bool(asked.server))]
    found, settings = await asyncio.to_thread(machine.configuration)
    findings.append(found)
    findings += await asyncio.to_thread(lambda: [*sources.examine()])
    findings += await asyncio.to_thread(lambda: [*machine.engines(settings), *machine.folders(settings)])
    return findings


async def _server(asked: Asked, *, alone: bool) -> AsyncIterator[Finding]:
    named = asked.server or os.environ.get("LAMPLIGHTER_URL", "").strip()
    try:
        url, key = normal_url(named or DEFAULT_URL), read_key(asked.key_file)
    except LamplighterError as error:
        yield bad("server", error.message, of_token=isinstance(error, NotAllowed))
        return
    async for finding in server.examine(url, key, named=bool(named) or alone):
        yield finding


async def _cloud(asked: Asked) -> AsyncIterator[Finding]:
    hosts = find_hosts(None, None)
    found, trouble = await asyncio.to_thread(_find_token, asked)
    if found is None and trouble is None and not asked.cloud:
        yield _no_token(asked)
        return  # nobody wants to go there
    for finding in network.proxies(os.environ):
        yield finding
    reached = await asyncio.gather(
        network.reach("network", f"{hosts.management}/v2/provider"), network.reach("network", f"{hosts.hub}/")
    )
    for one in reached:
        yield one.finding
    yield network.clock([one.skew for one in reached])
    if found is None:
        yield trouble or _no_token(asked)
        return
    async for finding in _with_token(found, asked):
        yield finding


def _find_token(asked: Asked) -> tuple[Found | None, Finding | None]:
    try:
        if asked.token_file:
            return Found(Secret(read_secret(asked.token_file, "token")), str(asked.token_file)), None
        return look_for_cloud_token(), None
    except LamplighterError as error:
        return None, bad("token", error.message, f"make one at {token.SETTINGS}", of_token=True)


def _no_token(asked: Asked) -> Finding:
    advice = f"set HF_TOKEN, or run `hf auth login`; tokens are made at {token.SETTINGS}"
    if asked.cloud:
        return bad("token", "there is none for Hugging Face", advice, of_token=True)
    return note("token", "there is none for Hugging Face; a server of your own needs none", advice)


async def _with_token(found: Found, asked: Asked) -> AsyncIterator[Finding]:
    from lamplighter.hf.api import ManagementApi  # noqa: PLC0415 - only where there is a token

    api = ManagementApi(token=found.secret)
    try:
        owner, trouble = await _ask("token", api.owner)
        if owner is None:
            assert trouble
            yield trouble
            return
        for finding in token.examine(owner, found.source, time.time()):
            yield finding
        async for finding in _namespace(api, asked.namespace or owner.name):
            yield finding
    finally:
        await api.close()


async def _namespace(api: ManagementApi, namespace: str) -> AsyncIterator[Finding]:
    endpoints, trouble = await _ask("rights", lambda: api.list(namespace))
    yield trouble or good(
        "rights", f"endpoints of {namespace} can be listed: {count(len(endpoints or ()), 'endpoint')}"
    )
    hardware, trouble = await _ask("rights", lambda: api.hardware(namespace))
    free = sum(1 for one in hardware or () if one.deployable)
    yield trouble or good("rights", f"hardware of {namespace} can be listed: {free} of {len(hardware or ())} to be had")
    if address := _address(endpoints or []):
        yield await network.connect("data plane", address)


def _address(endpoints: list[Endpoint]) -> str | None:
    return next((endpoint.url for endpoint in endpoints if endpoint.url), None)


async def _ask(check: str, question: Callable[[], Awaitable[T]]) -> tuple[T | None, Finding | None]:
    """Ask the management API; what it refuses is a finding."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await question(), None
    except TimeoutError:
        return None, bad(check, f"no answer within {_PATIENCE:g} s", "see what `network` says above")
    except LamplighterError as error:
        of_token = isinstance(error, NotAllowed)
        return None, bad(check, error.message, f"look at {token.SETTINGS}" if of_token else None, of_token=of_token)
