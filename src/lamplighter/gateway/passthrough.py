"""`/endpoints/{name}/…`: any method and path of an endpoint, as it is; a POST to the root may be translated."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lamplighter.errors import EndpointNotFound
from lamplighter.gateway.admission import check_entry
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.keys import may_not_call
from lamplighter.gateway.surface import Surface, plain_error
from lamplighter.gateway.tasks import entering

PREFIX = b"/endpoints/"


def enter(x: Exchange) -> None:
    """See Surface. Raises NotAllowed, Forbidden, KeyRateLimited, InvalidInput, EndpointNotFound."""
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
    try:
        name, _ = _find(x)
    except EndpointNotFound:
        return False
    return x.services.demand.is_public(name)


def _find_own(x: Exchange) -> tuple[str, bytes]:
    """The endpoint, and what of the path is for it. Raises Forbidden, EndpointNotFound."""
    name, rest = _find(x)
    if not x.key.may_call(name) and not x.services.demand.is_public(name):
        raise may_not_call(x.key, name)
    return name, rest


def _find(x: Exchange) -> tuple[str, bytes]:
    raw_name, _, rest = x.request.raw_path[len(PREFIX) :].partition(b"/")
    name = unquote_to_bytes(raw_name).decode("utf-8", "replace")
    endpoint = x.services.demand.resolve(name)
    if endpoint is None:
        raise EndpointNotFound(name, x.key.routes or x.services.demand.known())
    return endpoint, rest


PLAIN = Surface(enter=enter, route=route, describe=plain_error)
