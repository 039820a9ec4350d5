"""The OpenMetrics text of one endpoint. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamplighter.api.hf.graphs import Load
from lamplighter.domain.latency import QUANTILES, Histogram

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

ALL = "all"
"""Stands for the replica of what is counted of all together."""


def exposed(latency: Histogram, statuses: Mapping[int, int], loads: Sequence[Load]) -> str:
    """Latencies in seconds, answers by status, and the processor time of each replica that runs here."""
    lines = [
        "# HELP latency_distribution Time to the last byte of an answer, since the server started.",
        "# TYPE latency_distribution summary",
        *(
            f'latency_distribution{{quantile="{share:g}"}} {_number(value)}'
            for share, value in zip(QUANTILES, latency.quantiles(), strict=True)
            if value is not None
        ),
        f"latency_distribution_count {latency.count}",
        f"latency_distribution_sum {_number(latency.total)}",
        "# HELP http_requests Answers, since the server started.",
        "# TYPE http_requests counter",
        *(
            f'http_requests_total{{replica_id="{ALL}",status_code="{status or "other"}"}} {statuses[status]}'
            for status in sorted(statuses)
        ),
        "# HELP cpu_usage_percent Processor time of a replica; 100 is one processor.",
        "# TYPE cpu_usage_percent gauge",
        "# UNIT cpu_usage_percent percent",
        *(f'cpu_usage_percent{{replica_id="{_escaped(load.replica)}"}} {_number(load.cpu)}' for load in loads),
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return repr(round(value, 6))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
