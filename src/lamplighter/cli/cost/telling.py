"""A report of costs for people: the table, the chart, and what there is to know of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.text import Text

from lamplighter.cli.cost.chart import Amounts, chart
from lamplighter.cli.show.amounts import KINDS, amount, shown
from lamplighter.cli.show.output import out
from lamplighter.cli.show.table import Column, table
from lamplighter.cli.show.words import count, one_line, span, whole

Line = Mapping[str, Any]
Body = Mapping[str, Any]

_NONE = {"key": "nobody", "tag": "untagged", "route": "none"}
"""What an empty value means."""

_IN_ALL = "in all"


def tell(body: Body, by_day: Body | None) -> None:
    """Print a report; `by_day` is the same costs by day, for a chart."""
    console = out()
    if not body.get("lines"):
        console.print(_nothing(body), soft_wrap=True)
        return
    console.print(table(_columns(body["by"]), [*body["lines"], body["total"]], console.width))
    if by_day is not None and (drawn := _chart(console, by_day)):
        console.print()
        for line in drawn:
            console.print(line, no_wrap=True, overflow="crop")
    console.print()
    for note in _notes(body):
        console.print(Text(note, style="dim"), soft_wrap=True)


def _columns(by: Sequence[str]) -> list[Column[Line]]:
    groups: list[Column[Line]] = [
        Column(word, partial(_group, word=word, is_first=index == 0), may_be_cut=index > 0 or word == "tag")
        for index, word in enumerate(by)
    ]
    return [
        *groups,
        Column("cold start", partial(_amount, name="cold_start"), "right"),
        Column("serving", partial(_amount, name="serving"), "right"),
        Column("idle", partial(_amount, name="idle"), "right"),
        Column("by use", partial(_if_any, name="by_use"), "right", may_be_missing=True),
        Column("total", lambda line: Text(_amount(line, "total") or "", style="bold"), "right"),
        Column("saved", partial(_amount, name="saved"), "right"),
        Column("requests", partial(_count, name="requests"), "right", may_be_missing=True),
        Column("per request", partial(_amount, name="per_request"), "right", may_be_missing=True),
        Column("per 1M tokens", partial(_amount, name="per_million_tokens"), "right", may_be_missing=True),
        Column("billed for", lambda line: whole(float(line["seconds"])), "right", may_be_missing=True),
    ]


def _group(line: Line, word: str, *, is_first: bool) -> Text | str | None:
    group = line["group"]
    if not group:
        return Text(_IN_ALL if is_first else "", style="bold")
    value = one_line(str(group.get("key_name") or group.get(word, ""))) if word == "key" else one_line(group[word])
    value = (value or _NONE.get(word, "")).replace("_", " ") if word == "kind" else value or _NONE.get(word, "")
    return Text(value, style="bold") if is_first else value


def _amount(line: Line, name: str) -> str | None:
    return shown(amount(line, name))


def _if_any(line: Line, name: str) -> str | None:
    return shown(amount(line, name)) if amount(line, name) else None


def _count(line: Line, name: str) -> str | None:
    return f"{line[name]:,}" if line[name] else None


# The chart.


def _chart(console: Console, body: Body) -> list[Text]:
    days = {date.fromisoformat(line["group"]["day"]): _amounts(line) for line in body["lines"]}
    if not days:
        return []
    end = _end(body)
    since = body.get("since")
    first = max(min(days), date.fromisoformat(since)) if since else min(days)
    return chart(console, days, first, max(end, *days))


def _amounts(line: Line) -> Amounts:
    return {kind: amount(line, kind) or Decimal(0) for kind in KINDS}


def _end(body: Body) -> date:
    """The last day of the report, today included."""
    today = _moment(body).date()
    until = body.get("until")
    return today if until is None else min(today, date.fromisoformat(until) - timedelta(days=1))


def _moment(body: Body) -> datetime:
    """Up to when it counts, in the ledger's time zone, where this machine knows that."""
    try:
        zone = ZoneInfo(str(body["time_zone"]))
    except (ZoneInfoNotFoundError, ValueError):
        return datetime.fromtimestamp(float(body["at"]), UTC)
    return datetime.fromtimestamp(float(body["at"]), zone)


# What there is to know.


def _time(body: Body) -> str:
    since, until = body.get("since"), body.get("until")
    begin = f"from {since}" if since else "from the beginning"
    return f"{begin} on, before {until}" if until else f"{begin} on"


def _nothing(body: Body) -> str:
    return (
        f"Nothing is in the books {_time(body)} ({body['time_zone']}): no endpoint was looked after in that time. "
        "`lamplighter cost --since all` shows all that there is, `lamplighter status` what there is now."
    )


def _notes(body: Body) -> Iterator[str]:
    total = body["total"]
    moment = _moment(body)
    yield f"{_time(body)[0].upper()}{_time(body)[1:]}, up to {moment:%Y-%m-%d %H:%M}; days of {body['time_zone']}."
    if amount(total, "saved") is not None:
        yield "Saved is what staying awake all the time would have cost on top."
    if (estimated := amount(total, "estimated")) is not None and estimated > 0:
        yield f"{shown(estimated)} of it is an estimate: nobody looked meanwhile, so it is billed up to the next look."
    if total["unpriced_seconds"] > 0:
        yield (
            f"For {whole(float(total['unpriced_seconds']))} no price was known, which counts as nothing: set "
            "`price_per_hour` of the endpoint, or see `lamplighter prices`."
        )


# What if.


def tell_what_if(body: Body) -> None:
    """Print what an endpoint has cost, and would have cost otherwise."""
    console = out()
    rows: list[Line] = [
        {"as": "as it was", **body["as_it_was"]},
        {"as": "always on", **body["always_on"]},
        *({"as": f"idle timeout {span(float(one['idle_timeout']))}", **one} for one in body["timeouts"]),
    ]
    columns: list[Column[Line]] = [
        Column("", lambda one: Text(f"{one['as']}{' (as it is set)' if one.get('is_own') else ''}", style="bold")),
        Column("cost", _supposed, "right"),
        Column("billed for", _billed_for, "right", may_be_missing=True),
        Column("cold starts", lambda one: _counted(one, "cold_starts"), "right"),
        Column("than as set", lambda one: _counted(one, "more_cold_starts", signed=True), "right"),
    ]
    console.print(table(columns, rows, console.width))
    console.print()
    requests = count(int(body["requests"]), "request")
    console.print(Text(f"{_time(body)[0].upper()}{_time(body)[1:]} ({body['time_zone']}): {requests}."), soft_wrap=True)
    for note in ("≈ is an estimate.", *body["assumptions"]):
        console.print(Text(note, style="dim"), soft_wrap=True)


def _supposed(row: Line) -> str:
    text = shown(amount(row, "cost"))
    if text is None:
        return str(row["why"])
    return {"estimate": "≈ ", "at least": "≥ "}.get(str(row["basis"]), "") + text


def _billed_for(row: Line) -> str | None:
    return None if row["seconds"] is None else whole(float(row["seconds"]))


def _counted(row: Line, name: str, *, signed: bool = False) -> str | None:
    if name not in row:
        return None
    return f"{row[name]:+,}" if signed and row[name] else f"{row[name]:,}"


# A bill.


def tell_differences(body: Body) -> None:
    """Print where a bill and the ledger differ."""
    console = out()
    found: Sequence[Line] = body["differences"]
    if found:
        columns: list[Column[Line]] = [
            Column("endpoint", lambda one: Text(one_line(one["endpoint"]), style="bold")),
            Column("day", lambda one: one["day"]),
            Column("billed", lambda one: f"${one['billed']}", "right"),
            Column("charged", lambda one: f"${one['charged']}", "right"),
            Column("difference", lambda one: _signed(amount(one, "difference")), "right"),
        ]
        console.print(table(columns, found, console.width))
        console.print()
    within = count(int(body["within_tolerance"]), "line")
    small = f"; {within} within the tolerance" if body["within_tolerance"] else ""
    said = f"{count(len(found), 'difference')}{small}" if found else f"Bill and ledger are equal{small}"
    console.print(Text(f"{said}."), soft_wrap=True)
    sums = f"billed ${body['billed']}, charged ${body['charged']}, days of {body['time_zone']}"
    console.print(Text(f"From {body['since']} to {body['until']}: {sums}.", style="dim"), soft_wrap=True)


def _signed(dollars: Decimal | None) -> str | None:
    if dollars is None:
        return None
    return f"{'-' if dollars < 0 else '+'}${abs(dollars)}"
