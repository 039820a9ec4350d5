"""The engines by their keys."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from lamplighter.engines.base import Engine
from lamplighter.engines.llamacpp.engine import LlamaCppEngine
from lamplighter.engines.presets import PRESETS
from lamplighter.errors import InvalidInput

ENGINES: Mapping[str, Engine] = MappingProxyType({"llamacpp": LlamaCppEngine(), **PRESETS})


def find_engine(key: str) -> Engine:
    """Return the engine of that key.

    Raises InvalidInput with field `engine`, a near match and the known keys.
    """
    try:
        return ENGINES[key]
    except KeyError:
        near = difflib.get_close_matches(key[:80].lower(), ENGINES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(ENGINES))
        raise InvalidInput(f"engine: {key[:80]!r} is not known.{hint} Known: {known}.", field="engine") from None
