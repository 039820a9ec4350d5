"""Reading what a configuration says of how a provider bills: `options.billing`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamplighter.domain.endpoint import State
from lamplighter.domain.ledger import EXACT
from lamplighter.domain.money import BillingRule
from lamplighter.errors import InvalidInput

_KEYS = ("states", "step", "minimum")
_LONGEST = 86400.0


def billing_rule(value: object, otherwise: BillingRule = EXACT) -> BillingRule:
    """`{states: [running], step: 60, minimum: 60}`: which states are billed, rounded up to how many seconds.

    None, and what is left out, is as `otherwise`. Raises InvalidInput.
    """
    if value is None:
        return otherwise
    if not isinstance(value, Mapping):
        raise _wrong("billing", value, "a mapping of states, step and minimum")
    for key in value:
        if key not in _KEYS:
            raise InvalidInput(f"billing.{key}: unknown key; known: {', '.join(_KEYS)}.", field=f"billing.{key}")
    return BillingRule(
        billed=_states(value["states"]) if "states" in value else otherwise.billed,
        step=_seconds("step", value, otherwise.step),
        minimum=_seconds("minimum", value, otherwise.minimum),
    )


def _states(value: Any) -> frozenset[State]:
    known = {state.value: state for state in State}
    if not isinstance(value, list | tuple) or not value:
        raise _wrong("billing.states", value, "a list of states, such as [initializing, running]")
    for word in value:
        if word not in known:
            raise _wrong("billing.states", word, f"a state; known: {', '.join(known)}")
    return frozenset(known[word] for word in value)


def _seconds(key: str, value: Mapping[Any, Any], otherwise: float) -> float:
    given = value.get(key, otherwise)
    good = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not good or not 0 <= given <= _LONGEST:
        raise _wrong(f"billing.{key}", given, f"a number of seconds from 0 to {_LONGEST:g}")
    return float(given)


def _wrong(field: str, value: object, right: str) -> InvalidInput:
    return InvalidInput(f"{field}: {value!r} should be {right}.", field=field)
