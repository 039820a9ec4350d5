"""The names under which a server without keys may be asked for.

A page of another site can point a name of its own at this machine after it was loaded (DNS rebinding); the browser then
takes its requests here for requests to its own site. They still carry that name as their Host.
"""

from __future__ import annotations

from collections.abc import Collection

from lamplighter.domain.loopback import is_loopback
from lamplighter.gateway.refusals import WrongHost

_MAX_RIGHT = 1024


class Hosts:
    """This machine's own names, and those that the configuration adds.

    `right` are the Host headers that were looked at and are right.
    """

    __slots__ = ("_names", "right")

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)
        self.right: set[bytes | None] = {None}  # no browser leaves it out

    def check(self, host: bytes | None) -> None:
        """Raise WrongHost for a name that is none of these, whatever its port."""
        if host in self.right:
            return
        if host is None or not self._is_right(_name(host)):
            raise WrongHost((host or b"").decode("latin-1"))
        if len(self.right) >= _MAX_RIGHT:
            self.right.clear()
        self.right.add(host)

    def _is_right(self, name: str) -> bool:
        return is_loopback(name) or name in self._names


def _name(host: bytes) -> str:
    """A Host header without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")
