"""`lamplighter wake` and `lamplighter sleep`."""

from __future__ import annotations

import time
from typing import Literal

import click
from rich.text import Text

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import complete_name, talks_to_server
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.reach.connection import Connection, Reply
from lamplighter.cli.reach.waiting import SLEEP, WAKE, Goal, follow
from lamplighter.cli.show.output import err, out, style
from lamplighter.cli.show.progress import Progress
from lamplighter.cli.show.words import span

_wait = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done.")
_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait; then the exit code is 5, and what was begun goes on.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print what the server's API answers, unchanged.")


@click.command(epilog=examples("lamplighter wake chat", "lamplighter wake chat --no-wait"))
@click.argument("name", shell_complete=complete_name)
@_wait
@_timeout
@_json
@talks_to_server
def wake(connection: Connection, name: str, *, wait: bool, timeout: float, as_json: bool) -> None:
    """Wake an endpoint ahead of its first request, and wait until it answers.

    Joins a wake that is under way; does nothing to an endpoint that is awake. Shows how long earlier starts took.
    """
    _operate(connection, "wake", name, WAKE if wait else None, timeout=timeout, as_json=as_json)


@click.command(epilog=examples("lamplighter sleep chat", "lamplighter sleep chat --timeout 60"))
@click.argument("name", shell_complete=complete_name)
@_wait
@_timeout
@_json
@talks_to_server
def sleep(connection: Connection, name: str, *, wait: bool, timeout: float, as_json: bool) -> None:
    """Put an endpoint to sleep, and wait until its provider confirms it.

    Requests in flight are answered first. The next request wakes it again.
    """
    _operate(connection, "sleep", name, SLEEP if wait else None, timeout=timeout, as_json=as_json)


def _operate(
    connection: Connection,
    verb: Literal["wake", "sleep"],
    name: str,
    goal: Goal | None,
    *,
    timeout: float,
    as_json: bool,
) -> None:
    began = time.monotonic()
    reply = connection.begin(verb, name)
    had_to_wait = False
    if goal and reply.endpoint().status != goal.phase:
        had_to_wait = True
        reply = _wait_for(connection, name, goal, timeout)
    if as_json:
        click.echo(reply.text)
    else:
        _tell(reply.endpoint(), time.monotonic() - began if had_to_wait else None, waited_for=goal)


def _wait_for(connection: Connection, name: str, goal: Goal, timeout: float) -> Reply:
    with Progress(err(), goal.phase) as progress:
        for reply in follow(lambda: connection.status(name), goal, timeout):
            progress.show(reply.endpoint())
    return reply


def _tell(view: EndpointView, took: float | None, waited_for: Goal | None) -> None:
    console = out()
    when = f" after {span(took)}" if took is not None else " already" if waited_for else ""
    where = f": {view.url}" if view.status == WAKE.phase and view.url else ""
    look = style(view.status)
    console.print(Text.assemble((view.name, "bold"), " is ", (view.status, look), when, where))
