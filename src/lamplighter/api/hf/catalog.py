"""`/api/v1/catalog`: models that this server can serve as they stand here, and deploying them with one call."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response

from lamplighter.api.access import Admin, Operator
from lamplighter.api.hf import documents
from lamplighter.api.hf.context import Served, ServedWire, check_namespace
from lamplighter.api.hf.endpoints import answer, refusals_on_record
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.api.hf.views import one_of_them
from lamplighter.control.demand import Offer
from lamplighter.engines.models import KNOWN_MODELS, KnownModel
from lamplighter.errors import InvalidInput, NotFound
from lamplighter.hf.rules import LOCAL_VENDOR, NAME_LENGTH, proposal

router = APIRouter(prefix="/api/v1/catalog", tags=["catalog"], responses=RESPONSES)

Repository: TypeAlias = Annotated[str, Path(description="The `repoId` of an item, with its slash.")]
RecipeId: TypeAlias = Annotated[str, Path(description="The `publicId` of a recipe.")]

_SINCE = "2026-11-01T00:00:00Z"
_MADE_UP_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way of serving a model that is known to work here."""

    model: KnownModel
    kind: str
    task: str
    image: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What a deploy names it by."""
        return f"{self.model.name.lower()}-llamacpp-{self.kind}"


def recipes() -> list[Recipe]:
    """All of them: each known model for chat, and for embeddings."""
    found = []
    for model in KNOWN_MODELS:
        file = {"modelPath": model.file_name, "ctxSize": 8192, "nParallel": 4, "nGpuLayers": -1}
        found.append(Recipe(model=model, kind="chat", task="text-generation", image=file))
        embedding = {**file, "mode": "embeddings", "pooling": "mean"}
        found.append(Recipe(model=model, kind="embeddings", task="feature-extraction", image=embedding))
    return found


@router.get("/list")
async def list_catalog(
    served: Served,
    _: Operator,
    *,
    accelerator: Annotated[str | None, Query(description="Only recipes for `cpu` or `gpu`.")] = None,
    engine: Annotated[str | None, Query(description="Only recipes of this engine.")] = None,
    license: Annotated[str | None, Query(description="Only models of this licence.")] = None,  # noqa: A002 - the API's word
    task: Annotated[str | None, Query(description="Only models for this task.")] = None,
    search: Annotated[str | None, Query(description="Only models whose name holds this.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=1000, description="How many at most.")] = None,
) -> dict[str, Any]:
    """List models with their recipes: one item for each task of a model."""
    offers = await served.deployments.offers()
    items = []
    for recipe in recipes():
        asked = ((engine, "llamacpp"), (license, recipe.model.license), (task, recipe.task))
        if any(wanted and wanted.lower() != has.lower() for wanted, has in asked):
            continue
        if search and search.lower() not in recipe.model.repository.lower():
            continue
        ways = [kind for kind in _accelerators(offers) if not accelerator or accelerator == kind]
        if ways:
            items.append(_item(recipe, ways))
    return {"items": items[:limit]}


@router.post("/model/{repo_id:path}/deploy")
async def deploy_model(repo_id: Repository, request: Request, served: Served, actor: Admin) -> Response:
    """Deploy a model by its first recipe, or that for the `accelerator` and `ggufFile` that the body names."""
    body = _body(await documents.body_of(request))
    named = [one for one in recipes() if one.model.repository.lower() == repo_id.lower()]
    if not named:
        known = ", ".join(sorted({one.model.repository for one in recipes()}))
        raise NotFound(f"The catalog has no model {repo_id[:100]!r}. It has {known}.")
    file = body.get("ggufFile")
    fitting = [one for one in named if file in (None, one.model.file_name)]
    if not fitting:
        raise InvalidInput(f"ggufFile: {file!r} should be {named[0].model.file_name!r}.", field="ggufFile")
    return await _deploy(fitting[0], body, request, served, actor)


@router.post("/recipe/{recipe_id}/deploy")
async def deploy_recipe(recipe_id: RecipeId, request: Request, served: Served, actor: Admin) -> Response:
    """Deploy a recipe; the body names the namespace, and may name the endpoint: `{"config": {"name": …}}`."""
    body = _body(await documents.body_of(request))
    base, _, accelerator = recipe_id.rpartition("-")
    for one in recipes():
        if recipe_id == one.id or (base == one.id and accelerator in {"cpu", "gpu"}):
            wanted = body if base != one.id else {**body, "accelerator": accelerator}
            return await _deploy(one, wanted, request, served, actor)
    known = ", ".join(one.id for one in recipes())
    raise NotFound(f"The catalog has no recipe {recipe_id[:100]!r}. It has {known}.")


async def _deploy(
    recipe: Recipe, body: Mapping[str, Any], request: Request, served: ServedWire, actor: str
) -> Response:
    check_namespace(served, str(body.get("namespace", "")))
    config = body.get("config")
    name = (config.get("name") if isinstance(config, Mapping) else None) or _free_name(served, recipe)
    document = _document(recipe, name, _place(body.get("accelerator"), await served.deployments.offers()))
    async with refusals_on_record(served, "create", actor, str(name)):
        spec = await documents.new_spec(served, document)
    await served.deployments.create(spec, actor=actor)
    return answer({"endpoint": one_of_them(served, request, spec.name)})


def _body(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise InvalidInput('the body must be a JSON object such as {"namespace": "…"}', field="body")
    return body


def _accelerators(offers: Sequence[Offer]) -> list[str]:
    here = {offer.hardware.accelerator for offer in offers if offer.hardware.vendor == LOCAL_VENDOR}
    return [kind for kind in ("cpu", "gpu") if kind in here]


def _place(accelerator: Any, offers: Sequence[Offer]) -> dict[str, Any]:
    """The smallest that there is of an accelerator on this machine; a CPU unless something else is asked for."""
    kind = accelerator or "cpu"
    fitting = [
        offer.hardware
        for offer in offers
        if offer.hardware.vendor == LOCAL_VENDOR and offer.hardware.accelerator == kind
    ]
    if not fitting:
        known = ", ".join(_accelerators(offers)) or "none"
        raise InvalidInput(f"accelerator: {kind!r} is not there; there is {known}.", field="accelerator")
    one = min(fitting, key=lambda hardware: hardware.num_accelerators)
    return {
        "provider": {"vendor": one.vendor, "region": one.region},
        "compute": {
            "accelerator": one.accelerator,
            "instanceType": one.instance_type,
            "instanceSize": one.instance_size,
            "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": None},
        },
    }


def _document(recipe: Recipe, name: str, place: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "authenticated",
        **place,
        "model": {
            "repository": recipe.model.repository,
            "framework": "llamacpp",
            "revision": None,
            "task": recipe.task,
            "image": {"llamacpp": dict(recipe.image)},
            "fromCatalog": True,
        },
        "tags": [],
    }


def _free_name(served: ServedWire, recipe: Recipe) -> str:
    """The model's name, with something behind it where that is taken."""
    taken = {one.spec.name for one in served.operations.endpoints()} | set(served.deployments.broken)
    name = proposal(recipe.model.name)
    for _ in range(_MADE_UP_NAMES):
        if name not in taken:
            break
        name = f"{proposal(recipe.model.name)[: NAME_LENGTH - 4]}-{secrets.token_hex(2)[:3]}"
    return name


def _item(recipe: Recipe, accelerators: Sequence[str]) -> dict[str, Any]:
    author, _, name = recipe.model.repository.partition("/")
    several = len(accelerators) > 1
    return {
        "repoId": recipe.model.repository,
        "modelName": name,
        "authorName": author,
        "license": recipe.model.license,
        "task": recipe.task,
        "createdAt": _SINCE,
        "recipes": [
            {
                "publicId": f"{recipe.id}-{kind}" if several else recipe.id,
                "accelerator": kind,
                "engineType": "llamacpp",
                "ggufFile": recipe.model.file_name,
                "revision": None,
            }
            for kind in accelerators
        ],
    }
