"""Keeps what opens the sources from running out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets
from lamplighter.secrets.vault import DEADLINE

log = structlog.get_logger("lamplighter.secrets")

LOOK_EVERY = 30.0
"""A reload may begin to use a Vault (seconds)."""
_PATIENCE = 4 * DEADLINE
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_JITTER = 0.1


async def keep_renewed(
    secrets: Secrets,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> None:
    """Renew tokens before their time is over, for ever. A renewal that fails is tried again after growing pauses.

    A tenth of each wait is left to chance, on the early side: many servers should not come to a Vault at once.
    """
    failures = 0
    while True:
        due = secrets.due()
        if due is None or due > LOOK_EVERY:
            failures = 0
            await sleep(LOOK_EVERY)
            continue
        if failures:
            await sleep(min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE) * (1 - chance() / 2))
        else:
            await sleep(due * (1 - _JITTER * chance()))
        failures = 0 if await _renewed(secrets) else min(failures + 1, 20)


async def _renewed(secrets: Secrets) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            await asyncio.to_thread(secrets.renew)
    except (SecretError, TimeoutError) as error:
        told = error.message if isinstance(error, SecretError) else f"no answer within {_PATIENCE:g} s"
        log.error("a token that opens secrets was not renewed", error=told)  # noqa: TRY400 - no fault of this program
        return False
    except Exception:
        log.exception("renewing tokens broke")  # the next attempt may work: this task has to live
        return False
    log.info("renewed the token that opens secrets")
    return True
