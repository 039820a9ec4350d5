"""What all exchanges share."""

from __future__ import annotations

from dataclasses import dataclass

from lamplighter.control.demand import Demand
from lamplighter.domain.usage import UsageSink
from lamplighter.gateway.address import Addresses
from lamplighter.gateway.body import HeldBytes
from lamplighter.gateway.keys import Keys
from lamplighter.gateway.pool import Pool
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.sweeper import Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Made once by the gateway."""

    demand: Demand
    usage: UsageSink
    settings: GatewaySettings
    keys: Keys
    pool: Pool
    addresses: Addresses
    held: HeldBytes
    sweeper: Sweeper
