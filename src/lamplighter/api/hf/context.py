"""What the routes of this API work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias

from fastapi import Depends, Path, Request

from lamplighter.api.access import Admin, Operator
from lamplighter.api.hf.loads import Loads
from lamplighter.api.hf.problems import WrongNamespace
from lamplighter.api.hf.translate import Translator
from lamplighter.control.costs import Costs
from lamplighter.control.demand import Deployments, Leases, Operations
from lamplighter.control.meter import Meter
from lamplighter.control.prices import PriceBook
from lamplighter.control.spending import Spending
from lamplighter.domain.endpoint import Transition
from lamplighter.store.records import AuditFilter, AuditRow, UsageBucket


class Records(Protocol):
    """What was written down: `Store` is one. Every method raises StoreError."""

    async def audit_page(self, wanted: AuditFilter, *, limit: int) -> list[AuditRow]: ...

    async def transitions(
        self, endpoint: str | None = None, *, since: float | None = None, limit: int = 100
    ) -> list[Transition]: ...

    async def usage_over_time(self, endpoint: str, *, since: float, until: float, step: float) -> list[UsageBucket]: ...


@dataclass(slots=True, kw_only=True)
class ServedWire:
    """Made once, by the runtime. `started` is the Unix time since which the configured endpoints are there."""

    operations: Operations
    deployments: Deployments
    translator: Translator
    namespace: str
    version: str
    started: float
    meter: Meter
    leases: Leases | None = None
    records: Records | None = None
    loads: Loads | None = None
    prices: PriceBook | None = None
    costs: Costs | None = None
    spending: Spending | None = None


def _wire(request: Request) -> ServedWire:
    served: ServedWire = request.app.state.wire
    return served


Served: TypeAlias = Annotated[ServedWire, Depends(_wire)]


def check_namespace(served: ServedWire, namespace: str) -> None:
    """Raise WrongNamespace unless it is this server's."""
    if namespace != served.namespace:
        text = f"This server has one namespace, {served.namespace!r}; {namespace[:100]!r} is none of its."
        raise WrongNamespace(text)


def _caller(
    namespace: Annotated[str, Path(description="This server's namespace, as whoami tells it.")],
    served: Served,
    actor: Operator,
) -> str:
    check_namespace(served, namespace)
    return actor


def _admin_caller(
    namespace: Annotated[str, Path(description="This server's namespace, as whoami tells it.")],
    served: Served,
    actor: Admin,
) -> str:
    check_namespace(served, namespace)
    return actor


Caller: TypeAlias = Annotated[str, Depends(_caller)]
"""Takes a key that may operate and this server's namespace, and gives the name to record."""

AdminCaller: TypeAlias = Annotated[str, Depends(_admin_caller)]
"""The same for a key that may make, change and delete."""
