"""A marketplace alone, in a place where endpoints could live: it has none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from lamplighter.domain.endpoint import Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import EndpointNotFound, InvalidInput
from lamplighter.providers.base import Capabilities, OnChange
from lamplighter.providers.market import Marketplace


class Shop:
    """A provider without endpoints, around a marketplace."""

    def __init__(self, name: str, market: Marketplace) -> None:
        self._name = name
        self.market = market

    @property
    def capabilities(self) -> Capabilities:
        """Nothing can live here."""
        return Capabilities()

    async def open(self, on_change: OnChange) -> None:
        """Nothing changes here."""

    async def close(self, *, leave_running: bool = False) -> None:
        """Nothing runs here."""

    async def create(self, spec: Spec) -> Status:
        """Raises InvalidInput, always."""
        text = f"endpoints.{spec.name}.provider: {self._name!r} lists and calls models; no endpoint can live there"
        raise InvalidInput(text, field=f"endpoints.{spec.name}.provider")

    async def end_orphans(self) -> list[str]:
        """There are none."""
        return []

    async def update(self, spec: Spec) -> Status:
        """Raises EndpointNotFound, always."""
        raise EndpointNotFound(spec.name, ())

    async def delete(self, name: str) -> None:
        """Raises EndpointNotFound, always."""
        raise EndpointNotFound(name, ())

    async def observe(self, name: str) -> Status:
        """Raises EndpointNotFound, always."""
        raise EndpointNotFound(name, ())

    async def wake(self, name: str) -> None:
        """Raises EndpointNotFound, always."""
        raise EndpointNotFound(name, ())

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        """Raises EndpointNotFound, always."""
        del into
        raise EndpointNotFound(name, ())

    async def hardware(self) -> Sequence[Hardware]:
        """Nothing can be made here."""
        return ()

    def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        """Raises EndpointNotFound, always."""
        del tail, follow
        raise EndpointNotFound(name, ())
