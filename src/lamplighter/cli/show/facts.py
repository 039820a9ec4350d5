"""What can be read out of an endpoint's record beside its fields: a Lamplighter's own words, moments, its hardware."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lamplighter.domain.endpoint import Phase
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.status import number, own_words


def moment(text: str | None) -> float | None:
    """Unix time of an RFC 3339 moment, with up to nanoseconds; None for none and for what can't be read."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def last_used(endpoint: Endpoint) -> float | None:
    """When the last request was, in Unix time, where that is told."""
    told = number(own_words(endpoint).get("last_activity"))
    return told if told is not None else moment(endpoint.status.last_used_at)


def replicas(endpoint: Endpoint) -> str:
    """Ready and wanted replicas."""
    return f"{endpoint.status.ready_replica}/{endpoint.status.target_replica}"


def instance(endpoint: Endpoint) -> str | None:
    """What each replica runs on: `nvidia-l4 x1`."""
    words = [word for word in (endpoint.compute.instance_type, endpoint.compute.instance_size) if word]
    return " ".join(words) or None


def location(endpoint: Endpoint) -> str | None:
    """Where it runs: `aws us-east-1`."""
    words = [word for word in (endpoint.provider.vendor, endpoint.provider.region) if word]
    return " ".join(words) or None


def price(endpoint: Endpoint) -> float | None:
    """USD per replica and hour, where the endpoint itself tells."""
    return number(own_words(endpoint).get("price_per_hour"))


def is_billed(endpoint: Endpoint) -> bool:
    """Whether replicas run, or are on their way up: also behind an update that failed, where the old ones go on.

    A state that we do not know counts as billed: better to be looked at once too often.
    """
    if endpoint.phase is Phase.ERROR:
        return endpoint.status.ready_replica > 0 or endpoint.state == "updateFailed"
    if endpoint.phase is Phase.UNKNOWN and own_words(endpoint):  # the server can't ask; it tells the last known state
        return endpoint.state not in {"paused", "scaledToZero", "failed"}
    return endpoint.phase is not Phase.SLEEPING


def as_json(endpoint: Endpoint) -> dict[str, Any]:
    """The API's own object, with the namespace that it lacks."""
    return {"namespace": endpoint.namespace, **endpoint.raw}
