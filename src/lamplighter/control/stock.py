"""What this server itself has on offer: its endpoints, its upstreams, and what was measured of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lamplighter.control.demand import Operations
from lamplighter.control.meter import Meter
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.offers import Throughput
from lamplighter.domain.routing import Upstream


class Stock:
    """Looks at the endpoints, and at what the meter counted since the server's start."""

    def __init__(self, operations: Operations, meter: Meter, upstreams: Iterable[Upstream] = ()) -> None:
        self._operations = operations
        self._meter = meter
        self._upstreams = tuple(upstreams)

    def take(self, upstreams: Iterable[Upstream]) -> None:
        """Take those of another configuration."""
        self._upstreams = tuple(upstreams)

    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints as they are now."""
        return self._operations.endpoints()

    def upstreams(self) -> Sequence[Upstream]:
        """The model APIs of the configuration."""
        return self._upstreams

    def measured(self) -> Mapping[str, Throughput]:
        """Tokens answered, and the seconds that requests took without what they waited, by target.

        Requests that were answered side by side count one after the other: a target that was busy did better.
        """
        tokens, seconds = dict[str, int](), dict[str, float]()
        for series in self._meter.series():
            figures, target = series.figures, series.target
            if figures.tokens_out:
                tokens[target] = tokens.get(target, 0) + figures.tokens_out
                seconds[target] = seconds.get(target, 0.0) + max(0.0, figures.latency.total - figures.waited)
        return {
            target: Throughput(
                tokens=count,
                seconds=seconds[target],
                source=f"{count} tokens in {seconds[target]:.1f} s of answering since the start of this server, "
                "request by request",
            )
            for target, count in tokens.items()
        }
