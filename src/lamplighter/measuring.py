"""All figures of a running server in one place, for `GET /metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from lamplighter import __version__
from lamplighter.api.metrics import Measured
from lamplighter.control.budgets import Budgets
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import StoreJournal
from lamplighter.control.meter import Meter
from lamplighter.control.spending import Spending
from lamplighter.control.tally import Tally
from lamplighter.gateway.access_log import AccessLog
from lamplighter.gateway.app import Gateway
from lamplighter.logs import StderrLines
from lamplighter.store import UsageWriter


@dataclass(slots=True, kw_only=True)
class Measuring:
    """Implements `MetricsSource`. The gateway comes last, as it stands before all else."""

    fleet: Fleet
    tally: Tally
    meter: Meter
    usage: UsageWriter
    journal: StoreJournal
    spending: Spending
    budgets: Budgets
    access_log: AccessLog | None
    gateway: Gateway | None = None

    def measure(self) -> Measured:
        gateway, access_log = self.gateway, self.access_log
        waiting = {"usage": self.usage.waiting, "journal": self.journal.waiting}
        dropped = {"usage": self.usage.dropped, "journal": self.journal.dropped, "log": StderrLines.dropped}
        if access_log is not None:
            waiting["access_log"], dropped["access_log"] = access_log.waiting, access_log.dropped
        return Measured(
            version=__version__,
            in_progress=gateway.in_progress if gateway is not None else 0,
            series=self.meter.series(),
            errors=dict(gateway.refusals) if gateway is not None else {},
            endpoints=self.fleet.endpoints(),
            tallies=self.tally.of_all(),
            spent=self.spending.counted(),
            today=self.spending.today,
            budgets=self.budgets.standings(),
            breakers=gateway.breakers if gateway is not None else {},
            waiting=waiting,
            dropped=dropped,
        )
