"""On whose account something is charged: a text that begins with what kind of account it is. Empty: nobody's."""

from __future__ import annotations

from typing import TypeAlias

KEY, OPERATOR, LEASE = "key:", "operator:", "lease:"
"""Before a key's id, the name under which an operator is on record, and the holder of a lease."""

Account: TypeAlias = tuple[str, str]
"""Who is charged, and for the use of which route (empty: of none)."""
