"""Calls of models that are no targets here: they are answered elsewhere, and are a key's use all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lamplighter.domain.keys import ApiKey, Role
from lamplighter.domain.routing import TokenPrice
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.errors import EndpointNotFound, LamplighterError, NotAllowed
from lamplighter.gateway.services import Services

ROUTE = "/api/inference"

TARGET = "elsewhere"
"""Under which target such calls stand in the usage records: alone, or before a slash, which no endpoint's name has."""


class NotForElsewhere(NotAllowed):
    """The key may call what is here alone: what is elsewhere is paid for by this server's own account."""

    status = 403
    code = "role_missing"

    def __init__(self, key: ApiKey, model: str) -> None:
        super().__init__(
            f"{model[:100]!r} is no model of this server, and {key.name!r} may not call those elsewhere: that takes a "
            f"key with the role {Role.OPERATE.value!r}, or one that was made for this very model."
        )


class Elsewhere:
    """One call. Whoever makes it tells who answered, and what that took; without that it failed."""

    __slots__ = ("bytes_in", "bytes_out", "nanodollars", "target", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.target = ""
        self.bytes_in = self.bytes_out = 0
        self.tokens_in = self.tokens_out = self.nanodollars = 0

    def answered(self, target: str, *, size: int, tokens: tuple[int, int], price: TokenPrice | None) -> None:
        """Note the answer: its size in bytes, the tokens in and out that it tells, and what they cost if known."""
        self.target, self.bytes_out = target, size
        self.tokens_in, self.tokens_out = tokens
        if price is not None:
            self.nanodollars = price.nanodollars(*tokens)


@contextmanager
def counted(services: Services, key: ApiKey, model: str) -> Iterator[Elsewhere]:
    """See `Gateway.counted`."""
    if not key.may_call_elsewhere(model):
        raise EndpointNotFound(model, key.routes) if key.routes else NotForElsewhere(key, model)
    if (refused := services.spent.by_use(TARGET, key.id)) is not None:
        raise refused
    meter, began = services.keys.meter_of(key), time.monotonic()
    if meter is not None:
        meter.enter(began)
    call, status = Elsewhere(), 500
    try:
        yield call
        status = 200
    except LamplighterError as error:
        status = error.status
        raise
    finally:
        ended = time.monotonic()
        if meter is not None:
            meter.leave(call.tokens_in + call.tokens_out, ended)
        if call.nanodollars:
            services.spent.used(TARGET, key.id, call.nanodollars)
        services.usage.add(_record(call, key, model, status, ended - began))


def _record(call: Elsewhere, key: ApiKey, model: str, status: int, duration: float) -> UsageRecord:
    """A name that nobody answered to is not kept: anybody may make up any number of them."""
    return UsageRecord(
        endpoint=f"{TARGET}/{call.target[:100]}" if call.target else TARGET,
        at=time.time(),
        route=ROUTE,
        status=status,
        outcome=Outcome.SERVED if status == 200 else Outcome.REFUSED if status < 500 else Outcome.FAILED,
        waited=0.0,
        duration=duration,
        bytes_in=call.bytes_in,
        bytes_out=call.bytes_out,
        model=model if call.target else "",
        key=key.id,
        tokens_in=call.tokens_in,
        tokens_out=call.tokens_out,
        nanodollars=call.nanodollars,
    )
