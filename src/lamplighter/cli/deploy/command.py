"""`lamplighter deploy`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.deployment import NEW, describes, noted
from lamplighter.cli.options import asks_where, complete_name, json_option, one_form, quiet_option, timeout_option
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import Form, print_json, print_names, print_outcome, tell_where
from lamplighter.errors import InvalidInput, LamplighterError

if TYPE_CHECKING:
    from lamplighter.cli.deploy.plan import Plan, Plans
    from lamplighter.cli.reach.together import Outcome
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient

_EPILOG = """\
\b
Exit codes of -f with --dry-run: 0 all is as the file says, 1 something would
change.
"""


@click.command(
    epilog=_EPILOG
    + "\n"
    + examples(
        "lamplighter deploy chat -r Qwen/Qwen3-8B --vendor aws --region us-east-1 --accelerator gpu"
        " --instance-type nvidia-l4 --instance-size x1",
        "lamplighter deploy -f endpoint.yaml --dry-run",
        "lamplighter deploy -f endpoint.yaml --yes --wait",
    )
)
@click.argument("name", required=False, shell_complete=complete_name)
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Endpoints as YAML, one a document; - reads standard input.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before something is changed.")
@click.option(
    "--resend-secrets",
    is_flag=True,
    help="Send the file's secrets even if their names are the same: they can't be read.",
)
@click.option("--wait", is_flag=True, help="Wait until what was made or changed answers.")
@timeout_option()
@json_option
@quiet_option
@asks_where
@describes(NEW)
def deploy(
    asked: Asked,
    name: str | None,
    *,
    values: Mapping[str, Any],
    file: Path | None,
    dry_run: bool,
    yes: bool,
    resend_secrets: bool,
    wait: bool,
    timeout: float,
    as_json: bool,
    quiet: bool,
) -> int:
    """Make an endpoint from options; or make and change endpoints until they are as a file says.

    With -f: shows the difference to what is there, asks, and applies it. What the file leaves out is left alone.
    A new endpoint is billed from the moment it is made, until it is stopped or scales to zero.
    """
    one_form(as_json=as_json, quiet=quiet)
    if (name is None) == (file is None):
        raise click.UsageError("Give either a NAME and what it is, or -f FILE.")
    if file is not None and values:
        raise click.UsageError("With -f everything stands in the file: leave the other options out.")
    form, patience, place = Form(as_json, quiet), timeout if wait else None, find_place(asked)
    if file is not None:
        plans = _plans(place, file, resend_secrets=resend_secrets)
        if dry_run:
            return _show(plans, form)
        return _carry_out(place, plans, form, yes=yes, patience=patience)
    assert name is not None
    _from_options(place, {"name": name, **values}, form, dry_run=dry_run, patience=patience)
    return 0


def _from_options(
    place: Place, values: Mapping[str, Any], form: Form, *, dry_run: bool, patience: float | None
) -> None:
    from lamplighter.hf.forms import DeploymentForm  # noqa: PLC0415 - help should not pay for it

    wanted = noted(lambda: DeploymentForm.of(values))
    if dry_run:
        print_json(_without_secrets(wanted.body()))
        return

    async def make(client: AsyncClient) -> Endpoint:
        tell_where(client.where)
        return await client.create(wanted)

    endpoint = place.run(make)
    if patience is not None:
        from lamplighter.cli.reach.arriving import wait_for  # noqa: PLC0415 - help should not pay for it

        endpoint = wait_for([endpoint], place, patience)[0]
    print_outcome(endpoint, form)


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    model = dict(body.get("model", {}))
    if model.get("secrets"):
        model["secrets"] = dict.fromkeys(model["secrets"], "[redacted]")
    return {**body, "model": model}


def _plans(place: Place, file: Path, *, resend_secrets: bool) -> Plans:
    from lamplighter.cli.deploy.file import read  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.deploy.plan import compare_all  # noqa: PLC0415

    wanted = read(file)
    return place.run(lambda client: compare_all(client, wanted, resend_secrets=resend_secrets))


def _show(plans: Plans, form: Form) -> int:
    """Show what would change; returns whether anything would."""
    from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

    if form.as_json:
        print_json([plan.as_json() for plan in plans.all])
    elif form.quiet:
        print_names([plan.name for plan in plans.changing])
    else:
        out().print(plans.drawn())
    return 1 if plans.changing else 0


def _carry_out(place: Place, plans: Plans, form: Form, *, yes: bool, patience: float | None) -> int:
    """Show what changes, ask, and do it."""
    from lamplighter.cli.show.output import err  # noqa: PLC0415 - help should not pay for it

    if not form.quiet:
        err().print(plans.drawn())
    if plans.changing and not yes:
        _ask(len(plans.changing))
    return _apply(place, plans.all, form, patience)


def _ask(number: int) -> None:
    """Go on only with a yes. Not within a coroutine: there Ctrl-C could not interrupt it."""
    click.echo(f"Apply {'this' if number == 1 else f'these {number} changes'}? [y/N] ", nl=False, err=True)
    typed = sys.stdin.readline()
    if not typed:
        raise InvalidInput("nobody is there to say yes: give --yes to apply without being asked")
    if typed.strip().lower() not in {"y", "yes"}:
        raise LamplighterError("nothing was changed")


def _apply(place: Place, plans: Sequence[Plan], form: Form, patience: float | None) -> int:
    from lamplighter.cli.deploy.plan import applier, key_of  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.reach.together import side_by_side, tell_failures  # noqa: PLC0415

    async def apply(client: AsyncClient) -> list[Outcome[Endpoint]]:
        return await side_by_side([key_of(plan) for plan in plans], applier(client, plans))

    outcomes = place.run(apply)
    endpoints = [outcome.result for outcome in outcomes if outcome.result]
    code = tell_failures(outcomes)
    if patience is not None:
        from lamplighter.cli.reach.arriving import wait_for  # noqa: PLC0415

        endpoints = wait_for(endpoints, place, patience)
    _print(endpoints, form)
    return code


def _print(endpoints: list[Endpoint], form: Form) -> None:
    if form.as_json:
        from lamplighter.cli.show.facts import as_json  # noqa: PLC0415 - help should not pay for it

        print_json([as_json(endpoint) for endpoint in endpoints])
        return
    for endpoint in endpoints:
        print_outcome(endpoint, form)
