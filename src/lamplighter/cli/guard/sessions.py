"""Sessions that run on this machine: at Hugging Face nobody else knows of them."""

from __future__ import annotations

from collections.abc import Callable

from lamplighter.hf.hosts import find_hosts
from lamplighter.sdk.folders import WATCHED, is_locked, session_folder

Sessions = Callable[[str, str], int]
"""How many sessions of this user there are on an endpoint, by namespace and name."""


def sessions_here(url: str | None) -> Sessions:
    """Count the sessions whose watchdog lives. `url` is the server's, None for Hugging Face."""
    base = find_hosts(url, None).management

    def count(namespace: str, name: str) -> int:
        folder = session_folder(base, namespace, name)
        return sum(is_locked(file) for file in folder.glob(f"*{WATCHED}"))

    return count
