"""`lamplighter cost` and the verbs below it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lamplighter.cli.base.helping import CONTEXT, examples
from lamplighter.cli.options import DURATION, complete_name, json_option, talks_to_server
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.show.printing import print_json
from lamplighter.errors import InvalidInput

BY = ("endpoint", "key", "tag", "provider", "day", "kind", "route")
"""By what costs can be told apart."""

_REPORT = "report"
_LONG = 3600.0
_EPILOG = """\
\b
Days (--since, --until):
  2026-11-01         that day; --until is the day before which it ends
  today, yesterday, week, month, year, all
  7d, 4w             the last seven days, the last 28; today is one of them
\b
What is shown:
  cold start   billed before it ran for the first time
  serving      running, with a request in flight
  idle         running with none: what a shorter idle timeout would save of
  saved        what staying awake all the time would have cost on top
\b
Below it:
  lamplighter cost what-if NAME          the same requests always on, or at another idle timeout
  lamplighter cost reconcile BILL.csv    compare a provider's bill with the ledger
  lamplighter cost rebuild               charge all anew from the facts
"""


class _CostGroup(click.Group):
    """Verbs, and the report where none of them is named. An endpoint called like a verb: `cost report NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        is_verb = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if is_verb else [_REPORT, *args])


class _Report(click.Command):
    """Shows in its usage what is typed."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command`."""
        path = ctx.command_path.removesuffix(f" {_REPORT}")
        formatter.write_usage(path, " ".join(self.collect_usage_pieces(ctx)))


@click.group(cls=_CostGroup, context_settings=CONTEXT)
def cost() -> None:
    """Show what endpoints cost: by endpoint, key, tag or day; compare a bill with it; charge anew."""


def _split(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    """Words, repeated or with commas between."""
    words = [word.strip() for one in given for word in one.split(",") if word.strip()]
    for word in words:
        if word not in BY:
            raise click.BadParameter(f"{word!r} should be one of {', '.join(BY)}", ctx, param)
    return tuple(words)


@cost.command(
    _REPORT,
    cls=_Report,
    epilog=_EPILOG
    + "\n"
    + examples(
        "lamplighter cost",
        "lamplighter cost --by day --since month chat",
        "lamplighter cost --by tag --tag team --since 2026-10-01 --until 2026-11-01",
        "lamplighter cost --by key,endpoint --tag team=research --since 7d",
        "lamplighter cost --by endpoint,day --since year --csv > costs.csv",
        "lamplighter cost --json | jq -r .total.total",
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option(
    "--by",
    multiple=True,
    callback=_split,
    metavar="WORDS",
    help=f"What lines are told apart by: {', '.join(BY)}; several with commas. By default endpoint.",
)
@click.option("--since", metavar="DAY", help="The first day. By default 30 days before the end.")
@click.option("--until", metavar="DAY", help="The day before which it ends. By default now.")
@click.option("--tag", metavar="NAME[=VALUE]", help="Show this tag of keys; with a value: only what such keys cost.")
@click.option("--key", "keys", multiple=True, metavar="NAME", help="Only what this key is charged; again for more.")
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Only at this provider; again for more.")
@click.option("--chart/--no-chart", default=True, show_default=True, help="Draw costs over time below the table.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for spreadsheets; docs/costs.md tells the columns.")
@talks_to_server
def report(
    connection: Connection,
    *,
    names: tuple[str, ...],
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    tag: str | None,
    keys: tuple[str, ...],
    providers: tuple[str, ...],
    chart: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show what endpoints cost, split into cold start, serving and idle, and what sleeping saved.

    All endpoints, or those NAMEd. The figures are those of the server's ledger, up to this moment; days are those of
    its `ledger.time_zone`.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    given: dict[str, Any] = {"since": since, "until": until, "tag": tag}
    given |= {"endpoint": names, "key": keys, "provider": providers}
    query = {name: value for name, value in given.items() if value}
    usual = ("tag",) if tag is not None and "=" not in tag else ("endpoint",)
    asked = {**query, "by": by or usual}
    if as_csv:
        click.echo(connection.cost_table(asked), nl=False)
        return
    reply = connection.cost(asked)
    if as_json:
        click.echo(reply.text)
        return
    from lamplighter.cli.cost.telling import tell  # noqa: PLC0415 - help should not pay for it

    tell(reply.body, _by_day(connection, query, reply.body) if chart else None)


def _by_day(connection: Connection, query: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """The same costs by day, for the chart."""
    if told.get("by") == ["day"] or not told.get("lines"):
        return told
    plain = {name: value for name, value in query.items() if name != "tag" or "=" in value}
    return connection.cost({**plain, "by": ("day",)}).body


@cost.command(
    epilog=examples(
        "lamplighter cost what-if chat",
        "lamplighter cost what-if chat --idle-timeout 5m --since month",
        "lamplighter cost what-if chat --json | jq .timeouts",
    )
)
@click.argument("name", metavar="NAME", shell_complete=complete_name)
@click.option(
    "--idle-timeout",
    "timeouts",
    type=DURATION,
    multiple=True,
    metavar="DURATION",
    help="Try this one, such as 5m, beside the usual ones and its own; again for more.",
)
@click.option("--since", metavar="DAY", help="The first day. By default 30 days before the end.")
@click.option("--until", metavar="DAY", help="The day before which it ends. By default now.")
@json_option
@talks_to_server
def what_if(
    connection: Connection,
    *,
    name: str,
    timeouts: tuple[float, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Show what the endpoint NAME would have cost always on, or at another idle timeout.

    What it has cost, and always on, is from the server's ledger. Other idle timeouts are estimates: the requests on
    record are played again as they came. Changes nothing.
    """
    given: dict[str, Any] = {"since": since, "until": until, "idle_timeout": timeouts}
    reply = connection.what_if({"endpoint": name, **{key: value for key, value in given.items() if value}})
    if as_json:
        click.echo(reply.text)
        return
    from lamplighter.cli.cost.telling import tell_what_if  # noqa: PLC0415 - help should not pay for it

    tell_what_if(reply.body)


@cost.command(
    epilog=examples(
        "lamplighter cost reconcile november.csv",
        "lamplighter cost reconcile november.csv --tolerance 0.05 --json | jq .differences",
    )
)
@click.argument("bill", type=click.Path(path_type=Path, allow_dash=True), metavar="BILL.csv")
@click.option(
    "--tolerance",
    default="0.01",
    show_default=True,
    metavar="DOLLARS",
    help="Differences of at most this are only counted: bills are rounded to cents.",
)
@json_option
@talks_to_server
def reconcile(connection: Connection, *, bill: Path, tolerance: str, as_json: bool) -> int:
    """Compare a provider's BILL with what the ledger charged, by endpoint and day.

    The file is CSV with the columns endpoint, day (2026-11-21) and amount ($), in any order and among others; `-` reads
    it from standard input. The exit code is 0 where they are equal, 1 where they differ.
    """
    reply = connection.reconcile_cost(_read(bill), tolerance)
    if as_json:
        click.echo(reply.text)
    else:
        from lamplighter.cli.cost.telling import tell_differences  # noqa: PLC0415 - help should not pay for it

        tell_differences(reply.body)
    return 0 if reply.body.get("equal") else 1


def _read(bill: Path) -> bytes:
    """What is in the file, or comes on standard input. Raises InvalidInput."""
    try:
        return sys.stdin.buffer.read() if str(bill) == "-" else bill.read_bytes()
    except OSError as error:
        raise InvalidInput(f"BILL.csv: {bill} can't be read: {error.strerror}.", field="bill") from error


@cost.command(epilog=examples("lamplighter cost rebuild"))
@json_option
@talks_to_server
def rebuild(connection: Connection, *, as_json: bool) -> None:
    """Charge all hours that have ended anew, from the facts that are on record; needs a key with the role `admin`.

    For after a wrong price was put right, or `ledger.time_zone` was changed. Takes minutes where a year of a thousand
    endpoints is on record; nothing else is written to the database meanwhile.
    """
    reply = connection.rebuild_cost(timeout=_LONG)
    if as_json:
        print_json(reply.body)
        return
    since = reply.body.get("since")
    what = "All hours that have ended" if since is None else f"All hours from {since} on that have ended"
    older = "" if since is None else " What is older stays: its facts are kept no more."
    click.echo(f"{what} were charged anew.{older}")
