"""Which ports replicas listen on."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from lamplighter.errors import ProviderError

_LOWEST = 20_000
_TRIES = 200
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortPool:
    """Hands out ports that are free now, and never the same one twice before it was released.

    Ports come from below the range that the kernel takes for outgoing connections. Inside that range, any connection
    of this machine could take the port before the engine binds it; worse, a health probe to a port on which nobody
    listens yet can be given that very port as its own and then connect to itself.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._held: set[int] = set()

    def take(self) -> int:
        """Choose a free port. Raises ProviderError when there is none."""
        lowest, highest = _range()
        for _ in range(_TRIES):
            port = random.randint(lowest, highest)  # noqa: S311 (spreads servers over the range; guards nothing)
            if port not in self._held and not is_taken(self._host, port):
                self._held.add(port)
                return port
        raise ProviderError(f"no free port on {self._host} between {lowest} and {highest}")

    def hold(self, port: int) -> None:
        """Count a port as given out: that of a replica that an earlier process started."""
        self._held.add(port)

    def release(self, port: int) -> None:
        """Take a port back; one that was not given out is no error."""
        self._held.discard(port)


def is_taken(host: str, port: int) -> bool:
    """Whether something listens on this address. Raises ProviderError when the address can't be used at all."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT are no listener
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise ProviderError(f"{host}:{port} can't be bound: {error.strerror}", permanent=True) from error
        except OSError:
            return True
    return False


def reachable(host: str) -> str:
    """Where to connect to what listens on `host`."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (is not bound here)


def _range() -> tuple[int, int]:
    try:
        low, high = (int(part) for part in _EPHEMERAL_RANGE.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = 32_768, 60_999
    if low - _LOWEST >= 1_000:
        return _LOWEST, low - 1
    return (high + 1, 65_535) if 65_535 - high >= 1_000 else (_LOWEST, 65_535)
