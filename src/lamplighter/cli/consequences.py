"""What pausing, scaling to zero and deleting mean: what it costs then, what becomes of the quota, how it is undone."""

from __future__ import annotations

from lamplighter.domain.endpoint import Phase
from lamplighter.hf.records import Endpoint

COMPARED = """\
\b
                 billed   quota      next request     undone by
  pause          nothing  given back is refused       resume, or start
  scale-to-zero  nothing  stays held wakes it         the next request, or start
  delete         nothing  given back finds nothing    nothing: deploy makes a new one with another URL
"""
"""For the help of each of the three, so that whoever chooses one sees the others."""

DELETING = (
    "Deleting is for good: its settings, secrets, logs and URL are gone, and a new endpoint gets another URL. "
    "The model's repository stays. `lamplighter pause` costs nothing either, gives the quota back and can be undone."
)


def consequence(endpoint: Endpoint) -> str:
    """One line: what the state that an endpoint is in now costs, and how to get out of it."""
    name, state = endpoint.name, endpoint.state
    if state == "paused":
        return f"it costs nothing and holds no quota; requests are refused until `lamplighter resume {name}`"
    if state == "scaledToZero":
        return f"it costs nothing and keeps its quota; the next request wakes it, or `lamplighter start {name}`"
    match endpoint.phase:
        case Phase.RUNNING:
            return f"it is billed until `lamplighter stop {name}`{_by_itself(endpoint)}"
        case Phase.STARTING:
            return f"it is billed while it starts; `lamplighter wait {name}` waits, `lamplighter stop {name}` stops it"
        case Phase.ERROR:
            said = endpoint.status.error_message or endpoint.status.message
            why = f": {said.strip()}" if said else ""
            return f"it could not be started{why}; `lamplighter logs {name}` shows its last words"
        case Phase.STOPPING:
            return f"it is being stopped; `lamplighter wait {name} --until sleeping` waits for it"
        case _:
            return (
                f"this version of Lamplighter does not know that state; `lamplighter describe {name}` shows all of it"
            )


def _by_itself(endpoint: Endpoint) -> str:
    scaling = endpoint.compute.scaling
    if scaling.min_replica or not scaling.scale_to_zero_timeout:
        return ", however long nobody asks"
    return f", or scales to zero after {scaling.scale_to_zero_timeout} min without a request"
