"""What a server tells of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as `/api/endpoints/status` shows it.

    Moments are Unix seconds, durations seconds. What is unknown is left out, so that older and newer servers can be
    talked to.
    """

    name: str
    status: str
    url: str | None = None
    state: str | None = None
    state_age: float | None = None
    model: str | None = None
    engine: str | None = None
    replicas_ready: int = 0
    replicas: int = 1
    in_flight: int = 0
    waiting: int = 0
    last_activity: float | None = None
    auto_sleep_in: float | None = None
    idle_timeout: float | None = None
    starting_for: float | None = None
    expected_start: float | None = None
    held_by: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    message: str | None = None
    breaker: str | None = None
    price_per_hour: float | None = None
    price_source: str | None = None
    price_estimate: bool = False
    cost_today: str | None = None
    saved_today: str | None = None

    @classmethod
    def of(cls, name: str, body: Mapping[str, Any]) -> EndpointView:
        """Read one endpoint's part of an answer. Raises msgspec.ValidationError."""
        return msgspec.convert({**body, "name": name}, cls)
