"""`lamplighter offers explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import DURATION, json_option, talks_to_server
from lamplighter.cli.reach.connection import Connection

if TYPE_CHECKING:
    from rich.console import RenderableType

_DAY = 86400.0
_LONGEST = 366 * _DAY
_MANY = 100
_FINE = frozenset({"", "live", "available", "running", "sleeping", "starting", "stopping"})
_MOST_SHOWN = 20

Compared = Mapping[str, Any]


@click.command(
    epilog=examples(
        "lamplighter offers explain chat",
        "lamplighter offers explain Qwen/Qwen3-8B --since 7d",
        "lamplighter offers explain assistant --json | jq .break_even",
    )
)
@click.argument("name", metavar="NAME")
@click.option(
    "--since",
    type=DURATION,
    default="30d",
    show_default=True,
    metavar="DURATION",
    help="How far to look back, from the beginning of that day on.",
)
@click.option("--all", "everything", is_flag=True, help="Also the dearer ones, and those of which it can't be said.")
@json_option
@talks_to_server
def explain(connection: Connection, name: str, *, since: float, everything: bool, as_json: bool) -> None:
    """Tell what your own requests have cost, what they would have cost on each other offer, and what to do.

    NAME is an endpoint, a route, an upstream, or a model by its whole name. By the token that is exact. On hardware it
    is an estimate: the requests are played again as they came, with the same idle timeout and the start that was
    learned. The break-even is at how many requests a day both cost the same.
    """
    if not 0 < since <= _LONGEST:
        raise click.BadParameter(f"{since:g} s should be more than 0, and at most 366 days", param_hint="'--since'")
    reply = connection.explain_offers({"name": name, "since": f"{since:.6f}"})
    if as_json:
        click.echo(reply.text)
        return
    from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

    console = out()
    console.print(_drawn(reply.body, console.width, everything=everything))


def _drawn(told: Mapping[str, Any], width: int, *, everything: bool) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - help should not pay for it
    from rich.text import Text  # noqa: PLC0415

    rows: Sequence[Compared] = told["compared"]
    shown = rows if everything else _main_ones(rows)
    parts: list[RenderableType] = [
        Text("\n".join(_head(told))),
        Text(),
        _table(shown, width),
        Text(),
        Text("\n".join(_below(told, rows, len(rows) - len(shown))), style="dim"),
        Text(),
        Text(told["recommendation"], style="bold"),
    ]
    return Group(*parts)


def _main_ones(rows: Sequence[Compared]) -> Sequence[Compared]:
    """The cheapest ones, and how it was; all where nothing is known of any."""
    known = [row for row in rows if row["cost"] is not None]
    cheapest = known[:_MOST_SHOWN]
    return [*cheapest, *(row for row in known[_MOST_SHOWN:] if row["offer"] is None)] or rows


def _head(told: Mapping[str, Any]) -> Iterator[str]:
    from lamplighter.cli.show.words import count, one_line, span  # noqa: PLC0415 - help should not pay for it

    asked, paid = told["asked"], told["paid"]
    time = span(max(1.0, asked["until"] - asked["since"]))
    models = [one for one in told["models"] if one != told["subject"]]
    yield f"{told['kind']} {one_line(told['subject'])}" + (f" ({one_line(', '.join(models))})" if models else "")
    if not asked["requests"]:
        yield f"asked in {time}: nothing"
    else:
        yield (
            f"asked in {time}: {count(asked['requests'], 'request')}, about {_plain(asked['requests_per_day'])} a day; "
            f"{asked['tokens_in']:,} tokens in and {asked['tokens_out']:,} out, told by {asked['told']:,} of them"
        )
    by_use = "not known" if paid["by_use"] is None else _dollars(paid["by_use"])
    yield (
        f"paid {_said(told)}: cold start {_dollars(paid['cold_start'])}, "
        f"serving {_dollars(paid['serving'])}, idle {_dollars(paid['idle'])}, by use {by_use}"
    )


def _said(told: Mapping[str, Any]) -> str:
    """What was paid, with the word that the row says it with: where it is not known no sum is."""
    own = next(row for row in told["compared"] if row["offer"] is None)
    if own["cost"] is None and told["asked"]["requests"]:
        return "is not known, this is all that was charged"
    words = "at least " if own["basis"] == "at least" else ""
    return f"{words}{_dollars(told['paid']['total'])}"


def _table(rows: Sequence[Compared], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415

    columns: list[Column[Compared]] = [
        Column("offer", lambda row: Text(one_line(row["name"]), style="bold"), may_be_cut=True),
        Column("cost", lambda row: None if row["cost"] is None else _dollars(row["cost"]), "right"),
        Column("how", lambda row: row["basis"]),
        Column("status", _status, may_be_missing=True),
        Column("awake", _awake, "right", may_be_missing=True),
        Column("price", _price, may_be_cut=True),
        Column("told by", _told_by, may_be_cut=True),
        Column("others say", _others, may_be_cut=True, may_be_missing=True),
        Column("note", lambda row: one_line(row["why"]) or None, may_wrap=True),
    ]
    return table(columns, rows, width)


def _below(told: Mapping[str, Any], rows: Sequence[Compared], hidden: int) -> Iterator[str]:
    from lamplighter.cli.show.words import count, one_line  # noqa: PLC0415 - help should not pay for it

    if hidden:
        yield f"{count(hidden, 'more offer')}, dearer or without a cost; --all shows them, and why."
    found = told["break_even"]
    if found is None:
        yield f"No break-even: {told['no_break_even']}."
    elif found["requests_per_day"] is None or Decimal(found["requests_per_day"]) == 0:
        yield f"No break-even: {one_line(found['why'])}."
    else:
        pace = _plain(found["requests_per_day"])
        yield (
            f"Break-even: {pace} requests a day that come as these did. Below that {one_line(found['rented'])} is "
            f"cheaper, above it {one_line(found['hardware'])}."
        )
    for choice in told["choices"]:
        yield f"Route {one_line(choice['route'])} {_choice(choice['targets'])}."
    if any(row["others"] for row in rows):
        yield f"Where sources disagree, this counts: {told['rule']}."
    for source in told["sources"]:
        if source["trouble"]:
            yield f"{source['name']}: {one_line(source['trouble'])}"


def _choice(targets: Sequence[Mapping[str, Any]]) -> str:
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    if any(one["why"] == "no-tokens" for one in targets):
        return "has had no request that told its tokens: where one more would go is not known"
    bids = ", ".join(f"{one_line(_target(one))} {_bid(one)}" for one in targets)
    return f"would send one more such request to the first of: {bids}"


def _target(bid: Mapping[str, Any]) -> str:
    return f"{bid['target']} ({bid['model']})" if bid["model"] else str(bid["target"])


def _bid(bid: Mapping[str, Any]) -> str:
    return f"({bid['why']})" if bid["cost"] is None else f"{_dollars(format(bid['cost'], '.12f'))} ({bid['why']})"


def _status(row: Compared) -> str | None:
    """How the offer is, where it is not simply there."""
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    status = "" if row["offer"] is None else row["offer"]["status"]
    return None if status in _FINE else one_line(status)


def _awake(row: Compared) -> str | None:
    from lamplighter.cli.show.words import span  # noqa: PLC0415 - help should not pay for it

    return None if row["hours_awake"] is None else span(row["hours_awake"] * 3600)


_UNITS = {
    "replica_hour": "/h",
    "million_tokens_in": "/M in",
    "million_tokens_out": "/M out",
    "image": "/image",
    "request": "/request",
    "audio_minute": "/min",
}


def _price(row: Compared) -> str | None:
    return _quoted(row["quotes"])


def _quoted(quotes: Sequence[Mapping[str, Any]]) -> str | None:
    return ", ".join(f"{_dollars(one['amount'])}{_UNITS.get(one['unit'], '')}" for one in quotes) or None


def _told_by(row: Compared) -> str | None:
    from lamplighter.cli.show.words import ago, one_line  # noqa: PLC0415 - help should not pay for it

    told = {one["source"]: one["age"] for one in row["quotes"]}
    return ", ".join(f"{one_line(source)} ({ago(age)})" for source, age in told.items()) or None


def _others(row: Compared) -> str | None:
    """What others say, where that is another amount."""
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    counts = {one["unit"]: one["amount"] for one in row["quotes"]}
    differ = [one for one in row["others"] if counts.get(one["unit"], one["amount"]) != one["amount"]]
    return ", ".join(f"{one_line(one['source'])} {_quoted([one])}" for one in differ) or None


def _dollars(amount: str) -> str:
    """Two figures behind the point, or as many as it takes to show two of a small amount."""
    value = Decimal(amount)
    places = 2 if not value or abs(value) >= Decimal("0.1") else min(9, 1 - value.adjusted())
    return f"${value:,.{places}f}"


def _plain(number: str) -> str:
    value = Decimal(number)
    return f"{value:,.0f}" if value >= _MANY else f"{value:,.2f}".rstrip("0").rstrip(".")
