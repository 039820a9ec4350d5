"""How a round of the guard is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lamplighter.cli.guard.bill import Bill, Running
from lamplighter.cli.guard.round import Finding, Round
from lamplighter.cli.show.output import err, out
from lamplighter.cli.show.portrayal import dollars, state_text
from lamplighter.cli.show.printing import print_json, print_names
from lamplighter.cli.show.table import Column, table
from lamplighter.cli.show.words import ago, count


def tell(done: Round, where: str, *, as_json: bool, quiet: bool, pauses: bool, dry_run: bool) -> None:
    """Print it in the form that was asked for; what failed goes to standard error in any form."""
    if as_json:
        print_json(_as_json(done))
    elif quiet:
        print_names([finding.running.endpoint.name for finding in done.findings if not finding.kept])
    else:
        console = out()
        console.print(_drawn(console, done, where, pauses=pauses, dry_run=dry_run))
    for trouble in done.bill.troubles:
        err().print(Text(f"warning: {trouble}", style="magenta"))
    for finding in done.findings:
        if finding.outcome and finding.outcome.error:
            _shout(finding, finding.outcome.error.message)


def _shout(finding: Finding, message: str) -> None:
    """Nobody may miss that something goes on costing money."""
    endpoint = finding.running.endpoint
    click.echo(f"error: {finding.running.name} COULD NOT BE PAUSED and goes on costing: {message}", err=True)
    click.echo(f"       by hand: lamplighter pause {endpoint.name} -n {endpoint.namespace}", err=True)


def _as_json(done: Round) -> dict[str, object]:
    return {
        "running": [finding.as_json() for finding in done.findings],
        "price_per_hour": done.bill.known_price,
        "unpriced": done.bill.unpriced,
        "unused_per_hour": done.bill.price_of(done.unused),
        "paused_per_hour": done.bill.price_of(done.paused),
        "troubles": list(done.bill.troubles),
    }


def _drawn(console: Console, done: Round, where: str, *, pauses: bool, dry_run: bool) -> RenderableType:
    if not done.findings:
        return f"Nothing runs at {where}, and nothing is billed."
    lines = [Text(), Text(_sum(done.bill.running, f"billed at {where}"))]
    if done.unused:
        lines.append(Text(_sum(done.unused, "used by nobody"), style="yellow"))
    if done.paused:
        lines.append(Text(_sum(done.paused, "paused, and billed no longer"), style="green"))
    lines += [Text(line) for line in _conclusion(done, pauses=pauses, dry_run=dry_run)]
    return Group(_table(console, done), *lines)


def _table(console: Console, done: Round) -> RenderableType:
    now = time.time()
    columns: list[Column[Finding]] = [
        Column("endpoint", lambda one: Text(one.running.name, style="bold")),
        Column("state", lambda one: state_text(console, one.running.endpoint)),
        Column("per hour", _price, "right"),
        Column("since", lambda one: _ago(one.running.since, now)),
        Column("last used", lambda one: _ago(one.running.last_used, now), may_be_missing=True),
        Column("held by", lambda one: ", ".join(one.running.holders), may_be_missing=True),
        Column("verdict", _verdict, may_be_cut=True),
    ]
    return table(columns, done.findings, console.width)


def _price(one: Finding) -> str:
    """What it costs; one that was only published once is said to be about that."""
    running = one.running
    return ("~" if running.is_estimate else "") + (dollars(running.price_per_hour) or "unknown")


def _ago(moment: float | None, now: float) -> str | None:
    return None if moment is None else ago(now - moment)


def _verdict(finding: Finding) -> Text:
    if finding.kept:
        return Text(f"kept: {finding.kept}")
    if finding.done == "failed":
        return Text("COULD NOT BE PAUSED", style="bold red")
    return Text(finding.unwanted or "" if finding.outcome is None else finding.done, style="yellow")


def _sum(running: tuple[Running, ...], how: str) -> str:
    bill = Bill(running)
    known = ("about " if bill.is_estimate else "") + (dollars(round(bill.known_price, 4), " an hour") or "")
    rest = f", and {count(bill.unpriced, 'endpoint')} of unknown price" if bill.unpriced else ""
    return f"{count(len(running), 'endpoint')} {how}: {known}{rest}"


def _conclusion(done: Round, *, pauses: bool, dry_run: bool) -> Iterator[str]:
    left = [finding.running.endpoint.name for finding in done.findings if finding.done == "unwanted"]
    if left and dry_run and pauses:
        yield f"Would be paused: {', '.join(left)}"
    elif left:
        yield f"Nothing keeps {', '.join(left)}; `lamplighter guard --pause` pauses what nothing keeps."
