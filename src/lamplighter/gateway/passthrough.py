"""`/endpoints/{name}/…`: any method and path of an endpoint, as it is."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lamplighter.errors import EndpointNotFound
from lamplighter.gateway.admission import admit_body, check_entry, set_hold
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.surface import Surface, plain_error

PREFIX = b"/endpoints/"


async def admit(x: Exchange) -> bool:
    """See Surface. Raises NotAllowed, InvalidInput, EndpointNotFound, QueueFull, ClientGone."""
    check_entry(x)
    set_hold(x)
    raw_name, _, rest = x.request.raw_path[len(PREFIX) :].partition(b"/")
    name = unquote_to_bytes(raw_name).decode("utf-8", "replace")
    endpoint = x.services.demand.resolve(name)
    if endpoint is None:
        raise EndpointNotFound(name, x.services.demand.known())
    await admit_body(x)
    x.endpoint = endpoint
    x.path = b"/" + rest + (b"?" + x.request.query if x.request.query else b"")
    return True


PLAIN = Surface(admit=admit, describe=plain_error)
