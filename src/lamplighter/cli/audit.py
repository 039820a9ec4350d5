"""`lamplighter audit`: who operated what, when, from where, and how it went."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.base.refusals import ServerSilent, ServerUnreachable
from lamplighter.cli.options import DURATION, complete_name, talks_to_server
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.show.words import whole

_PAGE = 500
_FOLLOW_EVERY = 1.0

Entry = Mapping[str, Any]


@click.command(
    epilog=examples(
        "lamplighter audit --since 24h",
        "lamplighter audit --endpoint chat --failed",
        "lamplighter audit --since 7d --limit 100000 --json > audit.jsonl",
    )
)
@click.option("--endpoint", metavar="NAME", shell_complete=complete_name, help="What was done to this endpoint alone.")
@click.option("--actor", metavar="WHO", help="What was done by this one alone: a key, or `policy`, `request`, `lease`.")
@click.option("--operation", metavar="WORDS", help="This operation alone, such as 'ask pause'.")
@click.option("--since", type=DURATION, metavar="DURATION", help="No longer ago than this: 90m, 24h, 7d.")
@click.option("--until", type=DURATION, metavar="DURATION", help="Longer ago than this.")
@click.option("--failed", is_flag=True, help="Only what was refused, or failed.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="NUMBER", help="The last so many."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document a line.")
@talks_to_server
def audit(
    connection: Connection,
    *,
    endpoint: str | None,
    actor: str | None,
    operation: str | None,
    since: float | None,
    until: float | None,
    failed: bool,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show who operated what, when, from where, and how it went: the oldest first.

    What is on record is never changed, and kept for `server.audit_retention`. Needs a key with the role `admin`.
    """
    if follow and until is not None:
        raise click.UsageError("--follow has no end; leave --until out.")
    if since is not None and until is not None and since <= until:
        raise click.UsageError(
            f"--since ({whole(since)} ago) has to be before --until ({whole(until)} ago): nothing lies between."
        )
    now = time.time()
    given = {
        "endpoint": endpoint,
        "actor": actor,
        "operation": operation,
        "since": None if since is None else now - since,
        "until": None if until is None else now - until,
        "success": "false" if failed else None,
    }
    query = {key: str(value) for key, value in given.items() if value is not None}
    show = _print_json if as_json else _print_words
    found = list(_last(connection, query, limit))
    last = show_all(found, show)
    if not found and not follow:
        words = (
            f"--endpoint {endpoint}" if endpoint is not None else "",
            f"--actor {actor}" if actor is not None else "",
            f"--operation {operation!r}" if operation is not None else "",
            f"--since {whole(since)} ago" if since is not None else "",
            f"--until {whole(until)} ago" if until is not None else "",
            "--failed" if failed else "",
        )
        asked = " ".join(word for word in words if word)
        click.echo(f"Nothing on record matches {asked}." if asked else "Nothing is on record.", err=True)
    if follow:
        for entries in follow_on(lambda after: list(_after(connection, query, after)), last):
            show_all(entries, show)


def show_all(entries: Sequence[Entry], show: Callable[[Entry], None]) -> int:
    """Show entries that come the newest first in the order in which they happened; tells the last one's number."""
    for entry in reversed(entries):
        show(entry)
    return int(entries[0]["id"]) if entries else 0


def follow_on(
    ask: Callable[[int], Sequence[Entry]], last: int, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[Sequence[Entry]]:
    """Ask again and again for what is later than `last`; a server that restarts is waited for."""
    while True:
        pause(_FOLLOW_EVERY)
        try:
            entries = ask(last)
        except (ServerUnreachable, ServerSilent):
            continue
        if entries:
            last = int(entries[0]["id"])
            yield entries


def _last(connection: Connection, query: Mapping[str, str], limit: int) -> Iterator[Entry]:
    """The last entries that the query finds, the newest first, page by page."""
    cursor: str | None = None
    while limit > 0:
        asked = {**query, "limit": str(min(limit, _PAGE)), **({"cursor": cursor} if cursor else {})}
        body = connection.audit(asked).body
        entries = body.get("entries") or []
        yield from entries
        limit -= len(entries)
        cursor = body.get("next_cursor")
        if not cursor or not entries:
            return


def _after(connection: Connection, query: Mapping[str, str], after: int) -> Iterator[Entry]:
    """All that came later, however much that is."""
    return _last(connection, {**query, "after": str(after)}, 1_000_000)


def _print_json(entry: Entry) -> None:
    click.echo(json.dumps(entry, ensure_ascii=False))


def _print_words(entry: Entry) -> None:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.output import out  # noqa: PLC0415
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415

    def said(key: str) -> str:
        return one_line(str(entry.get(key) or ""))

    at = dt.datetime.fromtimestamp(float(entry.get("at") or 0.0)).astimezone()
    source = f" from {said('source')}" if entry.get("source") else ""
    line = Text.assemble(
        (at.strftime("%Y-%m-%d %H:%M:%S"), "dim"),
        "  ",
        (said("operation"), "bold"),
        f" {said('endpoint')}" if entry.get("endpoint") else "",
        f" by {said('actor')}{source}",
        f" ({said('change')})" if entry.get("change") else "",
    )
    if not entry.get("success", True):
        line.append(f": {said('error') or 'failed'}", style="red")
    out().print(line, soft_wrap=True)
