"""Amounts, prices and how a provider bills. Exact: an amount is a Decimal, or a whole number of nanodollars in tables.

All amounts are US dollars: no feed that is read here quotes another currency, and one that did is refused.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal

from lamplighter.domain.endpoint import State

NANOS = 1_000_000_000
"""Nanodollars in a dollar. 64 bits hold nine billion dollars of them."""

_NANO = Decimal(1) / NANOS


class Unit(enum.StrEnum):
    """What a price is for."""

    REPLICA_HOUR = "replica_hour"
    MILLION_TOKENS_IN = "million_tokens_in"
    MILLION_TOKENS_OUT = "million_tokens_out"
    IMAGE = "image"
    REQUEST = "request"
    AUDIO_MINUTE = "audio_minute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What somebody said that something costs, from a moment on.

    `subject` is what is priced: hardware by its id (`aws-us-east-1-nvidia-l4-x1`), a model at an upstream's provider
    (`novita/deepseek-ai/DeepSeek-V3`), or an endpoint by its name. `source` is who said so: `configuration`,
    `huggingface`, `router`, `genai-prices`, `snapshot 2026-09-01`. `at` is the Unix time of the quote. `region` is the
    provider's word for it, or empty. `age`: how many seconds ago it
    was last found to hold; None where nobody has looked that up.
    """

    subject: str
    unit: Unit
    amount: Decimal
    source: str
    at: float
    currency: str = "USD"
    region: str = ""
    age: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRule:
    """How a provider turns time into an amount.

    Each replica is billed while the endpoint is in one of the states `billed`; a billed period is rounded up to
    multiples of `step` seconds, and is at least `minimum` seconds.
    """

    billed: frozenset[State]
    step: float = 0.0
    minimum: float = 0.0


def nanos(amount: Decimal) -> int:
    """An amount of dollars as whole nanodollars, rounded half to even."""
    return int((amount * NANOS).to_integral_value(ROUND_HALF_EVEN))


def dollars(nanos: int) -> Decimal:
    """Whole nanodollars as dollars, exactly."""
    return nanos * _NANO


def in_words(amount: Decimal) -> str:
    """An amount of dollars for people, to the cent: $12.34. Below a dollar two digits that count: $0.0034."""
    if abs(amount) >= 1 or not amount:
        return f"${amount:,.2f}"
    text = f"{amount:.{min(1 - amount.adjusted(), 9)}f}"
    return "$" + text.rstrip("0").ljust(len("0.00"), "0")
