"""The end of a session, seen through: whether the endpoint that was to be paused falls asleep."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from lamplighter.domain.endpoint import Phase
from lamplighter.errors import EndpointNotFound, LamplighterError, ProviderError
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.status import own_words

PATIENCE = 20.0
"""How long an endpoint may take to fall asleep before something is said of it (seconds)."""

_STUCK = 5.0  # how long a Lamplighter may tell of trouble before it is believed to last
_LOOKS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_LATER = 3.0

Look = Callable[[], Awaitable[Endpoint]]


class NotAsleep(ProviderError):
    """A pause was accepted, and the endpoint is awake all the same."""


async def see_asleep(name: str, look: Look, *, patience: float = PATIENCE) -> str | None:
    """Look until it sleeps, is gone, or is held by somebody else.

    Returns what is to be said of one that is still on its way after `patience` seconds, else None. Raises NotAsleep
    for one that stays awake, or that nobody can tell anything of.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + patience
    stuck_at: float | None = None
    seen: Endpoint | None = None
    trouble: LamplighterError | None = None
    for pause in itertools.chain(_LOOKS, itertools.repeat(_LATER)):
        if now() + pause >= deadline:
            break
        await asyncio.sleep(pause)
        try:
            async with asyncio.timeout_at(deadline):
                seen, trouble = await look(), None
        except EndpointNotFound:
            return None
        except LamplighterError as error:
            trouble = error  # it says nothing of the endpoint
            continue
        except TimeoutError:
            break
        if seen.phase is Phase.SLEEPING or _is_used(seen):
            return None
        stuck_at = (stuck_at or now()) if _is_stuck(seen) else None
        if stuck_at is not None and now() - stuck_at >= _STUCK:
            break
    if seen is not None and seen.phase is Phase.STOPPING and not _is_stuck(seen):
        return f"{name!r} is on its way to sleep since more than {patience:g} s, and billed until it is there."
    raise NotAsleep(_text(seen, trouble))


def _is_used(seen: Endpoint) -> bool:
    """Whether a Lamplighter says that somebody else has a session on it, or has resumed it."""
    told = own_words(seen)
    return bool(told.get("leases")) or told.get("paused") is False


def _is_stuck(seen: Endpoint) -> bool:
    """Whether a Lamplighter says that something else than requests under way keeps it awake."""
    told = own_words(seen)
    return bool(told) and not told.get("in_flight") and (seen.phase is not Phase.STOPPING or bool(told.get("message")))


def _text(seen: Endpoint | None, trouble: LamplighterError | None) -> str:
    if seen is None:
        return f"the pause was accepted, and nobody could be asked whether it was done: {trouble or 'no answer came.'}"
    said = seen.status.error_message or seen.status.message
    detail = f": {said.strip()[:300].rstrip('.')}" if said else ""
    return f"the pause was accepted, and it is still {seen.state}{detail}."
