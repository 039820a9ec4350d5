"""`lamplighter guard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import DURATION, asks_everywhere, json_option, one_form, quiet_option
from lamplighter.cli.reach.place import Asked, find_place

if TYPE_CHECKING:
    from lamplighter.cli.guard.verdict import Rules

_EPILOG = """\
\b
What keeps an endpoint from being paused:
  a lease or session; requests in flight; a start, a use or a change within --idle
  not knowing since when it runs (its record and graphs are asked), see --unknown-too
  --keep NAME or a pattern; its tag `keep`
  --keep-during, or its tag `keep:mon-fri@08:00-18:00@Europe/Berlin`
\b
Exit codes: 0 nothing to do, or done; 1 something could not be paused, or could
not be looked at; with --fail-if-running also when something runs that nothing
keeps.
"""


@click.command(
    epilog=_EPILOG
    + "\n"
    + examples(
        "lamplighter guard",
        "lamplighter guard --pause --idle 30m --keep 'prod-*' --keep-during 'mon-fri 08:00-18:00 Europe/Berlin'",
        "lamplighter guard --fail-if-running",
    )
)
@click.option("--pause", is_flag=True, help="Pause what nothing keeps.")
@click.option("--dry-run", is_flag=True, help="With --pause: show what would be paused, and pause nothing.")
@click.option(
    "--idle",
    type=DURATION,
    default="30m",
    show_default=True,
    metavar="DURATION",
    help="A start, a use or a change within this time keeps an endpoint.",
)
@click.option(
    "--unknown-too",
    is_flag=True,
    help="Don't keep one of which nobody can tell since when it runs: it may have been started just now.",
)
@click.option(
    "--keep", multiple=True, metavar="PATTERN", help="Keep these: NAME, NAMESPACE/NAME, 'prod-*'; again for more."
)
@click.option(
    "--keep-during",
    multiple=True,
    metavar="SCHEDULE",
    help="Keep all at these times: 'mon-fri 08:00-18:00 Europe/Berlin'; again for more. Without a zone: UTC.",
)
@click.option("--fail-if-running", is_flag=True, help="Exit with 1 if something runs at the end that nothing keeps.")
@json_option
@quiet_option
@asks_everywhere
def guard(
    asked: Asked,
    *,
    pause: bool,
    dry_run: bool,
    idle: float,
    unknown_too: bool,
    keep: tuple[str, ...],
    keep_during: tuple[str, ...],
    fail_if_running: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """List what is running and billed in all namespaces, what it costs, and who wants it; pause what nobody wants.

    Made for a schedule: cron, or the GitHub Action in actions/guard. Pausing gives the quota back, and no request wakes
    a paused endpoint: `lamplighter resume` does. --quiet prints the names of what nothing keeps.
    """
    one_form(as_json=as_json, quiet=quiet)
    rules = _rules(idle, keep, keep_during, unknown_too=unknown_too)
    from lamplighter.cli.guard.round import Round, make_round  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.guard.sessions import sessions_here  # noqa: PLC0415
    from lamplighter.cli.guard.telling import tell  # noqa: PLC0415

    place = find_place(asked)
    namespace = place.namespace or ("*" if place.is_cloud else None)
    sessions = sessions_here(place.url)
    done: Round = place.run(lambda client: make_round(client, namespace, rules, sessions, pauses=pause and not dry_run))
    tell(done, place.title, as_json=as_json, quiet=quiet, dry_run=dry_run, pauses=pause)
    return done.exit_code(fail_if_running=fail_if_running)


def _rules(idle: float, keep: tuple[str, ...], keep_during: tuple[str, ...], *, unknown_too: bool) -> Rules:
    from lamplighter.cli.guard.schedule import Schedule  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.guard.verdict import Rules  # noqa: PLC0415

    schedules = tuple(Schedule.of(text) for text in keep_during)
    return Rules(idle=idle, unknown_too=unknown_too, keep=keep, schedules=schedules)
