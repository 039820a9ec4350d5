"""`lamplighter`: the commands, and what becomes of their errors. Importing this costs click and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from lamplighter import __version__
from lamplighter.cli.lazy import LazyGroup, Session, Verb

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

VERBS = {
    "demo": Verb("lamplighter.cli.demo.command:demo", "See it work: a sleeping model wakes, answers, sleeps again."),
    "init": Verb("lamplighter.cli.configuration:init", "Write a configuration to start from."),
    "serve": Verb("lamplighter.cli.serve:serve", "Run the server."),
    "status": Verb("lamplighter.cli.status:status", "Show how the endpoints are, and what that means."),
    "wake": Verb("lamplighter.cli.operate:wake", "Wake an endpoint ahead of its first request."),
    "sleep": Verb("lamplighter.cli.operate:sleep", "Put an endpoint to sleep."),
    "logs": Verb("lamplighter.cli.logs:logs", "Read what an endpoint's engine printed."),
    "config": Verb("lamplighter.cli.configuration:config", "Check the configuration, or print its schema."),
    "completion": Verb("lamplighter.cli.completion:completion", "Print the script that completes commands with Tab."),
}

_EPILOG = """\
\b
New here? See it work, with a real model on this machine:
  lamplighter demo
Then run your own:
  lamplighter init && lamplighter serve

\b
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found,
4 no rights, 5 timeout, 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="lamplighter", message="%(prog)s %(version)s")
def root() -> None:
    """Wake a sleeping model endpoint when a request comes, and put it to sleep when nobody is left.

    `serve` runs the server. `status`, `wake`, `sleep` and `logs` talk to a server that runs.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are told in a line or a few on standard error."""
    session = Session()
    try:
        code = root.main(argv, prog_name="lamplighter", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except click.ClickException as error:
        from lamplighter.cli.failures import tell_usage  # noqa: PLC0415 - paid for by those who fail

        return tell_usage(error)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except Exception as error:
        if session.debug:
            raise
        from lamplighter.cli.failures import tell  # noqa: PLC0415 - paid for by those who fail

        return tell(error)
    return code if isinstance(code, int) else 0


def _forget_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail a second time at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
