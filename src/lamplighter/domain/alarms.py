"""Which alarms should stand: found in how endpoints and breakers are now. Pure; moments are Unix time.

An alarm says that something costs money or fails requests, and that nobody will mend it unless told.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lamplighter.domain.budgets import LEVELS, AtLimit, Scope, Standing
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import ASLEEP, Endpoint, Phase
from lamplighter.domain.money import in_words
from lamplighter.domain.prices import FeedState, names_of

_LONGEST_REASON = 300
_OPEN, _CLOSED = "open", "closed"
_UTC = Calendar()


class AlarmKind(enum.StrEnum):
    """What is wrong."""

    AWAKE_TOO_LONG = "awake_too_long"
    STOP_FAILED = "stop_failed"
    WAKE_FAILED = "wake_failed"
    BREAKER_OPEN = "breaker_open"
    NOBODY_HOLDS = "nobody_holds"
    STATE_UNKNOWN = "state_unknown"
    PRICE_REFUSED = "price_refused"
    PRICES_OLD = "prices_old"
    BUDGET_50 = "budget_50"
    BUDGET_80 = "budget_80"
    BUDGET_100 = "budget_100"
    TEST = "test"

    @property
    def family(self) -> AlarmKind:
        """Of kinds that are degrees of one thing, the mildest; else the kind itself."""
        return AlarmKind.BUDGET_50 if self in _DEGREES else self

    @property
    def degree(self) -> int:
        """Which of two of a family is worse: the higher one."""
        return _DEGREES.index(self) if self in _DEGREES else 0

    @property
    def repeats(self) -> bool:
        """Whether one that stands is told again and again: not where nothing can be mended, but by time."""
        return self not in _DEGREES


_DEGREES = (AlarmKind.BUDGET_50, AlarmKind.BUDGET_80, AlarmKind.BUDGET_100)
_OF_LEVEL = dict(zip(LEVELS, _DEGREES, strict=True))

Key: TypeAlias = tuple[AlarmKind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long something may be so until it is an alarm (seconds).

    `awake`: without having slept; None for ever. `overdue`: running past its idle timeout. `idle`: running unused where
    it has no idle timeout; None for ever. `unknown`: without an answer of its provider. `prices`: without prices of a
    feed that is asked for them. `budgets` are those of LEVELS at which a budget is one, at once.
    """

    awake: float | None = None
    overdue: float = 600.0
    idle: float | None = 3600.0
    unknown: float = 600.0
    prices: float = 86400.0
    budgets: Sequence[int] = LEVELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that is wrong since `since` with an endpoint (or a route's target, a source of prices, a budget).

    `text` says what, `advice` what that costs and how to mend it; the advice is of no use once it is over.
    """

    kind: AlarmKind
    endpoint: str
    since: float
    text: str
    advice: str = ""

    @property
    def whole(self) -> str:
        """Both, for people."""
        return f"{self.text} {self.advice}".rstrip()

    @property
    def key(self) -> Key:
        """What makes two alarms the same one, to a worse or milder degree perhaps."""
        return self.kind.family, self.endpoint


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """What is an alarm once it has been so for `bound` seconds: from `since` where that is known.

    Else from when it was first seen, or from `after` if that came later.
    """

    kind: AlarmKind
    endpoint: str
    text: str
    advice: str
    bound: float = 0.0
    since: float | None = None
    after: float = 0.0


class Watch:
    """Sees the same endpoints again and again, and so knows how long something has been so."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._first_seen: dict[Key, float] = {}
        self._standing: dict[Key, Alarm] = {}

    def take_up(self, alarms: Sequence[Alarm]) -> None:
        """Go on from what an earlier run knew."""
        for alarm in alarms:
            self._standing[alarm.kind, alarm.endpoint] = alarm
            self._first_seen[alarm.kind, alarm.endpoint] = alarm.since

    def look(
        self,
        endpoints: Sequence[Endpoint],
        breakers: Mapping[str, str],
        now: float,
        *,
        feeds: Sequence[FeedState] = (),
        budgets: Sequence[Standing] = (),
        calendar: Calendar = _UTC,
    ) -> Mapping[Key, Alarm]:
        """Tell which alarms stand. Of an endpoint whose provider can't be asked, those that stood go on standing.

        `calendar` is the one by which budgets renew.
        """
        names = {endpoint.spec.name for endpoint in endpoints}
        suspected = {
            (one.kind, one.endpoint): one
            for one in (
                *(one for endpoint in endpoints for one in _suspicions(endpoint, self.bounds, now)),
                *_breakers(breakers, names, self._standing),
                *(one for feed in feeds for one in _feed(feed, self.bounds, now)),
                *(one for found in budgets for one in _budget(found, self.bounds, endpoints, calendar)),
            )
        }
        unseen = {endpoint.spec.name for endpoint in endpoints if endpoint.phase is Phase.UNKNOWN}
        kept = {key for key in self._first_seen if key[1] in unseen and key[0] in _NEEDS_SIGHT}
        self._first_seen = {key: self._first_seen.get(key, now) for key in (*suspected, *kept)}
        found = {key: self._standing[key] for key in kept if key in self._standing}
        for key, one in suspected.items():
            since = max(self._first_seen[key], one.after) if one.since is None else one.since
            if now - since >= one.bound:
                found[key] = Alarm(kind=one.kind, endpoint=one.endpoint, since=since, text=one.text, advice=one.advice)
        self._standing = found
        return {alarm.key: alarm for alarm in found.values()}


_NEEDS_SIGHT = frozenset(
    {AlarmKind.AWAKE_TOO_LONG, AlarmKind.STOP_FAILED, AlarmKind.WAKE_FAILED, AlarmKind.NOBODY_HOLDS}
)


def _suspicions(seen: Endpoint, bounds: Bounds, now: float) -> Iterator[_Suspicion]:
    if seen.phase is Phase.UNKNOWN:
        yield _unknown(seen, bounds, now)
        return
    yield from _awake(seen, bounds, now)
    if _stop_failed(seen):
        yield _Suspicion(AlarmKind.STOP_FAILED, seen.spec.name, *_stop_text(seen))
    else:
        yield from _unheld(seen, bounds, now)
    if seen.gave_up and seen.phase not in {Phase.RUNNING, Phase.STOPPING}:
        yield _Suspicion(AlarmKind.WAKE_FAILED, seen.spec.name, *_wake_text(seen))


def _unknown(seen: Endpoint, bounds: Bounds, now: float) -> _Suspicion:
    name, age = seen.spec.name, seen.state_age or 0.0
    text = f"{name}: its provider, {seen.spec.provider}, has not told for {span(age)} how it is{_reason(seen)}."
    advice = (
        "It may be running, and billed: nothing is woken or put to sleep by guess. `lamplighter doctor` finds what is "
        "in the way."
    )
    return _Suspicion(AlarmKind.STATE_UNKNOWN, name, text, advice, bounds.unknown, now - age)


def _awake(seen: Endpoint, bounds: Bounds, now: float) -> Iterator[_Suspicion]:
    if bounds.awake is None or seen.state is None or seen.state in ASLEEP or seen.spec.policy.keep_warm:
        return
    name, since = seen.spec.name, seen.wake_time
    if since is not None and seen.sleep_time is not None and since < seen.sleep_time:
        since = None  # that was another time: it is just starting
    for_long = bounds.awake if since is None else max(bounds.awake, now - since)
    text = f"{name} has been awake for {span(for_long)}, which is longer than {span(bounds.awake)}."
    advice = f"It is billed as long as it is. `lamplighter sleep {name}` puts it to sleep."
    yield _Suspicion(AlarmKind.AWAKE_TOO_LONG, name, text, advice, bounds.awake, since)


def _stop_failed(seen: Endpoint) -> bool:
    """Whether it was to be put to sleep, is not, and has not been of use to anybody since."""
    if seen.sleep_failed_at is None or seen.state in ASLEEP or seen.held_by:
        return False
    return seen.last_activity is None or seen.last_activity <= seen.sleep_failed_at


def _stop_text(seen: Endpoint) -> tuple[str, str]:
    name = seen.spec.name
    return f"{name} could not be put to sleep{_reason(seen)}.", (
        f"It may still be running, and billed. This is tried again by itself; `lamplighter sleep {name}` tries now. If "
        f"that does not help, stop it at its provider, {seen.spec.provider}."
    )


def _wake_text(seen: Endpoint) -> tuple[str, str]:
    name = seen.spec.name
    return f"{name} could not be started{_reason(seen)}.", (
        f"Its requests fail, and starts that fail may be billed. `lamplighter logs {name}` tells more, "
        f"`lamplighter wake {name}` tries again."
    )


def _unheld(seen: Endpoint, bounds: Bounds, now: float) -> Iterator[_Suspicion]:
    """Running for nobody, where it ought to have been put to sleep, or nothing ever does that."""
    if seen.phase is not Phase.RUNNING or seen.held_by or seen.waiting:
        return
    policy, used = seen.spec.policy, max(seen.last_activity or 0.0, seen.wake_time or 0.0)
    if policy.idle_timeout is None:
        bound, why = bounds.idle, "it has no idle timeout"
    elif policy.slept_by_provider:
        bound = policy.idle_timeout + bounds.overdue
        why = f"its provider should have put it to sleep after {span(policy.idle_timeout)}"
    else:
        late = seen.auto_sleep_in is not None and seen.auto_sleep_in <= 0
        bound = bounds.overdue if late else None
        why = f"it should have been put to sleep after {span(policy.idle_timeout)}"
    if bound is not None:
        text, advice = _unheld_text(seen.spec.name, max(bound, now - used) if used else bound, why)
        yield _Suspicion(AlarmKind.NOBODY_HOLDS, seen.spec.name, text, advice, bound, after=used)


def _unheld_text(name: str, idle: float, why: str) -> tuple[str, str]:
    text = f"{name} runs for nobody: unused for {span(idle)}, with nothing in flight, waiting or holding it; {why}."
    return text, f"It is billed all the same. `lamplighter sleep {name}` puts it to sleep."


def _breakers(breakers: Mapping[str, str], endpoints: set[str], standing: Mapping[Key, Alarm]) -> Iterator[_Suspicion]:
    """Those that are open, and those that are being tried out after that: only a closed one is over it."""
    for name, state in breakers.items():
        known = (AlarmKind.BREAKER_OPEN, name) in standing
        if state == _OPEN or (known and state != _CLOSED):
            mend = (
                f"`lamplighter logs {name}` tells more; `lamplighter sleep {name}` lets the next request start it anew."
                if name in endpoints
                else "Look at its provider's status page, and whether its key still counts."
            )
            text = f"{name} goes on failing, and gets no requests but single probes."
            advice = (
                "The others go to the other targets of their routes, which may cost more, or fail: "
                f"`lamplighter status {name}` shows its breaker, and the routes to it. {mend}"
            )
            yield _Suspicion(AlarmKind.BREAKER_OPEN, name, text, advice)


def _feed(feed: FeedState, bounds: Bounds, now: float) -> Iterator[_Suspicion]:
    """A source of prices that tells absurd ones, or has told none for long."""
    if feed.refused:
        count, first = len(feed.refused), "; ".join(names_of(feed.refused))
        what = "1 price is" if count == 1 else f"{count} prices are"
        text = f"{what} not believed that {feed.source} told: {_cut(first)}."
        advice = (
            "Where there was a good one before, that counts. If these are right, say so in the configuration: "
            "`price_per_hour` of the endpoint, or `price` of the upstream."
        )
        yield _Suspicion(AlarmKind.PRICE_REFUSED, feed.source, text, advice)
    if feed.failing_since is not None:
        since = feed.checked_at if feed.checked_at is not None else feed.failing_since
        why = f": {_cut(feed.error.rstrip('.'))}" if feed.error else ""
        text = f"{feed.source} has told no prices for {span(max(bounds.prices, now - since))}{why}."
        advice = "The last good ones count, and costs are reckoned by them. `lamplighter prices --refresh` asks again."
        yield _Suspicion(AlarmKind.PRICES_OLD, feed.source, text, advice, bounds.prices, since)


def _budget(found: Standing, bounds: Bounds, endpoints: Sequence[Endpoint], calendar: Calendar) -> Iterator[_Suspicion]:
    """The highest level alone: the others are part of it."""
    level = max((level for level in bounds.budgets if level <= found.level), default=0)
    if not level:
        return
    budget = found.budget
    text = (
        f"Budget {found.name!r}: {in_words(found.spent)} of {in_words(budget.limit)} a {budget.period} "
        f"({found.whose}) is spent, {int(found.spent * 100 / budget.limit)} %. "
        f"It renews at {calendar.moment(found.renews_at)}."
    )
    advice = [_spent_already(found, endpoints) if found.is_spent else f"Once all of it is, {_at_limit(found)}."]
    if found.unpriced:
        advice.append(f"Not in this is what {', '.join(found.unpriced)} costs: nobody knows the price.")
    advice.append(
        f"`lamplighter cost` shows what it went into; `budgets.{budget.name}.limit` in the configuration allows more."
    )
    yield _Suspicion(_OF_LEVEL[level], found.name, text, " ".join(advice))


_SLEEPS = {
    AtLimit.IDLE: "and what is awake sleeps as soon as it is idle",
    AtLimit.DRAIN: "no request is let in, and what is awake sleeps when those in flight have ended",
    AtLimit.CUT: "and what is awake is put to sleep at once",
}


def _at_limit(found: Standing) -> str:
    """What happens under it once it is spent."""
    if found.budget.scope in {Scope.ALL, Scope.ENDPOINT}:
        return f"nothing is woken and no upstream paid under it, {_SLEEPS[found.budget.at_limit]}"
    if found.budget.at_limit is AtLimit.IDLE:
        return (
            "nothing is woken and no upstream paid on its account, and what is awake on it sleeps as soon as it is idle"
        )
    return "all of its requests are refused, and what is awake on its account sleeps as soon as it is idle"


def _spent_already(found: Standing, endpoints: Sequence[Endpoint]) -> str:
    """What follows from that now, and what costs on all the same."""
    text = f"Until then {_at_limit(found)}."
    scope = found.budget.scope
    if scope not in {Scope.ALL, Scope.ENDPOINT}:
        return text
    awake = [
        one.spec.name
        for one in endpoints
        if one.state is not None and one.state not in ASLEEP and (scope is Scope.ALL or one.spec.name == found.member)
    ]
    return f"{text} Still awake: {_cut(', '.join(sorted(awake)))}." if awake else f"{text} Nothing is awake."


def _reason(seen: Endpoint) -> str:
    """What is known of it, as one line behind a colon."""
    said = _cut((seen.message or "").rstrip().rstrip("."))
    return f": {said}" if said else ""


def _cut(text: str) -> str:
    """A text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def span(seconds: float) -> str:
    """Write a time in its largest unit, or in its two largest: 40 s, 5 min, 13 h, 2 d 4 h."""
    left = max(0, round(seconds))
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            rest = left % size // small
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left} s"
