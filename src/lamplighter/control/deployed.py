"""What was made over the management API, as it is kept: from a spec to a row, and back. Pure, but for the seal.

What is secret in a document (a registry's credentials) is sealed with the secrets; the names of secrets are not.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lamplighter.config.file import HOSTED
from lamplighter.domain.endpoint import Deployment, EngineSpec, Spec
from lamplighter.errors import InvalidInput, StoreError
from lamplighter.store import SavedDeployment
from lamplighter.store.seal import Seal

_PRIVATE = "lamplighter"  # the member of a saved document that is ours alone
_BLANK = {"username": "", "password": None}
_PARTS = ("provider", "compute", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Secrets that can't be opened: the sealed text as it is, and why. `named`: what they are called is known."""

    text: str = field(repr=False)
    reason: str
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A deployment with what its spec is made from.

    `doubtful`: it is not known yet whether its provider has made it. `sealed` is there where its secrets can't be
    opened; in the deployment they are empty texts then.
    """

    deployment: Deployment
    provider: str
    resources: Mapping[str, float]
    leaving: bool = False
    doubtful: bool = False
    sealed: Sealed | None = None

    @property
    def name(self) -> str:
        """The endpoint's."""
        name: str = self.deployment.document["name"]
        return name


def keep(spec: Spec) -> Kept:
    """What is kept of a spec."""
    assert spec.deployment is not None
    return Kept(deployment=spec.deployment, provider=spec.provider, resources=dict(spec.resources))


def signed(spec: Spec, at: float, actor: str, before: Deployment | None = None) -> Spec:
    """Note on the deployment who made or changed it, and when."""
    assert spec.deployment is not None
    made = (before.created_at, before.created_by) if before is not None else (at, actor)
    deployment = dataclasses.replace(
        spec.deployment, created_at=made[0], created_by=made[1], updated_at=at, updated_by=actor
    )
    return dataclasses.replace(spec, deployment=deployment)


def bare_spec(kept: Kept) -> Spec:
    """A spec for what its own provider keeps, of a document that makes none: enough to look, to pause, to delete."""
    model = kept.deployment.document.get("model") or {}
    repository = model.get("repository")
    engine = EngineSpec(engine=HOSTED, model=repository if isinstance(repository, str) else None)
    return Spec(name=kept.name, provider=kept.provider, engine=engine, deployment=kept.deployment)


def check_given_anew(before: Kept, after: Deployment) -> None:
    """Refuse a change of what can't be opened, unless it gives all its secrets anew. Raises InvalidInput."""
    if before.sealed is None:
        return
    old = before.deployment.secrets
    missing = [f"model.secrets.{name}" for name in sorted(after.secrets) if name in old and not after.secrets[name]]
    missing += [f"model.image.{kind}.credentials" for kind, given in _credentials(after.document) if given == _BLANK]
    if not before.sealed.named and not after.secrets and not list(_credentials(after.document)):
        missing.append("model.secrets")
    if missing:
        text = f"{missing[0]}: the secrets of {before.name!r} can't be opened, so a change has to give all of them anew"
        raise InvalidInput(f"{text}: {', '.join(missing)}. {before.sealed.reason}", field=missing[0])


def difference(before: Deployment, after: Deployment) -> str:
    """The names of what an update changes, for the record; of secrets and variables no value."""
    names = _differing(before.document, after.document, "")
    secrets = before.secrets.keys() | after.secrets.keys()
    names += [f"model.secrets.{key}" for key in secrets if before.secrets.get(key) != after.secrets.get(key)]
    return ", ".join(sorted(names)) or "nothing"


def _differing(before: Any, after: Any, path: str) -> list[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = before.keys() | after.keys()
        return [name for key in keys for name in _differing(before.get(key), after.get(key), f"{path}.{key}")]
    return [] if before == after else [path.lstrip(".")]


# Rows.


def has_secrets(kept: Kept) -> bool:
    """Whether its row needs the key to be written."""
    return kept.sealed is None and bool(_hidden(kept.deployment))


def row_of(kept: Kept, seal: Seal, *, make_key: bool) -> SavedDeployment:
    """Write a row. What is sealed and can't be opened stays as it is. Raises StoreError."""
    deployment = kept.deployment
    document = copy.deepcopy(dict(deployment.document))
    for kind, _ in list(_credentials(document)):
        document["model"]["image"][kind]["credentials"] = dict(_BLANK)
    document[_PRIVATE] = {
        "provider": kept.provider,
        "resources": dict(kept.resources),
        "leaving": kept.leaving,
        "doubtful": kept.doubtful,
    }
    if kept.sealed is None or kept.sealed.named:
        document[_PRIVATE]["secrets"] = sorted(deployment.secrets)
    sealed = seal.seal(_hidden(deployment), make_key=make_key) if kept.sealed is None else kept.sealed.text
    return SavedDeployment(
        name=kept.name,
        document=document,
        secrets=sealed,
        created_at=deployment.created_at,
        created_by=deployment.created_by,
        updated_at=deployment.updated_at,
        updated_by=deployment.updated_by,
    )


def kept_of(saved: SavedDeployment, seal: Seal) -> Kept:
    """Read a row, however damaged it is, and whether or not its secrets can be opened."""
    kept, names = _unopened(saved)
    try:
        hidden = seal.unseal(saved.secrets)
    except StoreError as error:
        blank = dict.fromkeys(names or (), "")
        sealed = Sealed(text=saved.secrets, reason=error.message, named=names is not None)
        return dataclasses.replace(kept, deployment=dataclasses.replace(kept.deployment, secrets=blank), sealed=sealed)
    document = copy.deepcopy(dict(kept.deployment.document))
    for kind, credentials in _mapping(hidden.get("credentials")).items():
        if isinstance(_mapping(_mapping(document.get("model")).get("image")).get(kind), dict):
            document["model"]["image"][kind]["credentials"] = credentials
    secrets = _mapping(hidden.get("secrets"))
    return dataclasses.replace(
        kept, deployment=dataclasses.replace(kept.deployment, document=document, secrets=dict(secrets))
    )


def _unopened(saved: SavedDeployment) -> tuple[Kept, list[str] | None]:
    """A row without its secrets, and their names if they are known. What is of a wrong kind counts as missing."""
    document = dict(_mapping(saved.document))
    private = _mapping(document.pop(_PRIVATE, None))
    document["name"] = saved.name
    for part in _PARTS:
        if not isinstance(document.get(part, {}), dict):
            del document[part]
    if not isinstance(_mapping(document.get("model")).get("image", {}), dict):
        document["model"] = {key: value for key, value in document["model"].items() if key != "image"}
    if not isinstance(_mapping(document.get("compute")).get("scaling", {}), dict):
        document["compute"] = {key: value for key, value in document["compute"].items() if key != "scaling"}
    deployment = Deployment(
        document=document,
        created_at=saved.created_at,
        created_by=saved.created_by,
        updated_at=saved.updated_at,
        updated_by=saved.updated_by,
    )
    kept = Kept(
        deployment=deployment,
        provider=str(private.get("provider", "")),
        resources=_mapping(private.get("resources")),
        leaving=bool(private.get("leaving")),
        doubtful=bool(private.get("doubtful")),
    )
    names = private.get("secrets")
    return kept, [str(name) for name in names] if isinstance(names, list) else None


def _hidden(deployment: Deployment) -> dict[str, Any]:
    hidden = {"secrets": dict(deployment.secrets), "credentials": dict(_credentials(deployment.document))}
    return {key: value for key, value in hidden.items() if value}


def _credentials(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The credentials of a registry, by the variant of the image."""
    for kind, fields in _mapping(_mapping(document.get("model")).get("image")).items():
        if isinstance(fields, dict) and fields.get("credentials") is not None:
            yield kind, fields["credentials"]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
