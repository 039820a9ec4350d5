"""Budgets for people: a row for each with a bar, and below what there is to say of it.

The parts of a bar differ in their characters as well as in their colours, so that nobody needs colours to tell them
apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.text import Text

from lamplighter.cli.show.amounts import amount, shown
from lamplighter.cli.show.output import out, pick
from lamplighter.cli.show.table import Column, table
from lamplighter.cli.show.words import one_line, whole

Budget = Mapping[str, Any]
"""One as `/api/budgets` tells it."""

WIDTH = 20
"""Cells of a bar, half of them where there is little room."""
_ROOMY = 100

_SPENT, _ASIDE, _LEFT = ("█", "#"), ("▒", "+"), ("░", ".")
_EXAMPLE = """\
budgets:
  monthly: {limit: 50, per: month}                                     # all that is spent here, in $
  chat: {limit: 5, per: day, endpoint: chat, at_limit: drain}
  team: {limit: 20, per: week, tag: team=*}                            # each value of the tag `team` of keys"""

_AT_LIMIT = {
    "idle": "idle ones sleep",
    "drain": "nothing is let in",
    "cut": "all sleep at once",
}


def show(budgets: Sequence[Budget], *, now: float, zone: str) -> None:
    """Print them. `now` is Unix time, `zone` the one whose days count."""
    console = out()
    if not budgets:
        console.print("No budget is configured, so nothing bounds what is spent. In lamplighter.yaml:\n")
        console.print(_EXAMPLE, markup=False, soft_wrap=True)
        console.print("\n`kill -HUP` on the server takes it, and it counts at once.")
        return
    console.print(table(_columns(console, now, zone), budgets, console.width))
    console.print(_legend(console, budgets, zone), soft_wrap=True)
    for sign, look, text in _notes(budgets, zone):
        console.print(Text.assemble((pick(console, *sign), look), " ", (one_line(text), look)), soft_wrap=True)


def _columns(console: Console, now: float, zone: str) -> Sequence[Column[Budget]]:
    return (
        Column("budget", lambda one: Text(one_line(str(one["name"])), style="bold")),
        Column("whose", lambda one: one_line(str(one["whose"])), may_be_cut=True),
        Column("used", lambda one: bar(console, one)),
        Column("spent", lambda one: f"{_dollars(one, 'spent')} of {_dollars(one, 'limit')}", "right"),
        Column(
            "set aside",
            lambda one: _dollars(one, "reserved") if amount(one, "reserved") else None,
            "right",
            may_be_missing=True,
        ),
        Column("renews", lambda one: f"in {whole(float(one['renews_at']) - now)}"),
        Column("at", lambda one: moment(float(one["renews_at"]), zone), may_be_missing=True),
        Column("at the limit", _at_limit, may_be_missing=True),
    )


def _dollars(budget: Budget, name: str) -> str:
    return shown(amount(budget, name)) or "-"


def _at_limit(budget: Budget) -> str:
    if budget["scope"] in {"key", "tag"} and budget["at_limit"] != "idle":
        return "its requests are refused"
    return _AT_LIMIT.get(str(budget["at_limit"]), str(budget["at_limit"]))


def moment(at: float, zone: str) -> str:
    """A moment of Unix time as the clocks of a zone show it; in UTC, and said so, where this machine knows none."""
    try:
        return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%Y-%m-%d %H:%M}"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{datetime.fromtimestamp(at, ZoneInfo('UTC')):%Y-%m-%d %H:%M} UTC"


def bar(console: Console, budget: Budget) -> Text:
    """How much is spent, set aside and left; and the percentage that is spent, which may be more than a hundred."""
    spent, aside, limit = (amount(budget, name) or Decimal(0) for name in ("spent", "reserved", "limit"))
    width = WIDTH if console.width >= _ROOMY else WIDTH // 2
    full, part = cells(spent, aside, limit, width)
    look = {100: "red", 80: "yellow"}.get(int(budget["level"]), "green")
    return Text.assemble(
        (pick(console, *_SPENT) * full, look),
        (pick(console, *_ASIDE) * part, "cyan"),
        (pick(console, *_LEFT) * (width - full - part), "dim"),
        (f" {int(spent * 100 / limit) if limit else 0:>3} %", look if budget["level"] else ""),
    )


def cells(spent: Decimal, aside: Decimal, limit: Decimal, width: int = WIDTH) -> tuple[int, int]:
    """How many of `width` cells are spent, and set aside: all of them only where nothing is left, none for nothing."""
    if limit <= 0:
        return 0, 0
    full = _share(spent, limit, width)
    used = max(full, _share(spent + aside, limit, width))
    if aside > 0 and used == full and full < width:
        used = full + 1
    return full, used - full


def _share(part: Decimal, limit: Decimal, width: int) -> int:
    if part >= limit:
        return width
    rounded = int((part * width / limit).to_integral_value(ROUND_HALF_UP))
    return min(width - 1, max(rounded, 1 if part > 0 else 0))


def _legend(console: Console, budgets: Sequence[Budget], zone: str) -> Text:
    parts = [f"{pick(console, *_SPENT)} spent"]
    if any(amount(one, "reserved") for one in budgets):
        parts.append(f"{pick(console, *_ASIDE)} set aside for wakes")
    parts.append(f"{pick(console, *_LEFT)} left")
    return Text(f"{'   '.join(parts)}   (days are those of {one_line(zone)})", style="dim")


_WARNING, _SPENT_SIGN = ("▲", "!"), ("✗", "!")


def _notes(budgets: Sequence[Budget], zone: str) -> Iterator[tuple[tuple[str, str], str, str]]:
    """A sign, a colour and a sentence for what somebody should know."""
    for one in budgets:
        name = f"{one['name']} ({one['whose']})"
        if one["is_spent"]:
            until = moment(float(one["renews_at"]), zone)
            text = f"{name} is spent: nothing is woken before {until}; `budgets.{one['name']}.limit` allows more."
            yield _SPENT_SIGN, "red", text
        if one["unpriced"]:
            names = ", ".join(one["unpriced"])
            text = f"{name} can't count what {names} costs: nobody knows the price. Set `price_per_hour` of it."
            yield _WARNING, "yellow", text
        if one["missing"]:
            text = f"{name} counts nothing now: there is no {one['scope']} {one['member']!r}."
            yield _WARNING, "yellow", text
