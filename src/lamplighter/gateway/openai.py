"""`/v1/…`: the surface that OpenAI's clients speak. The model's name chooses the endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from lamplighter.control.demand import Demand, Listing
from lamplighter.errors import EndpointNotFound, InvalidInput
from lamplighter.gateway.admission import check_entry
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.model import model_in_form, model_in_json
from lamplighter.gateway.refusals import MethodNotAllowed, UnknownPath
from lamplighter.gateway.surface import Surface, openai_error

_MODELS = "/v1/models"
_HEADER = b"x-lamplighter-model"

# Paths that a wrong method is told about; a POST to any other path is relayed as well.
_POSTED = frozenset(
    f"/v1/{path}"
    for path in (
        "chat/completions",
        "completions",
        "embeddings",
        "responses",
        "rerank",
        "score",
        "classify",
        "moderations",
        "messages",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "images/generations",
        "images/edits",
    )
)


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
    x.endpoint = resolve(x.services.demand, _model_of(x))
    x.by_model = True
    x.route = x.request.path if x.request.path in _POSTED else "/v1/*"
    if x.request.query:
        x.path = x.request.raw_path + b"?" + x.request.query


def resolve(demand: Demand, name: str) -> str:
    """The endpoint behind a name. Raises EndpointNotFound."""
    endpoint = demand.resolve(name)
    if endpoint is None:
        raise EndpointNotFound(name, demand.known())
    return endpoint


def _model_of(x: Exchange) -> str:
    if x.body[:1] == b"{":
        return model_in_json(x.body)
    content_type = x.request.header(b"content-type") or b""
    if content_type[:20].lower().startswith(b"multipart/form-data"):
        return model_in_form(x.body, content_type)
    if _HEADER in x.request.kept:
        return x.request.kept[_HEADER].decode("utf-8", "replace")
    return model_in_json(x.body)


def _misdirected(method: str, path: str) -> InvalidInput:
    if path in _POSTED:
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
    if not wanted:
        return {"object": "list", "data": [_shown(one) for one in listings]}
    return _shown(_find(resolve(x.services.demand, wanted), listings))


def _find(name: str, listings: Sequence[Listing]) -> Listing:
    for one in listings:
        if one.name == name:
            return one
    raise EndpointNotFound(name, [one.name for one in listings])


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


OPENAI = Surface(enter=enter, route=route, describe=openai_error)
