"""Puts the page together, and takes it apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from lamplighter.api.access import Access
from lamplighter.control.costs import Costs
from lamplighter.control.fleet import Fleet
from lamplighter.control.prices import PriceBook
from lamplighter.control.sources import Sources
from lamplighter.gateway.asgi import ASGIApp
from lamplighter.store.seal import KEY_FILE, Seal
from lamplighter.web.assets import Assets
from lamplighter.web.feed import Feed
from lamplighter.web.sessions import Sessions
from lamplighter.web.shell import Shell
from lamplighter.web.signing_in import SigningIn
from lamplighter.web.site import Parts, Site

log = structlog.get_logger("lamplighter.web")

_LOOK_FOR_ENDED = 2.0


@asynccontextmanager
async def page(
    management: ASGIApp,
    *,
    fleet: Fleet,
    prices: PriceBook,
    costs: Costs,
    access: Access,
    sources: Sources,
    door: Callable[[], ASGIApp],
    breakers: Callable[[], Mapping[str, str]],
    data: Path,
    namespace: str,
    version: str,
) -> AsyncIterator[Site]:
    """Serve the page before `management` while the context lasts.

    `door` gives the gateway, which serves what the page's own code asks for. Raises ImportError where the page is not
    installed, Conflict where this process serves one already.
    """
    assets = Assets()
    shell = Shell(assets, {"version": version, "namespace": namespace}, data)
    sessions = Sessions(access.keyring, Seal(data / KEY_FILE), ended=data / "page" / "signed-out.json")
    feed = Feed(fleet, prices, costs, tell=shell.tell, followed=shell.followed, breakers=breakers)
    shell.on_follow, shell.counts = feed.wake, sessions.counts
    parts = Parts(
        management=management,
        toolkit=shell.app,
        door=door,
        access=access,
        sources=sources,
        sessions=sessions,
        signing_in=SigningIn(access, sessions, sources, assets.base),
        assets=assets,
        feed=feed,
        open_sockets=shell.open_sockets,
    )
    async with shell.opened():
        feed.start()
        site = Site(parts)
        tasks = [
            asyncio.create_task(_end_sessions(shell), name="page sessions"),
            asyncio.create_task(_warm(site), name="page warm-up"),
        ]
        try:
            yield site
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await feed.close()


async def _warm(site: Site) -> None:
    try:
        await site.warm()
    except Exception:
        log.exception("the page could not be drawn; it is tried again for the first visitor")


async def _end_sessions(shell: Shell) -> None:
    while True:
        await asyncio.sleep(_LOOK_FOR_ENDED)
        try:
            await shell.drop_ended()
        except Exception:
            log.exception("looking for ended sessions broke")  # this task has to live
