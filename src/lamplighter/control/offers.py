"""What endpoints can be made on, at all providers: asked for when somebody wants to know, and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.demand import Offer
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import LamplighterError
from lamplighter.providers.base import Provider

log = structlog.get_logger("lamplighter.control")

HARDWARE_TIMEOUT = 15.0
"""How long a provider may take to tell its hardware (seconds)."""

HARDWARE_AGE = 60.0
"""How long what it told is taken for true (seconds)."""

HARDWARE_PAUSE = 5.0
"""How long one that could not be asked is left alone (seconds)."""


class Offers:
    """Knows what each provider told last."""

    def __init__(self, providers: Mapping[str, Provider], clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._hardware: dict[str, tuple[float, Sequence[Hardware]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def offers(self) -> Sequence[Offer]:
        """What there is at all providers; one that can't be asked has what it told last."""
        able = [key for key, provider in self._providers.items() if provider.capabilities.deploys]
        listed = await asyncio.gather(*(self._hardware_of(key) for key in able))
        return [Offer(provider=key, hardware=one) for key, found in zip(able, listed, strict=True) for one in found]

    def known(self) -> Mapping[str, Sequence[Hardware]]:
        """What the providers told last, by their keys; asks nobody."""
        return {provider: found for provider, (_, found) in self._hardware.items()}

    async def _hardware_of(self, key: str) -> Sequence[Hardware]:
        """What a provider has; one that can't be asked now has what it had, or nothing.

        Whoever asks while somebody does waits for that answer: anybody may ask, and the provider may be slow.
        """
        async with self._asking.setdefault(key, asyncio.Lock()):
            until, found = self._hardware.get(key, (float("-inf"), ()))
            if self._clock.now() >= until:
                age, found = await self._ask(key, found)
                self._hardware[key] = (self._clock.now() + age, found)
        return found

    async def _ask(self, key: str, before: Sequence[Hardware]) -> tuple[float, Sequence[Hardware]]:
        """How long the answer counts, and the answer."""
        provider = self._providers[key]
        try:
            async with asyncio.timeout(HARDWARE_TIMEOUT):
                found = await provider.hardware()
        except (LamplighterError, TimeoutError) as error:
            log.warning("hardware not told", provider=key, error=str(error) or f"no answer in {HARDWARE_TIMEOUT:g} s")
            return HARDWARE_PAUSE, before
        return (0.0 if provider.capabilities.reports_changes else HARDWARE_AGE), found
