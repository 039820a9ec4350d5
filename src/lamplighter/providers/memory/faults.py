"""What can go wrong at a simulated provider, as scripted."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from lamplighter.errors import (
    Forbidden,
    InvalidInput,
    NoCapacity,
    PaymentRequired,
    ProviderError,
    ProviderUnreachable,
    QuotaExceeded,
    RateLimited,
)
from lamplighter.providers.memory.options import wrong

ANY = "*"
"""Stands for every endpoint."""

VERBS = ("create", "update", "delete", "observe", "wake", "sleep", "hardware")

RETRY_AFTER = 5.0
"""What a provider says that wants fewer questions (seconds)."""

ODD_STATE = "hibernating"
"""A state that nobody has ever heard of."""


class Fault(enum.Enum):
    """What can go wrong with a verb."""

    REFUSE = "refuse"  # the verb raises and has no effect
    REFUSE_FOR_GOOD = "refuse_for_good"  # the same, and says that trying again can't help
    INVALID = "invalid"  # the same: what was asked for can't be
    NO_CAPACITY = "no_capacity"  # the same: no such hardware is free
    QUOTA = "quota"  # the same: the namespace may have no more of it
    PAYMENT = "payment"  # the same: the account can't pay
    FORBIDDEN = "forbidden"  # the same: the token may only read
    RATE_LIMITED = "rate_limited"  # the same: asked too often
    UNREACHABLE = "unreachable"  # the provider can't be asked
    HANG = "hang"  # the verb has no effect and never returns
    LOSE = "lose"  # the verb is accepted and has no effect
    LOSE_ANSWER = "lose_answer"  # the verb has its effect, and raises as if it had not
    BREAK = "break"  # a wake is accepted; the start then fails
    UPDATE_FAILED = "update_failed"  # an update is accepted; it then fails, and the old replicas go on
    ODD_STATE = "odd_state"  # a look is answered with a state that nobody knows


REFUSALS = frozenset(
    {
        Fault.REFUSE,
        Fault.REFUSE_FOR_GOOD,
        Fault.INVALID,
        Fault.NO_CAPACITY,
        Fault.QUOTA,
        Fault.PAYMENT,
        Fault.FORBIDDEN,
        Fault.RATE_LIMITED,
        Fault.UNREACHABLE,
        Fault.HANG,
    }
)
"""Faults that keep a verb from having any effect."""


class Faults:
    """The script: faults by endpoint and verb, used up one by one, and those that never end."""

    def __init__(self, script: Mapping[str, Any] | None = None) -> None:
        """`script` is `{endpoint or "*": {verb: [word, …] or word}}`; a word alone goes wrong each time.

        Raises InvalidInput, with the option's name in front.
        """
        self._next: dict[tuple[str, str], deque[Fault]] = {}
        self._always: dict[tuple[str, str], Fault] = {}
        for name, verbs in _mapping("faults", script or {}).items():
            for verb, words in _mapping(f"faults.{name}", verbs).items():
                self._read(str(name), verb, words)

    def add(self, name: str, verb: str, *faults: Fault) -> None:
        self._next.setdefault((name, verb), deque()).extend(faults)

    def take(self, name: str, verb: str, only: Collection[Fault] | None = None) -> Fault | None:
        """The next fault of a verb, which is used up; None if all goes well. With `only`, others stay for later."""
        for key in ((name, verb), (ANY, verb)):
            queue = self._next.get(key)
            fault = queue[0] if queue else self._always.get(key)
            if fault is not None and (only is None or fault in only):
                if queue:
                    queue.popleft()
                return fault
        return None

    async def suffer(self, name: str, verb: str, only: Collection[Fault] | None = None) -> Fault | None:
        """Raise if the verb is to be refused; else tell what is to go wrong, if anything."""
        fault = self.take(name, verb, only)
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        if fault in REFUSALS:
            _refuse(fault, verb)
        return fault

    def _read(self, name: str, verb: object, words: object) -> None:
        where = f"faults.{name}"
        if verb not in VERBS:
            raise wrong(where, verb, "verb", VERBS)
        where = f"{where}.{verb}"
        if isinstance(words, str):
            self._always[name, str(verb)] = _fault(where, words)
        elif isinstance(words, list | tuple):
            self.add(name, str(verb), *(_fault(where, word) for word in words))
        else:
            raise InvalidInput(f"{where}: {words!r} is no list of faults, such as [refuse, lose].", field=where)


def _refuse(fault: Fault, verb: str) -> NoReturn:
    match fault:
        case Fault.UNREACHABLE:
            raise ProviderUnreachable(f"the provider could not be asked to {verb}")
        case Fault.INVALID:
            raise InvalidInput(f"the provider can't {verb} that")
        case Fault.NO_CAPACITY:
            raise NoCapacity("the provider has no such hardware free now")
        case Fault.QUOTA:
            raise QuotaExceeded("the quota for this hardware is used up")
        case Fault.PAYMENT:
            raise PaymentRequired("Payment method required for namespace: memory")
        case Fault.FORBIDDEN:
            right = "inference.endpoints.write"
            raise Forbidden(f"missing permissions: {right}", permission=right)
        case Fault.RATE_LIMITED:
            raise RateLimited("the provider was asked too often", retry_after=RETRY_AFTER)
        case _:
            raise ProviderError(f"{verb} was refused", permanent=fault is Fault.REFUSE_FOR_GOOD)


def _fault(where: str, word: object) -> Fault:
    known = [fault.value for fault in Fault]
    if word not in known:
        raise wrong(where, word, "fault", known)
    return Fault(word)


def _mapping(where: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        text = f"{where}: {value!r} is no table; write {{chat: {{wake: [no_capacity]}}}}, or '*' for every endpoint."
        raise InvalidInput(text, field=where)
    return value
