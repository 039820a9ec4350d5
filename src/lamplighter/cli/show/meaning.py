"""What a server's own status route tells, in the words that the SDK has for every endpoint."""

from __future__ import annotations

from lamplighter.cli.reach.answers import EndpointView
from lamplighter.domain.endpoint import Phase, State
from lamplighter.sdk.status import Status, decimal

_PHASES = {phase.value: phase for phase in Phase}
_WAYS_TO_SLEEP = {State.PAUSED.value: "paused", State.SCALED_TO_ZERO.value: "scaled to zero"}


def status_of(view: EndpointView) -> Status:
    """The same as a record of the SDK. What that route does not tell, such as a task, is not known."""
    return Status(
        name=view.name,
        namespace="",
        state=view.state or "unknown",
        phase=_PHASES.get(view.status, Phase.UNKNOWN),
        url=view.url,
        task=None,
        model=view.model,
        framework=view.engine,
        instance=None,
        replicas_ready=view.replicas_ready,
        replicas=view.replicas,
        message=view.message,
        price_per_hour=view.price_per_hour,
        price_source=view.price_source,
        price_estimate=view.price_estimate,
        auto_sleep_in=view.auto_sleep_in,
        starting_for=view.starting_for,
        expected_start=view.expected_start,
        held_by=view.held_by,
        idle_timeout=view.idle_timeout,
        at_lamplighter=True,
        cost_today=decimal(view.cost_today),
        saved_today=decimal(view.saved_today),
    )


def state_word(view: EndpointView) -> str:
    """The phase; for one that is asleep in which way: only one of the two is woken by a request."""
    return _WAYS_TO_SLEEP.get(view.state or "", view.status) if view.status == Phase.SLEEPING else view.status
