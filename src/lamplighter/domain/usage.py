"""What one request used."""

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
    """One request to an endpoint. `at` is the Unix time of its end; times in seconds, sizes in bytes."""

    endpoint: str
    at: float
    request_id: str
    path: str
    status: int
    outcome: Outcome
    waited: float
    duration: float
    bytes_in: int
    bytes_out: int


class UsageSink(Protocol):
    """Takes usage records off the hot path."""

    def add(self, record: UsageRecord) -> None:
        """Queue a record; never blocks, never raises."""
