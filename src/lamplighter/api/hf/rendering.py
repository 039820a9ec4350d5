"""An endpoint as `EndpointWithStatus`, whatever it is made from.

One that was made over this API is told from its document, with all that we do not know of in it; a configured one from
its spec. What is secret is blank: the values of `secrets`, of a configured engine's environment, and registry
credentials.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamplighter.api.hf import moments
from lamplighter.api.hf.translate.variants import variant_of_engine
from lamplighter.control.demand import BrokenDeployment, Lease
from lamplighter.control.prices import Priced
from lamplighter.control.spending import Spending
from lamplighter.domain.endpoint import ASLEEP, Deployment, Endpoint, EngineSpec, Phase, Spec, State
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.prices import money

DEFAULT_HEALTH_ROUTE = "/health"

_NOT_OURS = frozenset({"name", "type", "status", "healthRoute", "lamplighter"})
"""What an endpoint has here in its own right, wherever it lives."""

_OPTIONAL: Mapping[str, Any] = {
    "privateService": None,
    "route": None,
    "notifications": {},
    "experimentalFeatures": {},
    "tags": [],
}
_MODEL: Mapping[str, Any] = {"args": [], "command": [], "env": {}, "fromCatalog": False}
_ON_ITS_WAY = frozenset({State.RUNNING.value, State.PENDING.value, State.INITIALIZING.value})
_WORDS = {
    Phase.RUNNING: "Endpoint is ready",
    Phase.SLEEPING: "Endpoint is asleep: the next request wakes it",
    Phase.STARTING: "Endpoint is starting",
    Phase.STOPPING: "Endpoint is being put to sleep: what is in flight ends first",
    Phase.UNKNOWN: "Its provider can't be asked; this is what it said last",
    Phase.ERROR: "Endpoint failed to deploy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an endpoint's own record does not tell. `base` is how the client calls this server.

    `hardware` is what each provider has, by its key. `price` is what an endpoint costs, by its name;
    `spending` what it has cost today.
    """

    base: str
    started: float
    hardware: Mapping[str, Sequence[Hardware]] = field(default_factory=dict)
    price: Callable[[str], Priced | None] = lambda _name: None
    spending: Spending | None = None
    leases: Sequence[Lease] = ()

    def hardware_of(self, provider_key: str, document: Mapping[str, Any]) -> Hardware | None:
        """What the endpoint of this document runs on at its provider, where it is known."""
        compute, provider = document.get("compute") or {}, document.get("provider") or {}
        wanted = (
            provider.get("vendor"),
            provider.get("region"),
            compute.get("instanceType"),
            compute.get("instanceSize"),
        )
        for one in self.hardware.get(provider_key, ()):
            if (one.vendor, one.region, one.instance_type, one.instance_size) == wanted:
                return one
        return None


def rendered(endpoint: Endpoint, around: Surroundings, *, updating: bool = False) -> dict[str, Any]:
    """Tell an endpoint as this API does. `updating`: its document is newer than what runs."""
    document = _document(endpoint, around)
    document["healthRoute"] = _health_route(endpoint.spec, document)
    document["status"] = _status(endpoint, around)
    if updating and document["status"]["state"] in _ON_ITS_WAY:
        document["status"] |= {"state": State.UPDATING.value, "message": "Endpoint waiting for the update"}
    document["lamplighter"] = _beside(endpoint, around, around.hardware_of(endpoint.spec.provider, document))
    return document


def flawed(endpoint: Endpoint, flaw: str | None) -> Endpoint:
    """An endpoint with what is wrong with it in its message: one that sleeps and can't be brought up has failed."""
    if flaw is None:
        return endpoint
    if endpoint.spec.flaw is not None and endpoint.state in ASLEEP:
        return dataclasses.replace(endpoint, state=State.FAILED, phase=Phase.ERROR, message=flaw)
    text = f"{flaw} {endpoint.message}" if endpoint.message else flaw
    return dataclasses.replace(endpoint, message=text)


def rendered_broken(broken: BrokenDeployment, around: Surroundings) -> dict[str, Any]:
    """Tell a deployment that could not be brought back: it has failed, and says why."""
    document = _mended(broken)
    spec = Spec(
        name=document["name"],
        provider=broken.provider,
        engine=EngineSpec(engine="unknown", model=document["model"]["repository"]),
        deployment=dataclasses.replace(broken.deployment, document=document),
    )
    return rendered(Endpoint(spec=spec, state=State.FAILED, phase=Phase.ERROR, message=broken.reason), around)


def _mended(broken: BrokenDeployment) -> dict[str, Any]:
    """A document in which nothing is missing or of another kind than clients expect, however damaged it is."""
    given = _plain(broken.deployment.document)
    place = {"vendor": broken.provider, "region": broken.provider}
    whole: dict[str, Any] = {
        "type": "private",
        "provider": place,
        "compute": {"accelerator": "cpu", "instanceType": "unknown", "instanceSize": "unknown", "scaling": {}},
        "model": {"repository": "unknown", "framework": "custom", "image": {"custom": {}}},
    }
    for key, value in given.items():
        part = whole.get(key)
        if isinstance(part, dict):
            whole[key] = part | value if isinstance(value, dict) else part
        elif part is None or isinstance(value, str):
            whole[key] = value
    return whole


def state_of(endpoint: Endpoint) -> str:
    """The word of this API for how it is; `unknown` where a provider could not be asked since the server started."""
    state, phase = endpoint.state, endpoint.phase
    if state is None:
        return State.PENDING.value if endpoint.spec.deployed else "unknown"
    if phase is Phase.STARTING and (state in ASLEEP or state is State.FAILED):
        return State.PENDING.value
    if phase is Phase.STARTING and state is State.RUNNING:
        return State.INITIALIZING.value  # no replica answers yet: a client that waits must go on waiting
    if phase is Phase.ERROR and state in ASLEEP:
        return State.FAILED.value
    return state.value


# What it is.


def _document(endpoint: Endpoint, around: Surroundings) -> dict[str, Any]:
    """As its provider describes it, if it was adopted there; as was asked for; as was configured."""
    spec = endpoint.spec
    if spec.remote is not None and endpoint.document is not None:
        return _adopted(spec, endpoint.document)
    if spec.deployment is not None:
        return _from_document(spec.deployment)
    return _from_spec(spec, around.hardware.get(spec.provider, ()))


def _adopted(spec: Spec, told: Mapping[str, Any]) -> dict[str, Any]:
    """Under the name and with the access that it has here; the rest is its provider's."""
    whole = {key: value for key, value in told.items() if key not in _NOT_OURS}
    document = _from_document(Deployment(document=whole, secrets=_mapping(told, "model", "secrets")))
    return document | {"name": spec.name, "type": "public" if spec.public else "authenticated"}


def _mapping(told: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = told
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _from_document(deployment: Deployment) -> dict[str, Any]:
    document: dict[str, Any] = _plain(deployment.document)
    for key, value in _OPTIONAL.items():
        document.setdefault(key, copy.deepcopy(value))
    model = document.setdefault("model", {})
    model.setdefault("revision", None)
    model.setdefault("task", None)
    for key, value in _MODEL.items():
        if model.get(key) is None:
            model[key] = copy.deepcopy(value)
    model["secrets"] = dict.fromkeys(sorted(deployment.secrets), "")
    model["image"] = _blanked(model.get("image") or {})
    return document


def _blanked(image: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for variant, fields in image.items():
        shown[variant] = dict(fields) if isinstance(fields, Mapping) else fields
        if isinstance(fields, Mapping) and fields.get("credentials") is not None:
            shown[variant]["credentials"] = {"username": "", "password": None}
    return shown


def _from_spec(spec: Spec, hardware: Sequence[Hardware]) -> dict[str, Any]:
    engine = spec.engine
    variant, framework = variant_of_engine(engine.engine)
    route = {"healthRoute": engine.health_route} if engine.health_route else {}
    return {
        "name": spec.name,
        "type": "public" if spec.public else "authenticated",
        **_place(spec, hardware),
        "model": {
            "repository": engine.model or (engine.command[0] if engine.command else spec.name),
            "revision": None,
            "task": spec.task,
            "framework": framework,
            "image": {variant: route},
            "args": list(engine.args),
            "command": list(engine.command),
            "env": {},
            "secrets": dict.fromkeys(sorted(engine.env), ""),  # which of them are secret was not told: all are
            "fromCatalog": False,
        },
        **copy.deepcopy(_OPTIONAL),
    }


def _place(spec: Spec, hardware: Sequence[Hardware]) -> dict[str, Any]:
    """Where a configured endpoint runs: on what its provider has, chosen by how many accelerators it takes."""
    count = int(spec.resources.get("gpu", 0))
    accelerator = "gpu" if count else "cpu"
    fits = [one for one in hardware if one.accelerator == accelerator and one.num_accelerators >= count]
    found = min(fits, key=lambda one: one.num_accelerators, default=None)
    idle = spec.policy.idle_timeout
    return {
        "provider": {
            "vendor": found.vendor if found else spec.provider,
            "region": found.region if found else spec.provider,
        },
        "compute": {
            "accelerator": accelerator,
            "instanceType": found.instance_type if found else accelerator,
            "instanceSize": found.instance_size if found else f"x{max(1, count)}",
            "scaling": {
                "minReplica": spec.replicas if spec.policy.keep_warm else 0,
                "maxReplica": spec.replicas,
                "scaleToZeroTimeout": None if idle is None or spec.policy.keep_warm else max(1, math.ceil(idle / 60)),
                "measure": {"hardwareUsage": None, "pendingRequests": None},
            },
        },
    }


def _health_route(spec: Spec, document: Mapping[str, Any]) -> str:
    if spec.engine.health_route:
        return spec.engine.health_route
    for fields in (document["model"].get("image") or {}).values():
        if isinstance(fields, Mapping) and isinstance(fields.get("healthRoute"), str):
            route: str = fields["healthRoute"]
            return route
    return DEFAULT_HEALTH_ROUTE


# How it is.


def _status(endpoint: Endpoint, around: Surroundings) -> dict[str, Any]:
    made, changed = _made(endpoint, around), _changed(endpoint, around)
    failed = endpoint.phase is Phase.ERROR
    return {
        "state": state_of(endpoint),
        "message": _message(endpoint),
        "errorMessage": (endpoint.message or "Its provider gave no reason") if failed else None,
        "url": f"{around.base.rstrip('/')}/endpoints/{endpoint.spec.name}",
        "createdAt": moments.written(made[0]),
        "createdBy": made[1],
        "updatedAt": moments.written(changed[0]),
        "updatedBy": changed[1],
        "lastUsedAt": moments.maybe(endpoint.last_activity),
        "readyReplica": len(endpoint.replicas),
        "targetReplica": endpoint.spec.replicas if endpoint.phase in {Phase.RUNNING, Phase.STARTING} else 0,
        "inferenceMetricsEnabled": True,
        "private": {"serviceName": None},
    }


def _message(endpoint: Endpoint) -> str:
    if endpoint.phase is Phase.SLEEPING and (endpoint.paused or endpoint.state is State.PAUSED):
        word = "Endpoint is paused: only a resume wakes it"
    elif endpoint.phase is Phase.STOPPING and endpoint.paused:
        word = "Endpoint is being paused: what is in flight ends first"
    else:
        word = _WORDS[endpoint.phase]
    return f"{word} ({endpoint.message})" if endpoint.message not in {None, word} else word


def _made(endpoint: Endpoint, around: Surroundings) -> tuple[float, dict[str, str]]:
    deployment = endpoint.spec.deployment
    if deployment is None or not deployment.created_at:
        return around.started, _person("configuration")
    return deployment.created_at, _person(deployment.created_by)


def _changed(endpoint: Endpoint, around: Surroundings) -> tuple[float, dict[str, str]]:
    deployment = endpoint.spec.deployment
    if deployment is None or not deployment.updated_at:
        return _made(endpoint, around)
    return deployment.updated_at, _person(deployment.updated_by)


def _person(name: str) -> dict[str, str]:
    return {"id": name, "name": name}


def _beside(endpoint: Endpoint, around: Surroundings, hardware: Hardware | None) -> dict[str, Any]:
    """What this API has no words for. Durations in seconds, moments in Unix time."""
    spec = endpoint.spec
    return {
        "phase": endpoint.phase.value,
        "paused": endpoint.paused,
        "in_flight": endpoint.in_flight,
        "waiting": endpoint.waiting,
        "held_by": list(endpoint.held_by),
        "auto_sleep_in": endpoint.auto_sleep_in,
        "starting_for": endpoint.starting_for,
        "expected_start": endpoint.expected_start,
        "last_activity": endpoint.last_activity,
        "wake_time": endpoint.wake_time,
        "state_age": endpoint.state_age,
        "idle_timeout": spec.policy.idle_timeout,
        "aliases": list(spec.aliases),
        "engine": spec.engine.engine,
        "provider": spec.provider,
        "message": endpoint.message,
        **_price(price := around.price(spec.name), hardware),
        **_today(around.spending, spec.name, is_priced=price is not None),
        "leases": [_lease(lease) for lease in around.leases if lease.endpoint == spec.name],
    }


def _price(known: Priced | None, hardware: Hardware | None) -> dict[str, Any]:
    """What an hour of a replica costs in $, who said so, how long ago, and whether less or more may be paid."""
    if known is not None:
        return {
            "price_per_hour": float(known.amount),
            "price_source": known.source,
            "price_age": known.age,
            "price_estimate": known.estimate,
        }
    listed = hardware.price_per_hour if hardware is not None else None
    return {"price_per_hour": listed, "price_source": None, "price_age": None, "price_estimate": False}


def _today(spending: Spending | None, name: str, *, is_priced: bool) -> dict[str, str | None]:
    """What it has cost today in $, and what staying awake would have cost on top: exact decimals."""
    spent = spending.of(name, is_priced=is_priced) if spending is not None else None
    return {
        "cost_today": None if spent is None else money(spent.cost),
        "saved_today": None if spent is None else money(spent.saved),
    }


def _lease(lease: Lease) -> dict[str, Any]:
    """A lease without its id: who knows that can end it."""
    return {
        "holder": lease.holder,
        "created_at": lease.created_at,
        "expires_at": lease.expires_at,
        "pause_at_end": lease.pause_at_end,
    }


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
