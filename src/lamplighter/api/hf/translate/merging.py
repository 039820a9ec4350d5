"""What a partial change makes of a document, and what of a document is secret."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lamplighter.errors import InvalidInput

OURS = frozenset({"status", "lamplighter", "healthRoute", "accountId"})
"""Members that an answer has and a document has not: a client that sends back what it read means nothing by them."""

_WHOLE = frozenset({("model", "image"), ("compute", "scaling", "measure")})
_FIXED = (("name",), ("provider", "vendor"), ("provider", "region"))


def merged(document: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Apply an update: what is not named stays, objects are merged, lists and `model.image` are replaced whole.

    A null takes a key of `env` or `secrets` out; elsewhere it is the value. Raises InvalidInput for what can't change.
    """
    change = {key: value for key, value in change.items() if key not in OURS}
    for path in _FIXED:
        before, after = _at(document, path), _at(change, path)
        if after is not None and after != before:
            where = ".".join(path)
            raise InvalidInput(
                f"{where}: {after!r} can't take the place of {before!r}; make a new endpoint there.", field=where
            )
    return _merge(document, change, ())


def parted(
    document: Mapping[str, Any], known: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Take the secrets out of a merged document: the rest, and the secrets.

    Answers show secrets as empty texts, so an empty one that is `known` stays what it was. A null forgets one.
    """
    rest = copy.deepcopy(dict(document))
    secrets = dict(known or {})
    model = rest.get("model")
    given = model.pop("secrets", None) if isinstance(model, dict) else None
    for name, value in (given or {}).items():
        if value is None:
            secrets.pop(name, None)
        elif value or name not in secrets:
            secrets[name] = value
    return {key: value for key, value in rest.items() if key not in OURS}, secrets


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    result = copy.deepcopy(dict(old))
    for key, value in new.items():
        here, before = (*path, key), result.get(key)
        if value is None and path == ("model", "env"):
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(before, Mapping) and value and here not in _WHOLE:
            result[key] = _merge(before, value, here)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
