"""What requests used."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class Outcome(enum.StrEnum):
    """How a request ended."""

    SERVED = "served"
    CUT = "cut"  # the stream broke after its first byte
    CLIENT_GONE = "client_gone"
    DEADLINE = "deadline"  # not ready in time
    REFUSED = "refused"  # a bound was reached, or the server is shutting down
    FAILED = "failed"  # every target failed


@dataclass(slots=True, kw_only=True)
class UsageRecord:
    """What one request used, or several like ones that ended in the same second.

    `at` is the Unix time at which the first of them ended. `route` is one of a bounded set of paths. `waited` and
    `duration` are in seconds, `bytes_in` and `bytes_out` are bodies, `tokens_in` and `tokens_out` what the answers said
    of their own usage (0 where they said nothing); all six are sums. `endpoint` is the target that answered, or the one
    that was meant to; `model` the route that led there (its own name for an endpoint's implied route). `key` is the id
    of the caller's key. `first_byte` sums the seconds from a request's arrival to the first byte of its answer, as far
    as there was one. `attempts` counts how often it was sent, or tried to be. `nanodollars` is what the target charges
    for the tokens, as its price was then; 0 for endpoints, whose time is charged, and where no price is known.
    """

    endpoint: str
    at: float
    route: str
    status: int
    outcome: Outcome
    waited: float
    duration: float
    bytes_in: int
    bytes_out: int
    requests: int = 1
    model: str = ""
    key: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    first_byte: float = 0.0
    attempts: int = 1
    nanodollars: int = 0

    def likeness(self) -> tuple[str, str, str, int, str, int, Outcome]:
        """Records of the same likeness may be added up."""
        return (self.endpoint, self.model, self.key, int(self.at), self.route, self.status, self.outcome)

    def absorb(self, other: UsageRecord) -> None:
        """Add up."""
        self.requests += other.requests
        self.waited += other.waited
        self.duration += other.duration
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.first_byte += other.first_byte
        self.attempts += other.attempts
        self.nanodollars += other.nanodollars


class UsageSink(Protocol):
    """Takes usage records off the hot path."""

    def add(self, record: UsageRecord) -> None:
        """Queue a record; never blocks, never raises."""
