"""`/endpoints/{name}/…`: any method and path of an endpoint, as it is; a POST to the root may be translated."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lamplighter.domain.keys import PASSER_BY
from lamplighter.errors import EndpointNotFound
from lamplighter.gateway.admission import check_entry
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.surface import Surface, plain_error
from lamplighter.gateway.tasks import entering

PREFIX = b"/endpoints/"


def enter(x: Exchange) -> None:
    """See Surface. Raises NotAllowed, KeyRateLimited, InvalidInput, EndpointNotFound."""
    check_entry(x, without_key=_is_public)
    name, rest = _find_own(x)
    if x.request.method in {"GET", "HEAD"}:
        x.probe = x.services.demand.is_probe(name, "/" + rest.decode("ascii", "replace"))


def route(x: Exchange) -> None:
    """See Surface. Raises TaskInvalid, and again what may have changed while the body came."""
    x.endpoint, rest = _find_own(x)
    x.way = x.services.router.implied(x.endpoint)
    x.route = "/endpoints/*"
    x.path = b"/" + rest + (b"?" + x.request.query if x.request.query else b"")
    if x.request.method == "POST":
        if not rest:
            entering.translate(x)
        elif x.body.startswith(entering.UNNAMED):
            entering.name_model(x)
        x.reads("/" + rest.decode("ascii", "replace"))


def _is_public(x: Exchange) -> bool:
    """Whether the endpoint is open to all. Tells nobody without a key which names there are."""
    demand = x.services.demand
    endpoint = demand.resolve(_named(x)[0])
    return endpoint is not None and demand.is_public(endpoint)


def _find_own(x: Exchange) -> tuple[str, bytes]:
    """The endpoint, and what of the path is for it.

    Raises EndpointNotFound, for one that this key may not call as for one that is not there, or is not public any more.
    """
    name, rest = _named(x)
    key, demand = x.key, x.services.demand
    endpoint = demand.resolve(name)
    if endpoint is None or not ((key.may_call(endpoint) and key is not PASSER_BY) or demand.is_public(endpoint)):
        raise EndpointNotFound(name, None if key is PASSER_BY else key.routes or demand.known())
    return endpoint, rest


def _named(x: Exchange) -> tuple[str, bytes]:
    raw_name, _, rest = x.request.raw_path[len(PREFIX) :].partition(b"/")
    return unquote_to_bytes(raw_name).decode("utf-8", "replace"), rest


PLAIN = Surface(enter=enter, route=route, describe=plain_error)
