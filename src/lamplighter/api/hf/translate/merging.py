"""What a partial change makes of a document, and what of a document is secret."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lamplighter.errors import InvalidInput
from lamplighter.hf.wire_rules import REPLACED_WHOLE

OURS = frozenset({"status", "lamplighter", "healthRoute", "accountId"})
"""Members that an answer has and a document has not: a client that sends back what it read means nothing by them."""

_NULLABLE = frozenset({("compute", "scaling", "scaleToZeroTimeout"), ("model", "revision")})
_TIMEOUT = ("compute", "scaling", "scaleToZeroTimeout")
_KNOWN = frozenset({"name", "type", "provider", "compute", "model", "tags"})
_FIXED = (("name",), ("provider", "vendor"), ("provider", "region"))


def merged(document: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Apply an update: what is not named stays, objects are merged; lists, the image and variables are replaced whole.

    A null says nothing, but for `scaleToZeroTimeout`, `revision` and parts that nobody here knows. Raises InvalidInput
    for what can't change.
    """
    change = {key: value for key, value in change.items() if key not in OURS}
    for path in _FIXED:
        before, after = _at(document, path), _at(change, path)
        if after is not None and after != before:
            where = ".".join(path)
            raise InvalidInput(
                f"{where}: {after!r} can't take the place of {before!r}; make a new endpoint there.", field=where
            )
    result = _merge(document, change, ())
    if _at(result, ("compute", "scaling", "minReplica")) and _at(change, _TIMEOUT) is None:
        result["compute"]["scaling"]["scaleToZeroTimeout"] = None  # what never sleeps has no use for it
    return result


def parted(
    document: Mapping[str, Any], known: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Take the secrets out of a document: the rest, and the secrets.

    Answers show secrets as empty texts, so an empty one that is `known` is what it was. A document that names no
    secrets leaves those that are known.
    """
    rest = {key: copy.deepcopy(value) for key, value in document.items() if key not in OURS}
    known = known or {}
    model = rest.get("model")
    given = model.pop("secrets", None) if isinstance(model, dict) else None
    if given is None:
        return rest, dict(known)
    return rest, {name: value or known.get(name, "") for name, value in given.items()}


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    result = copy.deepcopy(dict(old))
    for key, value in new.items():
        here, before = (*path, key), result.get(key)
        if value is None and here[0] in _KNOWN and here not in _NULLABLE:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping) and here not in REPLACED_WHOLE:
            result[key] = _merge(before, value, here)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
