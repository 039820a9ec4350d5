"""How an endpoint is, in the words of the SDK, and what its state means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from lamplighter.domain.endpoint import Phase, State
from lamplighter.hf.records import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How an endpoint is. `url` only when it can be used now. Durations in seconds; None where nobody told.

    `state` is the provider's word, `phase` what a person needs: `running sleeping starting stopping unknown error`.
    `price_per_hour` is in USD per replica; `price_source` says who told it, `price_estimate` that less or more may be
    paid; `cost_today` is what its server has charged today in USD, `saved_today` what staying awake would have cost on
    top. `last_activity` is RFC 3339. `starting_for`, `expected_start`,
    `auto_sleep_in` and `held_by` (what keeps it awake) come from a Lamplighter, which `at_lamplighter` says. After
    `idle_timeout` without a request it sleeps by itself; None for never. `meaning` is one line: what the state means
    and what it costs, and what to do next.
    """

    name: str
    namespace: str
    state: str
    phase: Phase
    url: str | None
    task: str | None
    model: str | None
    framework: str | None
    instance: str | None
    replicas_ready: int
    replicas: int
    message: str | None = None
    price_per_hour: float | None = None
    price_source: str | None = None
    price_estimate: bool = False
    last_activity: str | None = None
    auto_sleep_in: float | None = None
    starting_for: float | None = None
    expected_start: float | None = None
    held_by: tuple[str, ...] = ()
    idle_timeout: float | None = None
    at_lamplighter: bool = False
    cost_today: Decimal | None = None
    saved_today: Decimal | None = None

    @property
    def meaning(self) -> str:
        """What the state means, what it costs, and what to do next, in one line."""
        by_state = {State.PAUSED: self._paused, State.SCALED_TO_ZERO: self._scaled_to_zero}
        by_phase = {
            Phase.RUNNING: self._running,
            Phase.STARTING: self._starting,
            Phase.STOPPING: self._stopping,
            Phase.SLEEPING: self._scaled_to_zero,
            Phase.ERROR: self._failed,
            Phase.UNKNOWN: self._unknown,
        }
        if self.state in set(State) and State(self.state) in by_state and self.phase is Phase.SLEEPING:
            return by_state[State(self.state)]()
        return by_phase[self.phase]()

    @classmethod
    def of(cls, endpoint: Endpoint) -> Status:
        """Tell from what the provider answered."""
        told, compute, said = own_words(endpoint), endpoint.compute, endpoint.status
        phase = endpoint.phase
        instance = " ".join(part for part in (compute.instance_type, compute.instance_size) if part)
        return cls(
            name=endpoint.name,
            namespace=endpoint.namespace,
            state=endpoint.state,
            phase=phase,
            url=endpoint.url if phase is Phase.RUNNING else None,
            task=endpoint.model.task,
            model=endpoint.model.repository or None,
            framework=endpoint.model.framework or None,
            instance=instance or None,
            replicas_ready=said.ready_replica,
            replicas=said.target_replica,
            message=said.error_message or said.message,
            price_per_hour=number(told.get("price_per_hour")),
            price_source=told["price_source"] if isinstance(told.get("price_source"), str) else None,
            price_estimate=told.get("price_estimate") is True,
            last_activity=said.last_used_at,
            auto_sleep_in=number(told.get("auto_sleep_in")),
            starting_for=number(told.get("starting_for")),
            expected_start=number(told.get("expected_start")),
            held_by=_texts(told.get("held_by")),
            idle_timeout=idle_timeout(endpoint),
            at_lamplighter=bool(told),
            cost_today=decimal(told.get("cost_today")),
            saved_today=decimal(told.get("saved_today")),
        )

    def _running(self) -> str:
        return f"Ready{self._and_billed()}. {self._until_when()} `lamplighter stop {self.name}` pauses it."

    def _until_when(self) -> str:
        held = f"Kept awake by {', '.join(self.held_by)}." if self.held_by else ""
        sleeps = f"It sleeps by itself in {_span(self.auto_sleep_in)}." if self.auto_sleep_in is not None else ""
        if held or sleeps:
            return " ".join(part for part in (held, sleeps) if part)
        if self.idle_timeout is not None:
            return f"It sleeps by itself after {_span(self.idle_timeout)} without a request."
        return "It never sleeps by itself, however long nobody asks."

    def _starting(self) -> str:
        since = f" for {_span(self.starting_for)}" if self.starting_for is not None else ""
        usual = f" (usually {_span(self.expected_start)})" if self.expected_start is not None else ""
        return (
            f"Starting{since}{usual}{self._and_billed(' from when it initializes')}. "
            f"`lamplighter wait {self.name}` waits for it, `lamplighter stop {self.name}` stops it."
        )

    def _stopping(self) -> str:
        billed = self._billed()
        until = f"; {billed} until it is there" if billed else ""
        return f"On its way to sleep{until}. `lamplighter start {self.name}` wakes it again."

    def _paused(self) -> str:
        return (
            "It costs nothing while it is paused, gives its quota back, and no request wakes it. "
            f"`lamplighter start {self.name}` resumes it."
        )

    def _scaled_to_zero(self) -> str:
        return (
            "It costs nothing while it is scaled to zero, keeps its quota, and the next request wakes it. "
            f"`lamplighter start {self.name}` wakes it now, `lamplighter pause {self.name}` gives the quota back."
        )

    def _failed(self) -> str:
        why = f": {self.message.strip()[:300]}" if self.message else ""
        return (
            f"Failed{why}. It serves nothing; whether it is billed its provider knows. `lamplighter logs {self.name}` "
            f"shows why, `lamplighter stop {self.name}` makes sure that it costs nothing."
        )

    def _unknown(self) -> str:
        return (
            f"Not known: its provider says {self.state!r}, or can't be asked, so it may be billed. "
            f"`lamplighter describe {self.name}` shows all of it."
        )

    def _and_billed(self, when: str = "") -> str:
        billed = self._billed()
        return f", and {billed}{when if self.price_per_hour != 0 else ''}" if billed else ""

    def _billed(self) -> str:
        """What it costs; nothing where a Lamplighter does not know, whose endpoints may be on its own machine."""
        if self.price_per_hour is None:
            return "" if self.at_lamplighter else "billed"
        rate = self.price_per_hour * max(1, self.replicas)
        return f"billed (${rate:.2f}/h)" if rate else "free of charge"


def own_words(endpoint: Endpoint) -> Mapping[str, Any]:
    """What a Lamplighter tells beside what the API has; empty at Hugging Face."""
    told = endpoint.raw.get("lamplighter")
    return told if isinstance(told, Mapping) else {}


def idle_timeout(endpoint: Endpoint) -> float | None:
    """After how many seconds without a request it sleeps by itself; None for never."""
    told, scaling = own_words(endpoint), endpoint.compute.scaling
    if "idle_timeout" in told:
        return number(told["idle_timeout"])
    if scaling.min_replica or not scaling.scale_to_zero_timeout:
        return None
    return 60.0 * scaling.scale_to_zero_timeout


def number(value: object) -> float | None:
    """A number out of JSON, or None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def decimal(value: object) -> Decimal | None:
    """An exact amount out of JSON, or None for anything else."""
    try:
        found = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 7200 else f"{round(whole / 3600)} h"
