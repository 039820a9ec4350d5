"""Puts the management routes together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import FastAPI

from lamplighter.api import alarms as alarm_routes
from lamplighter.api import audit, budgets, cost, endpoints, keys, leases, metrics, pages, pricing, problems
from lamplighter.api import explain as explain_routes
from lamplighter.api import market as market_routes
from lamplighter.api import past as past_routes
from lamplighter.api import settings as settings_routes
from lamplighter.api import what_if as what_if_routes
from lamplighter.api.access import Access
from lamplighter.api.alarms import Alarms
from lamplighter.api.audit import AuditRecords
from lamplighter.api.budgets import BudgetBook
from lamplighter.api.health import HealthSource
from lamplighter.api.health import router as health_router
from lamplighter.api.hf import ServedWire, Switch, wire
from lamplighter.api.metrics import MetricsSource
from lamplighter.api.past import PastRecords
from lamplighter.api.settings import SettingsSource
from lamplighter.control.demand import Leases, Operations
from lamplighter.control.explaining import Explainer
from lamplighter.control.keyring import Keyring
from lamplighter.control.market import Market
from lamplighter.control.prices import PriceBook
from lamplighter.control.reports import Reports
from lamplighter.control.routebook import RouteBook
from lamplighter.control.sources import Sources
from lamplighter.control.spending import Spending
from lamplighter.control.what_if import WhatIf

_DESCRIPTION = """\
Wakes model endpoints, puts them to sleep, and tells how they are. Moments are Unix time and durations are seconds.

Inference goes to `/v1/…` with the endpoint's name as `model`, or to the endpoint's own `url`; models that are elsewhere
are called at `/api/inference/…`, and those here can be, too.
"""


def management(
    operations: Operations,
    *,
    health: HealthSource,
    held: Leases | None = None,
    served: ServedWire | None = None,
    measured: MetricsSource | None = None,
    alarms: Alarms | None = None,
    audited: AuditRecords | None = None,
    past: PastRecords | None = None,
    configured_in: str | None = None,
    routes: RouteBook | None = None,
    prices: PriceBook | None = None,
    market: Market | None = None,
    explainer: Explainer | None = None,
    reports: Reports | None = None,
    what_if: WhatIf | None = None,
    spending: Spending | None = None,
    budgeted: BudgetBook | None = None,
    settings: SettingsSource | None = None,
    trusted_proxies: Collection[str] = (),
    access: Access | None = None,
    version: str,
) -> FastAPI:
    """Make the management application.

    `access` tells who may use these routes, and how often; without it all may who can reach them. `held` are the leases
    of sessions; without them their routes find nothing. `served` is what the management API of Inference Endpoints
    works with; without it that is not served. `measured` is what `/metrics` tells; without it that tells nothing.
    `past` is what endpoints went through, and `configured_in` where the configured ones stand.
    `alarms` and `audited` are behind the routes of these names, which find nothing without them. `routes` are the
    configured ones to models. `prices` are what things cost; without it nothing is known of that. `reports` are behind
    the routes of costs, which find nothing without it, as that of `what_if`; `spending` tells what was spent today.
    `budgeted` is what is told of budgets; without it their route finds nothing. `settings` tells what of the
    configuration is in force; without it that route finds nothing. `market` is behind the routes of the marketplace,
    which find nothing without it; what `state.door` of the application is set to serves the calls of models here.
    `trusted_proxies` are the addresses whose X-Forwarded-For is put on record.
    `/healthz`, `/readyz`, `/openapi.json` and `/docs` are open.
    Nothing here contacts another host.
    """
    app = FastAPI(title="Lamplighter", version=version, description=_DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.operations = operations
    app.state.health = health
    app.state.leases = held
    app.state.metrics = measured
    app.state.alarms = alarms
    app.state.audit = audited
    app.state.past = past
    app.state.configured_in = configured_in
    app.state.routes = routes or RouteBook()
    app.state.market = market
    app.state.explainer = explainer
    app.state.door = None
    app.state.reports = reports
    app.state.what_if = what_if
    app.state.spending = spending
    app.state.budgets = budgeted
    app.state.settings = settings
    app.state.prices = prices
    app.state.access = access or Access(Keyring())
    for router in (
        endpoints.router,
        past_routes.router,
        keys.router,
        leases.router,
        alarm_routes.router,
        audit.router,
        pricing.router,
        cost.router,
        what_if_routes.router,
        budgets.router,
        settings_routes.router,
        explain_routes.router,
        market_routes.router,
        health_router,
        metrics.router,
        pages.router,
    ):
        app.include_router(router)
    problems.install(app)
    app.state.access.refusals.watch(app)
    other = wire(served, app.state.access) if served is not None else None
    app.add_middleware(Switch, wire=other, sources=Sources(trusted_proxies))
    if other is not None:
        _describe_together(app, other)
    return app


def _describe_together(app: FastAPI, other: FastAPI) -> None:
    """Let the document of `app` hold the routes of both."""
    own = app.openapi

    def document() -> dict[str, Any]:
        mine, theirs = own(), other.openapi()
        mine["paths"] |= theirs["paths"]
        mine["components"]["schemas"] = _joined(mine["components"]["schemas"], theirs["components"]["schemas"])
        return mine

    app.openapi = document  # type: ignore[method-assign]  # this is how FastAPI wants it changed


def _joined(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of both. Two by one name that differ would describe answers that nobody gives."""
    twice = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    if twice:
        raise ValueError(f"two schemas have one name: {', '.join(twice)}")
    return {**mine, **theirs}
