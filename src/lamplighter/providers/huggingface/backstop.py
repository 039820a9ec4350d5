"""The provider's own timer, which puts an endpoint to sleep when nobody here does it any more. Pure."""

from __future__ import annotations

from math import ceil

from lamplighter.domain.endpoint import Policy
from lamplighter.hf.forms import Changes
from lamplighter.hf.records import Scaling
from lamplighter.hf.rules import TIMEOUT_RANGE

MARGIN = 5
"""Minutes by which the provider's timer is longer than ours, so that it acts only where we did not."""

LEAST_IS_ZERO = Changes(min_replica=0)


def wanted_minutes(policy: Policy) -> int | None:
    """After how many idle minutes the provider should scale to zero; None: how it is set is nobody's business here."""
    if policy.idle_timeout is None or policy.keep_warm:
        return None
    least, most = TIMEOUT_RANGE
    own = ceil(policy.idle_timeout / 60)
    return min(most, max(least, own if policy.slept_by_provider else own + MARGIN))


def needed_changes(scaling: Scaling, policy: Policy) -> Changes | None:
    """What has to be changed at the provider; None where it is as it should be. Touches nothing but these two."""
    minutes = wanted_minutes(policy)
    if minutes is None:
        return None
    least = None if scaling.min_replica == 0 else 0
    timeout = None if scaling.scale_to_zero_timeout == minutes else minutes
    return None if least is None and timeout is None else Changes(min_replica=least, scale_to_zero_timeout=timeout)
