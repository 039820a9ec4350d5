"""`/v1/…`: the surface that OpenAI's clients speak. The model's name chooses the endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from lamplighter.control.demand import Listing
from lamplighter.domain.endpoint import Phase
from lamplighter.domain.routing import Route
from lamplighter.errors import EndpointNotFound, InvalidInput
from lamplighter.gateway.admission import check_entry
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.model import is_json, model_in_form, model_in_json
from lamplighter.gateway.openai_paths import POSTED
from lamplighter.gateway.refusals import MethodNotAllowed, UnknownPath
from lamplighter.gateway.surface import Surface, v1_error

_MODELS = "/v1/models"
_HEADER = b"x-lamplighter-model"


def enter(x: Exchange) -> object | None:
    """See Surface. Raises NotAllowed, InvalidInput, EndpointNotFound."""
    check_entry(x)
    request = x.request
    if request.path.startswith(_MODELS):
        rest = request.path[len(_MODELS) :]
        if not rest or rest[0] == "/":
            return _models(x, rest[1:])
    if request.method != "POST" and _HEADER not in request.kept:
        raise _misdirected(request.method, request.path)
    return None


def route(x: Exchange) -> None:
    """See Surface. Raises InvalidInput, EndpointNotFound."""
    model = _model_of(x)
    x.way = way = x.services.router.find(model, known=x.key.routes)
    if not x.key.may_call(way.name):  # the same answer: whether there is such a model is not for this key
        raise EndpointNotFound(model, x.key.routes)
    x.endpoint = way.tiers[0][0].name
    x.by_model = True
    path = x.request.path
    x.route = path if path in POSTED else "/v1/*"
    x.reads(path)
    if x.request.query:
        x.path = x.request.raw_path + b"?" + x.request.query


def _model_of(x: Exchange) -> str:
    if is_json(x.body):
        return model_in_json(x.body)
    content_type = x.request.header(b"content-type") or b""
    if content_type[:20].lower().startswith(b"multipart/form-data"):
        return model_in_form(x.body, content_type)
    if _HEADER in x.request.kept:
        return x.request.kept[_HEADER].decode("utf-8", "replace")
    return model_in_json(x.body)


def _misdirected(method: str, path: str) -> InvalidInput:
    if path in POSTED:
        return MethodNotAllowed(f"{path} takes POST, not {method}.", allow="POST")
    text = (
        f"{method} {path[:200]} is not served here: it does not tell which model it is for. "
        "Send a POST whose body names a model, or the header x-lamplighter-model, "
        "or call /endpoints/{name}/… ; GET /v1/models lists the names."
    )
    return UnknownPath(text)


def _models(x: Exchange, wanted: str) -> object:
    if x.request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(f"{x.request.path[:200]} takes GET, not {x.request.method}.", allow="GET, HEAD")
    listings = x.services.demand.listings()
    router = x.services.router
    shown = {one.name: _shown(one) for one in listings}
    shown |= {way.name: _shown_route(way, listings, told=not x.key.routes) for way in router.routes}
    if wanted:
        name = router.find(wanted, known=x.key.routes).name
        if name not in shown or not x.key.may_call(name):
            raise EndpointNotFound(wanted, x.key.routes or shown)
        return shown[name]
    return {"object": "list", "data": [shown[name] for name in shown if x.key.may_call(name)]}


def _shown(one: Listing) -> dict[str, object]:
    return {
        "id": one.name,
        "object": "model",
        "created": one.created,
        "owned_by": "lamplighter",
        "model": one.model,
        "phase": one.phase.value,
        "task": one.task,
    }


def _shown_route(way: Route, listings: Sequence[Listing], *, told: bool) -> dict[str, object]:
    """A route as a model: it is as its first endpoint is, and with an upstream among its targets always on.

    Where it leads is told to keys that may call everything.
    """
    endpoints = {one.name: one for one in listings}
    targets = [target.name for target in way.targets]
    known = [endpoints[name] for name in targets if name in endpoints]
    always_on = len(known) < len(targets)
    first = known[0] if known else None
    return {
        "id": way.name,
        "object": "model",
        "created": first.created if first else 0,
        "owned_by": "lamplighter",
        "model": first.model if first else None,
        "phase": Phase.RUNNING.value if always_on or first is None else first.phase.value,
        "task": first.task if first else None,
        **({"targets": targets} if told else {}),
    }


OPENAI = Surface(enter=enter, route=route, describe=v1_error)
