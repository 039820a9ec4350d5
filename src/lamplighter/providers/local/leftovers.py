"""What an earlier server process left running."""

from __future__ import annotations

from dataclasses import dataclass, field

from lamplighter.providers.local.group import Group, marked
from lamplighter.providers.local.process import start_mark
from lamplighter.providers.local.runfiles import RunFiles, RunRecord

_DEFAULT_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """One replica of an earlier server. Without `record` nothing but its marker is known, so it can only be ended."""

    id: str
    group: Group
    record: RunRecord | None
    alive: bool

    @property
    def endpoint(self) -> str | None:
        """The endpoint that it belongs to, where that is known."""
        return self.record.endpoint if self.record else None

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return self.record.grace if self.record else _DEFAULT_GRACE


@dataclass(slots=True)
class Leftovers:
    """What was found and nobody has claimed yet."""

    _found: list[Leftover] = field(default_factory=list)

    @classmethod
    def find(cls, runs: RunFiles) -> Leftovers:
        """Look through run files and processes; takes some milliseconds."""
        strays = _strays(runs.marker_prefix)
        found = []
        for record in runs.read():
            leftover = _from_record(record, runs.marker_prefix, strays.pop(record.id, []))
            if leftover is None:
                runs.remove(record.id)
            else:
                found.append(leftover)
        found += [_from_marker(replica_id, runs.marker_prefix, pids) for replica_id, pids in strays.items()]
        return cls(found)

    def take(self, endpoint: str) -> list[Leftover]:
        """Claim what belongs to this endpoint."""
        taken = [leftover for leftover in self._found if leftover.endpoint == endpoint]
        self._found = [leftover for leftover in self._found if leftover.endpoint != endpoint]
        return taken

    def take_all(self) -> list[Leftover]:
        """Claim the rest."""
        taken, self._found = self._found, []
        return taken


def _strays(prefix: str) -> dict[str, list[int]]:
    """Process ids that bear our marker, oldest first, by replica id."""
    strays: dict[str, list[int]] = {}
    for pid, marker in marked(prefix).items():
        strays.setdefault(marker.removeprefix(prefix), []).append(pid)
    return strays


def _from_record(record: RunRecord, prefix: str, strays: list[int]) -> Leftover | None:
    """None when nothing of it lives. The leader may be dead while its children live; then they can only be ended."""
    if record.pid is None:  # killed before the id was written: the oldest process with the marker is the leader
        if not strays:
            return None
        return Leftover(record.id, _group(strays[0], prefix + record.id), record, alive=True)
    group = Group(leader=record.pid, mark=record.mark, marker=prefix + record.id)
    alive = start_mark(record.pid) == record.mark is not None
    return Leftover(record.id, group, record, alive) if alive or strays or group.members() else None


def _from_marker(replica_id: str, prefix: str, pids: list[int]) -> Leftover:
    return Leftover(replica_id, _group(pids[0], prefix + replica_id), None, alive=True)


def _group(leader: int, marker: str) -> Group:
    return Group(leader=leader, mark=start_mark(leader), marker=marker)
