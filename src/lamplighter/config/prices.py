"""`prices`: which sources of prices are asked, beside what the configuration itself names."""

from __future__ import annotations

from pydantic import Field

from lamplighter.config.section import Section
from lamplighter.config.values import BaseUrl, Flag, PositiveDuration

SOONEST = 60.0
"""More often than this no source is asked (seconds)."""


class PricesSettings(Section):
    """Where prices come from. What the configuration names itself counts before all of them."""

    hardware: Flag = True
    """Whether the providers that are configured are asked what their hardware costs."""
    router: Flag | None = None
    """Whether Hugging Face's router is asked what models cost. Left out: if it is one of the upstreams."""
    router_url: BaseUrl = ""
    """The base URL of that router. Left out: the upstream's, else https://router.huggingface.co/v1."""
    list_prices: Flag | None = None
    """Whether the list prices of the package genai-prices count. Left out: those of the upstreams that it knows."""
    snapshot: Flag = True
    """Whether the published prices of Hugging Face's hardware that come along count until others are told."""
    refresh_every: PositiveDuration = Field(default=3600.0, ge=SOONEST)
    """How often prices are asked for, a tenth more or less."""
