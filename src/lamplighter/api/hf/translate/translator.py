"""From a deployment to the spec of an endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from lamplighter.api.hf.translate.variants import run_of
from lamplighter.config.file import HOSTED
from lamplighter.domain.endpoint import Deployment, EngineSpec, Policy, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.engines.base import Engine
from lamplighter.engines.presets import Preset
from lamplighter.engines.registry import find_engine
from lamplighter.errors import EngineError, InvalidInput
from lamplighter.hf import wire_rules
from lamplighter.hf.rules import LOCAL_VENDOR


class Translator:
    """`defaults` is the policy of endpoints whose document does not say otherwise; a reload may replace it.

    `timed` are the providers that have a timer of their own, to which sleep may be left.
    """

    def __init__(self, defaults: Policy | None = None, *, timed: Collection[str] = ()) -> None:
        self.defaults = defaults or Policy()
        self._timed = timed

    def spec(self, deployment: Deployment, *, provider: str, resources: Mapping[str, float]) -> Spec:
        """Make the spec of a deployment at `provider`. Raises InvalidInput where it can't run there."""
        document = deployment.document
        wire_rules.check_create_body({**document, "model": _with_secrets(document.get("model"), deployment)})
        here = document["provider"]["vendor"] == LOCAL_VENDOR
        engine, task = _engine_here(deployment) if here else (_engine_elsewhere(document), None)
        scaling = document["compute"].get("scaling") or {}
        return Spec(
            name=document["name"],
            provider=provider,
            engine=engine,
            policy=self._policy(scaling, timed=provider in self._timed),
            replicas=max(1, scaling.get("minReplica") or 0),
            resources=MappingProxyType(dict(resources)),
            task=document["model"].get("task") or task,
            public=document["type"] == "public",
            deployment=deployment,
        )

    def _policy(self, scaling: Mapping[str, Any], *, timed: bool) -> Policy:
        least, minutes = scaling.get("minReplica") or 0, scaling.get("scaleToZeroTimeout")
        policy = dataclasses.replace(self.defaults, slept_by_provider=timed and self.defaults.slept_by_provider)
        if least >= 1:
            return dataclasses.replace(policy, keep_warm=True)
        idle = policy.idle_timeout if minutes is None else minutes * 60.0
        return dataclasses.replace(policy, idle_timeout=idle, keep_warm=False)


def resources_of(hardware: Hardware) -> dict[str, float]:
    """What one replica takes of its provider's resources. Only accelerators are counted out: the rest is shared."""
    if hardware.accelerator == "cpu" or not hardware.num_accelerators:
        return {}
    return {hardware.accelerator: float(hardware.num_accelerators)}


def check_installed(spec: Spec) -> None:
    """Refuse what this machine has no program for, before it is made. Raises InvalidInput naming `model.image`."""
    if spec.deployment is None or spec.deployment.document["provider"]["vendor"] != LOCAL_VENDOR:
        return
    engine: Engine = find_engine(spec.engine.engine)
    if isinstance(engine, Preset):
        try:
            engine.prepare(spec.engine, lambda _: None)  # only looks for the program; these fetch their models later
        except EngineError as error:
            raise InvalidInput(f"model.image: it can't be run here: {error.message}", field="model.image") from None


def _with_secrets(model: Any, deployment: Deployment) -> Any:
    return {**model, "secrets": dict(deployment.secrets)} if isinstance(model, Mapping) else model


def _engine_here(deployment: Deployment) -> tuple[EngineSpec, str | None]:
    model = deployment.document["model"]
    run = run_of(model)
    spec = EngineSpec(
        engine=run.engine,
        model=run.model,
        command=run.command,
        args=run.args,
        env=MappingProxyType({**(model.get("env") or {}), **deployment.secrets}),
        health_route=_health_route(model),
    )
    try:
        find_engine(run.engine).check(spec)
    except InvalidInput as error:
        raise InvalidInput(f"model.{error.message}", field=f"model.{error.field}") from None
    return spec, run.task


def _engine_elsewhere(document: Mapping[str, Any]) -> EngineSpec:
    model = document["model"]
    return EngineSpec(engine=HOSTED, model=model["repository"], health_route=_health_route(model))


def _health_route(model: Mapping[str, Any]) -> str | None:
    for fields in (model.get("image") or {}).values():
        route = fields.get("healthRoute") if isinstance(fields, Mapping) else None
        if isinstance(route, str) and route:
            return route
    return None
