"""Bodies that come in: read, bounded, checked, turned into specs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from lamplighter.api.bodies import TooLarge, TooSlow
from lamplighter.api.hf.context import ServedWire
from lamplighter.api.hf.translate import check_installed, find_offer, merged, parted, resources_of
from lamplighter.control.demand import Offer, Revise
from lamplighter.domain.endpoint import Deployment, Spec
from lamplighter.errors import InvalidInput
from lamplighter.hf import rules, wire_rules

BODY_TIMEOUT = 60.0
"""How long a body may take to come (seconds)."""

_LARGEST = 1_000_000


async def body_of(request: Request) -> Any:
    """The JSON of a body, None where there is none. Raises InvalidInput, TooLarge, TooSlow."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            raw = await _read(request)
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {BODY_TIMEOUT:g} seconds.", field="body") from None
    except ClientDisconnect:
        raise InvalidInput("The body was cut off.", field="body") from None
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it can't be read"
        raise InvalidInput(f"Failed to parse the request body as JSON: {reason}.", field="body") from None


async def _read(request: Request) -> bytearray:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > _LARGEST:
            raise TooLarge(f"The body is too large: at most {_LARGEST} bytes are taken.", field="body")
    return raw


def name_in(body: Any) -> str:
    """The name that a body gives, whatever else is wrong with it; the empty text where it gives none."""
    name = body.get("name") if isinstance(body, Mapping) else None
    return name if isinstance(name, str) else ""


async def new_spec(wire: ServedWire, body: Any) -> Spec:
    """What a create asks for. Raises InvalidInput with the path of the field."""
    _refuse_old_type(body)
    wire_rules.check_create_body(body)
    document, secrets = parted(body)
    return _spec(wire, Deployment(document=document, secrets=secrets), await wire.deployments.offers())


async def revision(wire: ServedWire, body: Any) -> Revise:
    """What an update makes of a deployment; an empty one changes nothing."""
    offers = await wire.deployments.offers()

    def revise(current: Deployment) -> Spec:
        change = _without_null_task({} if body is None else body)
        _refuse_old_type(change)
        wire_rules.check_update_body(change, _whole(current))
        document, secrets = parted(merged(current.document, change), current.secrets)
        return _spec(wire, Deployment(document=document, secrets=secrets), offers)

    return revise


def _spec(wire: ServedWire, deployment: Deployment, offers: Sequence[Offer]) -> Spec:
    offer = find_offer(deployment.document, offers)
    spec = wire.translator.spec(deployment, provider=offer.provider, resources=resources_of(offer.hardware))
    check_installed(spec)
    return spec


def _refuse_old_type(body: Any) -> None:
    """The API coerces words that it does not know; here nobody gets another kind of access than was asked for."""
    if isinstance(body, Mapping) and body.get("type") == rules.OLD_TYPE:
        raise InvalidInput(f"type: {rules.OLD_TYPE!r} is an old word; the right one is 'authenticated'.", field="type")


def _without_null_task(change: Any) -> Any:
    """An answer shows a null where there is no task, and clients send back what they read."""
    model = change.get("model") if isinstance(change, Mapping) else None
    if not isinstance(model, Mapping) or model.get("task", "") is not None:
        return change
    return {**change, "model": {key: value for key, value in model.items() if key != "task"}}


def _whole(current: Deployment) -> dict[str, Any]:
    """A deployment in the shape of a create body, for rules that look at all of it."""
    model = {**(current.document.get("model") or {}), "secrets": dict(current.secrets)}
    return {**current.document, "model": model}
