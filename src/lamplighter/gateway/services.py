"""What all exchanges share."""

from __future__ import annotations

from dataclasses import dataclass, field

from lamplighter.control.demand import Demand
from lamplighter.control.purse import NoBudgets, Spent
from lamplighter.domain.usage import UsageSink
from lamplighter.gateway.access_log import AccessLog
from lamplighter.gateway.address import Addresses
from lamplighter.gateway.body import HeldBytes
from lamplighter.gateway.keys import Keys
from lamplighter.gateway.pool import Pool
from lamplighter.gateway.renting import Renting
from lamplighter.gateway.router import Router
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.standing import Standings
from lamplighter.gateway.sweeper import Sweeper
from lamplighter.gateway.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Made once by the gateway."""

    demand: Demand
    usage: UsageSink
    settings: GatewaySettings
    keys: Keys
    pool: Pool
    router: Router
    standings: Standings
    renting: Renting
    addresses: Addresses
    held: HeldBytes
    sweeper: Sweeper
    refusals: dict[str, int] = field(default_factory=dict)
    """How often clients were told each error, by its code."""
    access_log: AccessLog | None = None
    tracing: Tracing | None = None
    spent: Spent = field(default_factory=NoBudgets)
    """Whose budgets leave nothing."""
