"""Puts the pieces together: a configuration becomes a running server, and a signal ends it in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from lamplighter import __version__
from lamplighter.api import management
from lamplighter.api.access import Access
from lamplighter.api.budgets import BudgetBook
from lamplighter.api.hf import ServedWire
from lamplighter.api.hf.loads import Loads
from lamplighter.api.hf.translate import Translator
from lamplighter.api.settings import Configured
from lamplighter.config import Changes, Settings, diff, in_force_since
from lamplighter.config.elsewhere import HUGGING_FACE
from lamplighter.config.file import ProviderSettings, ServerSettings
from lamplighter.control.accruals import Accruals
from lamplighter.control.alarms import FILE as ALARMS_FILE
from lamplighter.control.alarms import AlarmKeeper, Rules, rules_of
from lamplighter.control.bookkeeping import Bookkeeper
from lamplighter.control.budgets import Budgets
from lamplighter.control.clock import Clock
from lamplighter.control.costs import Costs
from lamplighter.control.deployments import DeploymentKeeper
from lamplighter.control.explaining import Explainer
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import StoreJournal
from lamplighter.control.keyring import Keyring
from lamplighter.control.leases import LeaseKeeper
from lamplighter.control.market import Market
from lamplighter.control.meter import Meter
from lamplighter.control.outlay import Books
from lamplighter.control.price_sources import price_sources
from lamplighter.control.prices import PriceBook
from lamplighter.control.recorder import Recorder
from lamplighter.control.reports import Reports
from lamplighter.control.routebook import RouteBook
from lamplighter.control.sources import Sources
from lamplighter.control.spending import Spending
from lamplighter.control.stock import Stock
from lamplighter.control.tally import Tally
from lamplighter.control.tariffs import Tariffs
from lamplighter.control.what_if import WhatIf
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Policy
from lamplighter.domain.loopback import is_loopback
from lamplighter.domain.prices import Rate
from lamplighter.errors import Conflict, InvalidInput, LamplighterError
from lamplighter.gateway.access_log import AccessLog
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.asgi import ASGIApp
from lamplighter.gateway.descriptors import raise_file_limit
from lamplighter.gateway.router import Routing
from lamplighter.gateway.server import GatewayServer, uvicorn_config
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.tracing import Tracing, open_tracing
from lamplighter.listening import Handed, listening_on, taken_over, url_of
from lamplighter.measuring import Measuring
from lamplighter.providers.base import Provider
from lamplighter.providers.huggingface.market import make_market
from lamplighter.providers.market import Marketplace, marketplace_of
from lamplighter.providers.registry import Site, make_provider
from lamplighter.secrets.keeping import keep_renewed
from lamplighter.store import Store, UsageWriter
from lamplighter.store.seal import KEY_FILE, Seal

log = structlog.get_logger("lamplighter")

PRUNE_EVERY = 3600.0
_TAKEOVER_LOOK = 0.1
_YOUNG_OBJECTS = 100_000
_YOUNG_BEFORE_OLDER = 50
_LAST_WORDS = 2.0  # for connections that are no requests to endpoints, such as those that follow a log


class Server:
    """A server that listens. Made by `running`."""

    listener: _Listener
    access_log: AccessLog | None = None
    spending: Spending
    page = False
    """Whether browsers are shown one."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        fleet: Fleet,
        gateway: Gateway,
        health: Health,
        *,
        deployments: DeploymentKeeper,
        translator: Translator,
        alarms: AlarmKeeper,
        recorder: Recorder,
        keyring: Keyring,
        routes: RouteBook,
        prices: PriceBook,
        costs: Costs,
        budgets: Budgets,
        stock: Stock,
    ) -> None:
        self.recorder = recorder
        self._stock = stock
        self._prices = prices
        self.costs = costs
        self.budgets = budgets
        self._keyring = keyring
        self._routes = routes
        self.settings = settings
        self.url = url
        self.fleet = fleet
        self.health = health
        self._gateway = gateway
        self._deployments = deployments
        self._translator = translator
        self._alarms = alarms

    @property
    def is_open(self) -> bool:
        """Whether everybody may come in: there was never a key."""
        return self._keyring.is_open

    @property
    def in_progress(self) -> int:
        """Requests that are being answered or held."""
        return self._gateway.in_progress

    def reopen_logs(self) -> None:
        """Go on in new files: the old ones were moved away."""
        if self.access_log is not None:
            self.access_log.reopen()

    def hurry(self) -> None:
        """Stop waiting for requests: somebody asked a second time to stop."""
        self._gateway.hurry()

    async def apply(self, settings: Settings) -> Changes:
        """Take a new configuration: touches only what changed and drops no request. Tells what that was."""
        changes = diff(self.settings, settings)
        if settings.alarms != self.settings.alarms:  # first: an address of no use refuses the whole of it
            self._alarms.apply(await asyncio.to_thread(_alarm_rules, settings))
        refused = await self.fleet.apply(settings.specs())
        self._translator.defaults = _policy(settings)
        await self._deployments.renew()
        self.budgets.apply(settings.budgets(), upstreams=settings.upstream_settings)
        await self._prices.apply(price_sources(settings, self.fleet.providers))
        self._gateway.take(_routing(settings, self._prices, self.fleet))
        self._routes.take(settings.routes(), settings.upstreams())
        self._stock.take(settings.upstreams(), settings.routes())
        self._keyring.configure(settings.server.keys)
        _warn(settings)
        self.settings = settings
        self.listener.grace = settings.server.drain_timeout
        for name, reason in refused.items():
            log.error("endpoint refused", endpoint=name, error=reason)
        for key in changes.restart:
            log.warning("takes effect at the next start", key=key)
        log.info("reloaded", **changes.parts())
        return changes


@dataclass(frozen=True, slots=True)
class Health:
    """What a readiness probe is told."""

    store: Store
    fleet: Fleet
    usage: UsageWriter
    journal: StoreJournal
    deployments: DeploymentKeeper

    def problems(self) -> list[str]:
        """Everything that is not as it should be; empty when ready."""
        found = [f"{name}: {trouble}" for name, trouble in self.fleet.troubles.items()]
        if self.store.trouble:
            found.append(f"database: {self.store.trouble}")
        if self.usage.dropped:
            found.append(f"{self.usage.dropped} usage records were lost")
        return found + self.deployments.problems() + self.journal.problems()


@asynccontextmanager
async def running(settings: Settings, handed: Handed | None = None, *, page: bool = False) -> AsyncIterator[Server]:
    """Run a server while the context lasts, and end it in order: requests, endpoints, records.

    With `page` it shows browsers one, where that is installed: a process can do that for one server at a time.

    It listens where the settings say, or on a socket that was `handed` to it: then it waits for the server before it to
    let go of the data, and refuses nobody while it ends. Raises Conflict when the address or the database is taken,
    InvalidInput when an endpoint can't work, StoreError.
    """
    data = _own_folder(settings.server.data)
    _warn(settings)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(_listen(settings, handed))
        store = await _open_store(data / "lamplighter.db", patience=settings.server.takeover_wait if handed else 0.0)
        stack.push_async_callback(store.close)
        journal = await _open_journal(stack, store)
        recorder = Recorder(journal, Clock())
        keyring = await _open_keyring(
            stack,
            settings,
            store,
            recorder,
            resolve=lambda name: gateway.resolve(name),  # noqa: PLW0108 - the gateway is made later, with this keyring
        )
        usage = _open_usage(stack, store)
        providers = _providers(settings, data)
        tally = Tally(accruals := Accruals(journal), Clock())
        budgets = Budgets(Clock(), settings.budgets(), upstreams=settings.upstream_settings)
        fleet = Fleet(providers, tally, purse=budgets)
        timed = {name for name, provider in providers.items() if provider.capabilities.pauses}
        translator = Translator(_policy(settings), timed=timed)
        deployments = DeploymentKeeper(
            fleet, providers, store, Seal(data / KEY_FILE), journal, compile_spec=translator.spec
        )
        for name, reason in (await fleet.open(settings.specs().values(), await deployments.load())).items():
            deployments.refused(name, reason)
        stack.push_async_callback(fleet.close, drain=0.0, leave_running=settings.server.on_shutdown == "leave")
        stack.push_async_callback(deployments.close)
        deployments.go_on()
        await stack.enter_async_context(_background(deployments.look_around(), "ask for hardware"))
        await stack.enter_async_context(_housekeeping(store, keyring, settings))
        health = Health(store, fleet, usage, journal, deployments)
        accounts = await _open_accounts(stack, settings, store, fleet, accruals=accruals, keyring=keyring)
        prices, costs, spending = accounts.prices, accounts.costs, accounts.spending
        reports = Reports(costs, store, fleet, Clock(), keys=keyring.list, recorder=recorder)
        await _open_budgets(
            stack,
            budgets,
            Books(fleet=fleet, ledger=costs, prices=prices, list_keys=keyring.list, settled=usage.settled),
        )
        leases = await _open_leases(stack, fleet, store, journal)
        rules = await asyncio.to_thread(_alarm_rules, settings)
        alarms = AlarmKeeper(
            fleet.endpoints,
            rules,
            Clock(),
            memory=data / ALARMS_FILE,
            recorder=recorder,
            feeds=prices.feeds,
            budgets=budgets.standings,
            calendar=costs.calendar,
        )
        meter = Meter(usage)
        access_log = await _access_log(stack, settings)
        tracing = _open_tracing(stack, settings)
        measuring = Measuring(
            fleet=fleet,
            tally=tally,
            meter=meter,
            usage=usage,
            journal=journal,
            spending=spending,
            budgets=budgets,
            access_log=access_log,
        )
        served = ServedWire(
            operations=fleet,
            deployments=deployments,
            translator=translator,
            namespace=settings.server.namespace,
            version=__version__,
            started=time.time(),
            meter=meter,
            leases=leases,
            records=store,
            loads=Loads(fleet),
            prices=prices,
            costs=costs,
            spending=spending,
        )
        routes = _route_book(settings)
        stock = Stock(fleet, store, costs, usage, Clock())
        stock.take(settings.upstreams(), settings.routes())
        market = Market(
            _marketplaces(stack, settings, providers), Clock(), own=stock, hardware=deployments.hardware, prices=prices
        )
        api = management(
            fleet,
            health=health,
            held=leases,
            served=served,
            measured=measuring,
            access=Access(keyring, rate=settings.server.management_rate, recorder=recorder),
            version=__version__,
            alarms=alarms,
            audited=store,
            past=store,
            configured_in=settings.source,
            routes=routes,
            prices=prices,
            market=market,
            explainer=Explainer(market, stock, Clock()),
            reports=reports,
            what_if=WhatIf(fleet, costs, stock, Clock(), price=prices.priced, kept_for=settings.server.retention),
            spending=spending,
            budgeted=BudgetBook(
                standings=budgets.standings,
                configured=lambda: server.settings.budgets(),  # noqa: PLW0108 - the server is made later
                keys=keyring.list,
                calendar=costs.calendar,
            ),
            settings=lambda: Configured(server.settings, in_force_since(settings, server.settings)),
            trusted_proxies=settings.server.trusted_proxies,
        )
        gateway = measuring.gateway = Gateway(
            fleet,
            meter,
            _gateway_settings(settings),
            site := await _open_page(
                stack,
                page,
                api,
                fleet=fleet,
                prices=prices,
                costs=costs,
                access=api.state.access,
                settings=settings,
                gateway=lambda: gateway,
            ),
            keyring=keyring,
            routing=_routing(settings, prices, fleet),
            access_log=access_log,
            tracing=tracing,
            spent=budgets,
        )
        alarms.breakers = routes.breakers = api.state.door = gateway
        await alarms.start()
        stack.push_async_callback(alarms.close)
        server = Server(
            settings,
            url_of(listener),
            fleet,
            gateway,
            health,
            deployments=deployments,
            translator=translator,
            alarms=alarms,
            recorder=recorder,
            keyring=keyring,
            routes=routes,
            prices=prices,
            costs=costs,
            budgets=budgets,
            stock=stock,
        )
        server.access_log, server.spending, server.page = access_log, spending, site is not api
        async with _listening(
            gateway, listener, settings, hands_over=handed is not None, page=server.page
        ) as server.listener:
            yield server


def serve(
    settings: Settings,
    *,
    announce: Callable[[Server], None],
    reload: Callable[[], Settings] | None = None,
    handed: Handed | None = None,
    page: bool = False,
) -> int:
    """Run a server until a signal ends it; returns the exit code. `handed` and `page` are as `running` takes them.

    SIGTERM and SIGINT end it in order, a second one in a hurry; SIGHUP calls `reload` and takes what it returns.
    """
    raise_file_limit(settings.server.max_connections)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, contextlib.suppress(asyncio.CancelledError):
        runner.run(_serve(settings, announce, reload, handed, page=page))  # cancelled: told to stop while it started
    return 0


async def _serve(
    settings: Settings,
    announce: Callable[[Server], None],
    reload: Callable[[], Settings] | None,
    handed: Handed | None,
    *,
    page: bool,
) -> None:
    stop, hup = asyncio.Event(), asyncio.Event()
    servers: list[Server] = []

    starting = asyncio.current_task()
    assert starting is not None

    def on_stop() -> None:
        if not servers:
            starting.cancel()
        elif stop.is_set():
            servers[0].hurry()
        stop.set()

    # Signals count from before the first thing is started until the last has ended: a server that is told to stop
    # while it starts, or twice, must not leave engines behind.
    with _signals({signal.SIGTERM: on_stop, signal.SIGINT: on_stop, signal.SIGHUP: hup.set}):
        async with running(settings, handed, page=page) as server:
            servers.append(server)
            _collect_seldom()
            announce(server)
            async with (
                _background(_reload_for_ever(server, hup, reload), "reload"),
                _background(stop.wait(), "wait for a signal") as told,
            ):
                await asyncio.wait({told, server.listener.serving}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                raise LamplighterError("The listener ended by itself; the server ends with it.")
            log.info("shutting down", in_progress=server.in_progress)


def _collect_seldom() -> None:
    """Have the garbage collector leave alone what is there to stay, and look at the rest less often.

    Requests leave no cycles behind. Looked at after every 700th object, a thousand of them at once are looked at again
    and again while they last: a quarter of the time went there (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_BEFORE_OLDER, _YOUNG_BEFORE_OLDER)


async def _reload_for_ever(server: Server, hup: asyncio.Event, reload: Callable[[], Settings] | None) -> None:
    while True:
        await hup.wait()
        hup.clear()
        server.reopen_logs()
        if reload is None:
            log.warning("reload refused", reason="this server has no configuration file")
            continue
        try:
            async with server.recorder.recorded("reload", None, "signal") as note:
                changes = await server.apply(await asyncio.to_thread(reload))
                note.change = str(changes) or None
        except LamplighterError as error:
            log.error("reload refused: the configuration in force stays", error=error.message)  # noqa: TRY400
        except Exception:
            log.exception("reload broke")  # the next one may work: this task has to live


def _alarm_rules(settings: Settings) -> Rules:
    """Raises ConfigError with the place of an address of no use; only what sends to a service knows its addresses."""
    try:
        return rules_of(settings.alarms)
    except InvalidInput as error:
        raise settings.located(error) from None


async def _access_log(stack: AsyncExitStack, settings: Settings) -> AccessLog | None:
    place = settings.server.access_log
    if place == "off":
        return None
    sources = Sources(settings.server.trusted_proxies)
    log = AccessLog(place if isinstance(place, Path) else None, sources=sources)
    log.start()
    stack.push_async_callback(log.close)
    return log


def _open_tracing(stack: AsyncExitStack, settings: Settings) -> Tracing | None:
    tracing = open_tracing(settings.server.tracing, __version__)
    if tracing is not None:
        stack.push_async_callback(tracing.close)
    return tracing


async def _open_budgets(stack: AsyncExitStack, budgets: Budgets, books: Books) -> None:
    await budgets.open(books)
    stack.push_async_callback(budgets.close)


async def _open_journal(stack: AsyncExitStack, store: Store) -> StoreJournal:
    journal = StoreJournal(store, Clock())
    await journal.open()
    stack.push_async_callback(journal.close)
    return journal


def _open_usage(stack: AsyncExitStack, store: Store) -> UsageWriter:
    usage = UsageWriter(store)
    usage.start()
    stack.push_async_callback(usage.close)
    return usage


@dataclass(frozen=True, slots=True)
class _Accounts:
    """What things cost, what was paid for them, and what of that was today."""

    prices: PriceBook
    costs: Costs
    spending: Spending


async def _open_accounts(
    stack: AsyncExitStack, settings: Settings, store: Store, fleet: Fleet, *, accruals: Accruals, keyring: Keyring
) -> _Accounts:
    clock, calendar = Clock(), Calendar(settings.ledger.time_zone)
    prices = PriceBook(fleet, store, clock, price_sources(settings, fleet.providers))
    await prices.open()
    stack.push_async_callback(prices.close)
    tariffs = Tariffs(fleet, prices, calendar, clock)
    bookkeeper = Bookkeeper(fleet, store, accruals, clock, tariffs)
    await bookkeeper.start()
    stack.push_async_callback(bookkeeper.close)
    accruals.seed(await bookkeeper.positions())
    costs = Costs(store, tariffs, accruals, clock, keys=keyring.list)
    spending = Spending(costs, clock)
    spending.start()
    stack.push_async_callback(spending.close)
    return _Accounts(prices, costs, spending)


def _marketplaces(
    stack: AsyncExitStack, settings: Settings, providers: Mapping[str, Provider]
) -> dict[str, Marketplace]:
    """Those of the configured providers; Hugging Face's, which needs no token to look, is always there."""
    markets = {name: found for name, provider in providers.items() if (found := marketplace_of(provider)) is not None}
    options: dict[str, Mapping[str, Any]] = {HUGGING_FACE: {}}
    options |= {name: one.options for name, one in settings.providers.items() if one.type == HUGGING_FACE}
    for name, given in options.items():
        own = make_market(given, settings.secrets) if name not in markets else None
        if own is not None:
            markets[name] = own
            stack.push_async_callback(own.close)
    return markets


async def _open_page(
    stack: AsyncExitStack,
    wanted: bool,
    api: ASGIApp,
    *,
    fleet: Fleet,
    prices: PriceBook,
    costs: Costs,
    access: Access,
    settings: Settings,
    gateway: Callable[[], Gateway],
) -> ASGIApp:
    """The page before the management routes; those alone where it is not wanted, or not installed."""
    if not wanted:
        return api
    try:
        import nicegui  # noqa: F401, PLC0415 - half a second, and not there everywhere
        import websockets  # noqa: F401, PLC0415

        from lamplighter.web.opening import page  # noqa: PLC0415
    except ImportError as error:
        log.warning("no page: pip install 'lamplighter[page]' adds it; --no-page serves without", missing=error.name)
        return api
    return await stack.enter_async_context(
        page(
            api,
            fleet=fleet,
            prices=prices,
            costs=costs,
            access=access,
            sources=Sources(settings.server.trusted_proxies),
            door=gateway,
            breakers=lambda: gateway().breakers,
            data=settings.server.data,
            namespace=settings.server.namespace,
            version=__version__,
        )
    )


async def _open_leases(stack: AsyncExitStack, fleet: Fleet, store: Store, journal: StoreJournal) -> LeaseKeeper:
    leases = LeaseKeeper(fleet, store, journal, Clock())
    await leases.start()
    stack.push_async_callback(leases.close)
    return leases


async def _open_keyring(
    stack: AsyncExitStack, settings: Settings, store: Store, recorder: Recorder, *, resolve: Callable[[str], str]
) -> Keyring:
    keyring = Keyring(settings.server.keys, store=store, recorder=recorder, resolve=resolve)
    await keyring.open()
    stack.push_async_callback(keyring.close)
    return keyring


@asynccontextmanager
async def _housekeeping(store: Store, keyring: Keyring, settings: Settings) -> AsyncIterator[None]:
    """What has to be done from time to time, as long as the context lasts."""
    async with (
        _background(keep_renewed(settings.secrets), "renew tokens"),
        _background(_prune_for_ever(store, keyring, settings.server), "prune"),
    ):
        yield


async def _prune_for_ever(store: Store, keyring: Keyring, settings: ServerSettings) -> None:
    while True:
        try:
            now = time.time()
            count = await store.prune(
                now - settings.retention, audit_before=now - settings.audit_retention, only_counted=True
            )
            await keyring.forget(now - settings.retention)
            log.debug("pruned", rows=count)
        except LamplighterError as error:
            log.warning("pruning failed", error=error.message)
        await asyncio.sleep(PRUNE_EVERY)


class _Listener(GatewayServer):
    """uvicorn's server, less its signal handlers, and with a word when it listens."""

    def __init__(self, gateway: Gateway, config: uvicorn.Config, *, grace: float, hands_over: bool) -> None:
        super().__init__(gateway, config, grace=grace, hands_over=hands_over)
        self.listens = asyncio.Event()
        self.serving: asyncio.Task[None]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@asynccontextmanager
async def _listening(
    gateway: Gateway, listener: socket.socket, settings: Settings, *, hands_over: bool, page: bool
) -> AsyncIterator[_Listener]:
    """Accept connections while the context lasts; then let the requests in progress end, as long as they may."""
    config = uvicorn_config(
        gateway,
        _gateway_settings(settings),
        websocket_path="/_nicegui_ws/" if page else None,
        log_config=None,
        timeout_graceful_shutdown=int(_LAST_WORDS),
    )
    web = _Listener(gateway, config, grace=settings.server.drain_timeout, hands_over=hands_over)
    async with _background(web.listens.wait(), "wait until it listens") as listens:
        web.serving = serving = asyncio.create_task(web.serve(sockets=[listener]), name="listen")
        await asyncio.wait({serving, listens}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if serving.done():
            raise LamplighterError(f"The server ended while it started: {serving.exception()}")
        yield web
    finally:
        web.should_exit = True
        await serving


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[asyncio.Task[object]]:
    """Own a task while the context lasts."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _listen(settings: Settings, handed: Handed | None) -> AbstractContextManager[socket.socket]:
    if handed is not None:
        return taken_over(handed, keyless=not settings.server.keys)
    return listening_on(settings.server.host, settings.server.port)


async def _open_store(database: Path, *, patience: float) -> Store:
    """Open the database; a server before this one, which still ends, has `patience` seconds to let go of it."""
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            return await Store.open(database)
        except Conflict as taken:
            if time.monotonic() >= deadline:
                raise
            if not told:
                log.info("waiting for the server before this one to end", reason=taken.message, at_most=patience)
                told = True
        await asyncio.sleep(random.uniform(_TAKEOVER_LOOK / 2, _TAKEOVER_LOOK))  # noqa: S311 - no secret


def _providers(settings: Settings, data: Path) -> dict[str, Provider]:
    rates = settings.tariff().rates
    return {
        name: make_provider(
            provider.type or name,
            Site(
                name=name,
                data=data / name,
                resources=provider.resources,
                options=_options(provider, rates.get(name)),
                withheld=settings.secret_variables,
                secrets=settings.secrets,
            ),
        )
        for name, provider in settings.providers.items()
    }


def _options(provider: ProviderSettings, rate: Rate | None) -> Mapping[str, Any]:
    """With what its hardware costs, for the listing of it: this machine knows that from nobody else."""
    if provider.type != "local" or rate is None:
        return provider.options
    return {**provider.options, "price_per_hour": float(rate.amount)}


def _policy(settings: Settings) -> Policy:
    """That of endpoints which say nothing themselves."""
    return settings.defaults.over(settings.defaults)


def _routing(settings: Settings, book: PriceBook, fleet: Fleet) -> Routing:
    return Routing(
        routes=settings.routes(),
        upstreams=settings.upstreams(),
        prices=book.rates,
        token_price=book.token_price,
        sleeps_in=lambda name: fleet.endpoint(name).auto_sleep_in,
        breaker=settings.breaker,
        retry=settings.retry,
    )


def _route_book(settings: Settings) -> RouteBook:
    book = RouteBook()
    book.take(settings.routes(), settings.upstreams())
    return book


def _gateway_settings(settings: Settings) -> GatewaySettings:
    server = settings.server
    return GatewaySettings(
        hosts=frozenset(server.hosts) if is_loopback(server.host) else None,
        cors=frozenset(server.cors),
        max_body_bytes=server.max_body,
        max_held_bytes=server.max_held,
        max_hold=server.max_hold,
        max_connections=server.max_connections,
    )


def _warn(settings: Settings) -> None:
    """Say what of the configuration does not count."""
    for text in settings.warnings:
        log.warning("configuration", text=text)


def _own_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(f"server.data: {path} can't be made: {error.strerror}.", field="server.data") from error
    return path


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
