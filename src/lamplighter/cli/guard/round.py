"""One round of the guard: look, decide, pause, look again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lamplighter.cli.guard.bill import Bill, Running, describe, write_bill
from lamplighter.cli.guard.sessions import Sessions
from lamplighter.cli.guard.verdict import Rules, kept_by, unwanted, wants_witness
from lamplighter.cli.guard.witness import witnesses
from lamplighter.cli.reach.together import Outcome, side_by_side
from lamplighter.cli.show.facts import is_billed
from lamplighter.errors import EndpointNotFound, ProviderError

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One that is running, and what is thought of it. `outcome` is there when it was to be paused.

    `kept` says why it goes on, `unwanted` why nothing keeps it.
    """

    running: Running
    kept: str | None
    unwanted: str | None = None
    outcome: Outcome[str] | None = None

    @property
    def done(self) -> str:
        """`kept`, `unwanted`, `paused`, `failed`, or what it turned out to be when it was to be paused."""
        if self.kept:
            return "kept"
        if self.outcome is None:
            return "unwanted"
        return "failed" if self.outcome.error else self.outcome.result or "paused"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        error = self.outcome.error.message if self.outcome and self.outcome.error else None
        return {**self.running.as_json(), "done": self.done, "why": self.kept or self.unwanted, "error": error}


@dataclass(frozen=True, slots=True)
class Round:
    """What was found and done."""

    bill: Bill
    findings: tuple[Finding, ...] = field(default=())

    @property
    def unused(self) -> tuple[Running, ...]:
        """What runs on though nothing keeps it: also what could not be paused."""
        return tuple(one.running for one in self.findings if one.done in {"unwanted", "failed"})

    @property
    def paused(self) -> tuple[Running, ...]:
        """What was running for nobody, and is paused."""
        return tuple(one.running for one in self.findings if one.done == "paused")

    def exit_code(self, *, fail_if_running: bool) -> int:
        """1 where something could not be paused or priced, or runs on though nothing keeps it and that is to fail."""
        failed = any(finding.done == "failed" for finding in self.findings)
        left = any(finding.done == "unwanted" for finding in self.findings)
        return 1 if failed or (left and fail_if_running) else 0


async def make_round(
    client: AsyncClient, namespace: str | None, rules: Rules, sessions: Sessions, *, pauses: bool
) -> Round:
    """Look at all that runs; with `pauses` pause what nothing keeps, side by side."""
    bill = await write_bill(client, namespace, sessions)
    now = time.time()
    found = await _with_witnesses(client, bill.running, rules, now)
    bill = replace(bill, running=found)
    judged = [(running, kept_by(running, rules, now)) for running in found]
    outcomes: dict[str, Outcome[str]] = {}
    if pauses:
        idle = {running.name: running for running, kept in judged if kept is None}
        done = await side_by_side(list(idle), lambda name: _pause(client, idle[name], rules, sessions))
        outcomes = {outcome.name: outcome for outcome in done}
    return Round(
        bill,
        tuple(
            Finding(
                running=running,
                kept=kept,
                unwanted=None if kept else unwanted(running, rules, now),
                outcome=outcomes.get(running.name),
            )
            for running, kept in judged
        ),
    )


async def _with_witnesses(
    client: AsyncClient, found: Sequence[Running], rules: Rules, now: float
) -> tuple[Running, ...]:
    """The same, where it matters with what more can be found out: the graphs are a question for each endpoint."""
    asked = [running for running in found if wants_witness(running, rules, now)]
    seen = {running.name: running for running in await witnesses(client, asked, rules.idle, now)}
    return tuple(seen.get(running.name, running) for running in found)


async def _pause(client: AsyncClient, running: Running, rules: Rules, sessions: Sessions) -> str:
    """Pause one, unless it is used or gone by now; returns what it is then. Raises what pausing fails with."""
    name, namespace = running.endpoint.name, running.endpoint.namespace
    try:
        current = await client.get(name, namespace=namespace)
        if not is_billed(current):
            return current.state
        again = describe(current, {}, sessions)
        if again.since is None:  # what the graphs showed a moment ago
            again = replace(again, since=running.since, unknown=running.unknown)
        if reason := kept_by(again, rules, time.time()):
            return f"kept after all: {reason}"
        paused = await client.pause(name, namespace=namespace)
    except EndpointNotFound:
        return "gone"
    if is_billed(paused) and is_billed(paused := await client.get(name, namespace=namespace)):
        raise ProviderError(f"it was told to pause, and is {paused.state} still")
    return "paused"
