"""The gateway as an ASGI application, in front of the management one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lamplighter.control.demand import Demand
from lamplighter.control.keyring import Keyring
from lamplighter.control.purse import NoBudgets, Spent
from lamplighter.domain.choosing import Bid
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.usage import Outcome, UsageSink
from lamplighter.errors import EndpointNotFound, ShuttingDown
from lamplighter.gateway.access_log import AccessLog
from lamplighter.gateway.address import Addresses
from lamplighter.gateway.asgi import ASGIApp, Message, Receive, Scope, Send
from lamplighter.gateway.body import HeldBytes
from lamplighter.gateway.crossing import manage_page, serve_page
from lamplighter.gateway.elsewhere import Elsewhere, counted
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.hosts import Hosts
from lamplighter.gateway.keys import Keys
from lamplighter.gateway.openai import OPENAI
from lamplighter.gateway.origins import SANDBOXED, MarkedSend, Origins
from lamplighter.gateway.passthrough import PLAIN
from lamplighter.gateway.pipeline import end_with, serve
from lamplighter.gateway.pool import Pool
from lamplighter.gateway.renting import Renting
from lamplighter.gateway.request import Request
from lamplighter.gateway.router import Router, Routing
from lamplighter.gateway.services import Services
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.standing import Standings
from lamplighter.gateway.surface import Surface, error_headers, send_json
from lamplighter.gateway.sweeper import Sweeper
from lamplighter.gateway.tracing import Tracing

_SETTLE = 1.0


class Gateway:
    """Serves `/v1/…` and `/endpoints/{name}/…`; everything else goes to `management`.

    Shut down in this order: `begin_shutdown`, then `await drain(timeout)`, then let the server stop. `close` is for
    when no event loop runs any more, and is called at the end of ASGI's lifespan as well.
    """

    def __init__(
        self,
        demand: Demand,
        usage: UsageSink,
        settings: GatewaySettings | None = None,
        management: ASGIApp | None = None,
        *,
        keyring: Keyring | None = None,
        routing: Routing | None = None,
        tls: ssl.SSLContext | None = None,
        access_log: AccessLog | None = None,
        tracing: Tracing | None = None,
        spent: Spent | None = None,
    ) -> None:
        """`keyring` tells who may come in; without one the settings do. `spent` tells whose budgets leave nothing.

        `tls` is for connections to endpoints; the system's trusted authorities by default.
        """
        settings = settings or GatewaySettings()
        routing = routing or Routing()
        self._keyring = keyring or Keyring(settings.keys)
        self._hosts = None if settings.hosts is None else Hosts(settings.hosts)
        self._origins = Origins(settings.cors)
        pool = Pool(
            per_origin=settings.idle_connections,
            idle_timeout=settings.idle_connection_timeout,
            connect_timeout=settings.connect_timeout,
            tls=tls,
        )
        self._services = Services(
            demand=demand,
            usage=usage,
            settings=settings,
            keys=Keys(self._keyring, self._hosts),
            pool=pool,
            router=Router(demand, routing),
            standings=Standings(demand, routing.upstreams, breaker=routing.breaker, retry=routing.retry),
            renting=Renting(demand, routing),
            addresses=Addresses(),
            held=HeldBytes(settings.max_held_bytes),
            sweeper=Sweeper(settings.sweep_every, pool.sweep),
            access_log=access_log,
            tracing=tracing,
            spent=spent or NoBudgets(),
        )
        self._management = management or _nothing_else
        self.closing = False
        self._handing_over = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """One ASGI connection: a request, a websocket that is refused, or the lifespan.

        Hands out the coroutine that does the work instead of being one around it: that is a microsecond a request.
        """
        kind = scope["type"]
        if kind == "lifespan":
            return self._lifespan(scope, receive, send)
        path: str = scope["path"]
        surface = OPENAI if path.startswith("/v1/") else PLAIN if path.startswith("/endpoints/") else None
        if surface is None:
            return self._manage(scope, receive, send)
        if kind == "websocket":
            return _deny_websocket(scope, receive, send)
        return self._serve(surface, scope, receive, send)

    async def _manage(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = last_answer(send) if self._handing_over else send
        hosts = self._hosts if self._keyring.is_open else None
        await manage_page(self._management, (scope, receive, send), self._origins, hosts)

    def _serve(self, surface: Surface, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        if self.closing:
            return self._serve_late(surface, scope, receive, send)
        exchange = Exchange(self._services, Request(scope), receive, send)
        if b"upgrade-insecure-requests" in exchange.request.kept:
            exchange.send = MarkedSend(send, SANDBOXED)
        if b"origin" in exchange.request.kept:
            return serve_page(exchange, surface, self._origins, is_open=self._keyring.is_open)
        return serve(exchange, surface)

    def _serve_late(self, surface: Surface, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """A request that comes on a kept connection while this server ends: it is the last one there, or refused."""
        if self._handing_over:
            exchange = Exchange(self._services, Request(scope), receive, last_answer(send))
            if b"origin" in exchange.request.kept:
                return serve_page(exchange, surface, self._origins, is_open=self._keyring.is_open)
            return serve(exchange, surface)
        return self._turn_away(surface, Exchange(self._services, Request(scope), receive, send))

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often clients were told each error, by its code."""
        return self._services.refusals

    @property
    def breakers(self) -> Mapping[str, str]:
        """The breaker of each target that was asked so far: closed, open or half-open."""
        return self._services.standings.states()

    @property
    def in_progress(self) -> int:
        """Requests that are being answered or held."""
        return len(self._services.sweeper.active)

    def take(self, routing: Routing) -> None:
        """Take other routes: requests that come from now on go by them."""
        self._services.router.take(routing)
        self._services.renting.take(routing)
        self._services.standings.take(routing.upstreams, breaker=routing.breaker, retry=routing.retry)

    def expected(self, name: str, tokens: tuple[int, int] | None) -> Mapping[str, Sequence[Bid]]:
        """What a request of so many tokens in and out would be expected to cost now, on the routes that choose by cost.

        None: how many is not known.
        """
        return self._services.renting.expected(name, tokens, self._services.standings.look_closely)

    def resolve(self, model: str) -> str:
        """The name of the route or endpoint behind a name that clients use. Raises EndpointNotFound."""
        return self._services.router.find(model).name

    def knows(self, model: str) -> bool:
        """Whether a name that clients use leads to a route or an endpoint here."""
        try:
            self._services.router.find(model)
        except EndpointNotFound:
            return False
        return True

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is taken."""
        return self._services.settings.max_body_bytes

    @contextmanager
    def counted(self, key: ApiKey, model: str) -> Iterator[Elsewhere]:
        """Count a call of a model that is elsewhere as one of the key's, within its limits, and write down its use.

        Raises EndpointNotFound and NotForElsewhere for a model that the key may not call, BudgetSpent, KeyRateLimited,
        ShuttingDown.
        """
        if self.closing:
            raise ShuttingDown("This server is going away.", retry_after=1.0)
        with counted(self._services, key, model) as call:
            yield call

    def begin_shutdown(self) -> None:
        """Refuse new requests from now on; those in progress go on, but for probes that wait for an awake endpoint."""
        self.closing = True
        self._stop(lambda one: one.probe and one.claim is None)

    def begin_handover(self) -> None:
        """The same where another server takes the address over: what comes here is served, and ends its connection."""
        self._handing_over = True
        self.begin_shutdown()

    async def drain(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the requests in progress, then end them: 503, or cut if begun."""
        self.begin_shutdown()
        if not await self._services.sweeper.emptied(timeout):
            self.hurry()
            await self._services.sweeper.emptied(_SETTLE)
        self.close()

    def hurry(self) -> None:
        """End the requests in progress now: 503, or cut if begun. A `drain` that waits for them goes on."""
        self.begin_shutdown()
        self._stop(lambda _: True)

    def _stop(self, which: Callable[[Exchange], bool]) -> None:
        for one in list(self._services.sweeper.active):
            assert isinstance(one, Exchange)
            if which(one):
                one.stop(ShuttingDown("This server is going away.", retry_after=1.0))

    def close(self) -> None:
        """Hang up on idle connections to endpoints and stop the sweeper."""
        self._services.pool.close()
        self._services.sweeper.close()

    async def _turn_away(self, surface: Surface, x: Exchange) -> None:
        error = ShuttingDown("This server is going away.", retry_after=1.0)
        x.error, x.outcome = error.code, Outcome.REFUSED
        x.services.sweeper.enter(x)
        try:
            await end_with(x, send_json(x, error.status, surface.describe(x, error), error_headers(error)))
        finally:
            x.finish()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._management(scope, receive, send)
        finally:
            self.close()


def last_answer(send: Send) -> Send:
    """Say with the answer that it is the last one on its connection."""
    return MarkedSend(send, [(b"connection", b"close")])


async def _deny_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1003})
        return
    await send({"type": "websocket.http.response.start", "status": 501, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


async def _nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand where the management application would."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await _deny_websocket(scope, receive, send)
    else:
        body = b'{"error": "Nothing is served here.", "code": "unknown_path"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start: Message = {"type": "http.response.start", "status": 404, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})
