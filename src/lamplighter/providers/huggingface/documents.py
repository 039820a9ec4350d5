"""What is sent to make an endpoint, and to change one that was made here. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lamplighter.domain.endpoint import Deployment, Policy
from lamplighter.hf.wire_rules import REPLACED_WHOLE
from lamplighter.providers.huggingface.backstop import wanted_minutes

_VARIABLES = frozenset({"env", "secrets"})
_FIXED = frozenset({("name",), ("provider",)})


def body_of(deployment: Deployment, *, name: str, policy: Policy) -> dict[str, Any]:
    """The body of a create: the document with its secrets, under this name, with the provider's timer as backstop."""
    body = copy.deepcopy(dict(deployment.document))
    body["name"] = name
    if deployment.secrets:
        body.setdefault("model", {})["secrets"] = dict(deployment.secrets)
    minutes = wanted_minutes(policy)
    if minutes is not None:
        scaling = body.setdefault("compute", {}).setdefault("scaling", {})
        scaling |= {"minReplica": 0, "maxReplica": scaling.get("maxReplica") or 1, "scaleToZeroTimeout": minutes}
    return body


def change_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an update that makes of one create body the other: only what differs.

    An update replaces images, variables and secrets whole, and can't move an endpoint. Lists, variables and secrets
    that are gone are sent empty; of anything else there is no way to say that it is gone.
    """
    return _differing(before, after, ())


def whole_change(found: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an update that makes a create body of whatever is there.

    All of it is sent, and empty what was `found` and is not in it: an earlier update may yet be carried out.
    """
    return _merged(change_between(found, after), change_between({}, after))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], Mapping) and isinstance(second[key], Mapping):
            whole[key] = _merged(first[key], second[key])
    return whole


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    change: dict[str, Any] = {}
    for key, new in {**{key: _emptied(key, old) for key, old in before.items()}, **after}.items():
        here, old = (*path, key), before.get(key)
        if old == new or new is None or here in _FIXED:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and here not in REPLACED_WHOLE:
            if inner := _differing(old, new, here):
                change[key] = inner
        else:
            change[key] = copy.deepcopy(new)
    return change


def _emptied(key: str, old: Any) -> Any:
    if isinstance(old, list):
        return []
    return {} if key in _VARIABLES else old
