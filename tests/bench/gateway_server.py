"""The real gateway in a process of its own, in front of one endpoint that is always awake.

`python -m tests.bench.gateway_server PORT UPSTREAM_URL`
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Sequence

import uvicorn

from lamplighter.control.demand import Claim, Listing
from lamplighter.domain.endpoint import Phase, Replica
from lamplighter.domain.usage import UsageRecord
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.server import uvicorn_config
from lamplighter.gateway.settings import GatewaySettings

NAME = "bench"
KEY = "bench-key"


class Granted:
    """A claim that was never in doubt."""

    __slots__ = ("_awake", "_open", "replica", "waited")

    def __init__(self, awake: Awake) -> None:
        self.replica = awake.replica
        self.waited = 0.0
        self._awake = awake
        self._open = True
        awake.in_flight += 1

    def release(self) -> None:
        if self._open:
            self._open = False
            self._awake.in_flight -= 1

    def failed(self) -> None:
        pass


class Awake:
    """Demand for an endpoint that never sleeps."""

    def __init__(self, url: str) -> None:
        self.replica = Replica(id="1", url=url, headers=(("Authorization", "Bearer upstream-key"),))
        self.in_flight = 0

    def resolve(self, model: str) -> str | None:
        return NAME if model == NAME else None

    def known(self) -> Sequence[str]:
        return [NAME]

    def list(self) -> Sequence[Listing]:
        return [Listing(name=NAME, model=None, phase=Phase.RUNNING, task=None, created=0)]

    def try_claim(self, name: str) -> Claim | None:
        return Granted(self)

    async def claim(self, name: str, timeout: float | None) -> Claim:
        return Granted(self)


class Recent:
    """Keeps the last usage records."""

    def __init__(self) -> None:
        self.records: deque[UsageRecord] = deque(maxlen=10_000)
        self.add = self.records.append


def main() -> None:
    port, url = int(sys.argv[1]), sys.argv[2]
    settings = GatewaySettings(keys=frozenset({hashlib.sha256(KEY.encode()).hexdigest()}))
    gateway = Gateway(Awake(url), Recent(), settings)
    config = uvicorn_config(gateway, settings, host="127.0.0.1", port=port, log_level="warning")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
