"""`lamplighter doctor`."""

from __future__ import annotations

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, json_option
from lamplighter.cli.reach.place import Asked


@click.command(epilog=examples("lamplighter doctor", "lamplighter doctor --cloud --json"))
@json_option
@asks_where
def doctor(asked: Asked, *, as_json: bool) -> int:
    """Check all that Lamplighter needs, and say what to do about what is wrong. Starts and changes nothing.

    Looks at the token (where it was found, whether it is valid, until when, what it may do), the rights on the
    namespace, payment, network and proxies, the clock, the configuration and the secrets that it names,
    the server, engines and folders.
    Exit code 1 when something is wrong, 4 when it is the token or key.
    """
    import asyncio  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.doctor.findings import exit_code  # noqa: PLC0415
    from lamplighter.cli.doctor.round import examine_all  # noqa: PLC0415
    from lamplighter.cli.doctor.telling import tell  # noqa: PLC0415

    findings = asyncio.run(examine_all(asked))
    tell(findings, as_json=as_json)
    return exit_code(findings)
