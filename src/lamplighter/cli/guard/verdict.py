"""Whether anybody wants an endpoint that is running. Pure: the time is passed in."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lamplighter.cli.guard.bill import Running
from lamplighter.cli.guard.schedule import Schedule
from lamplighter.cli.show.words import ago, whole
from lamplighter.errors import InvalidInput

KEEP = "keep"
_KEEP_DURING = "keep:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What keeps an endpoint: a use, a change or a start within `idle` seconds, a name, a time of the week.

    One of which nobody can tell since when it runs is kept, unless `unknown_too`: it may have been started just now.
    """

    idle: float
    unknown_too: bool = False
    keep: tuple[str, ...] = ()
    schedules: tuple[Schedule, ...] = ()


def kept_by(running: Running, rules: Rules, now: float) -> str | None:
    """Why an endpoint is to go on, or None: nothing wants it. `now` is Unix time."""
    return next(_reasons(running, rules, now), None)


def wants_witness(running: Running, rules: Rules, now: float) -> bool:
    """Whether nothing keeps it but that nobody has told since when it runs."""
    return running.since is None and next(_reasons(running, replace(rules, unknown_too=True), now), None) is None


def _reasons(running: Running, rules: Rules, now: float) -> Iterator[str]:
    if running.holders:
        yield f"held by {', '.join(running.holders)}"
    if running.at_work:
        yield f"{running.at_work} in flight"
    name, whole_name = running.endpoint.name, running.name
    for pattern in rules.keep:
        if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(whole_name, pattern):
            yield f"--keep {pattern}"
    if KEEP in running.endpoint.tags:
        yield "its tag keep"
    moment = datetime.fromtimestamp(now, UTC)
    for schedule in rules.schedules:
        if schedule.covers(moment):
            yield f"the schedule {schedule.text}"
    yield from _by_tags(running, moment)
    yield from _recent(running, rules.idle, now)
    if running.since is None and not rules.unknown_too:
        why = f" ({running.unknown})" if running.unknown else ""
        yield f"since when it runs is not known{why}; --unknown-too pauses it"


def _by_tags(running: Running, moment: datetime) -> Iterator[str]:
    for tag in running.endpoint.tags:
        if not tag.startswith(_KEEP_DURING):
            continue
        try:
            schedule = Schedule.of(tag.removeprefix(_KEEP_DURING))
        except InvalidInput as error:
            yield f"its tag {tag!r}, which can't be read: {error.message}"  # somebody wanted it kept
            continue
        if schedule.covers(moment):
            yield f"its tag {tag}"


def _recent(running: Running, idle: float, now: float) -> Iterator[str]:
    if running.last_used is not None and now - running.last_used < idle:
        yield f"used {ago(now - running.last_used)}"
    if running.changed is not None and now - running.changed < idle:
        yield f"changed {ago(now - running.changed)}"
    if running.since is not None and now - running.since < idle:
        yield f"up since {ago(now - running.since)}"


def unwanted(running: Running, rules: Rules, now: float) -> str:
    """Why an endpoint that nothing keeps is paused, for people."""
    if running.last_used is not None:
        return f"unused for {whole(now - running.last_used)}, held by nobody"
    since = f" for {whole(now - running.since)}" if running.since is not None else ""
    return f"running{since} with no use told of in the last {whole(rules.idle)}, held by nobody"
