"""`lamplighter`: the commands, and what becomes of their errors. Importing this costs click and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from lamplighter import __version__
from lamplighter.cli.base.interruption import INTERRUPTED, exit_code
from lamplighter.cli.base.lazy import LazyGroup, Session, Verb
from lamplighter.cli.base.streams import fill_in, forget_stdout
from lamplighter.secrets.terminal import Terminal

_CLI = "lamplighter.cli"
_USE, _MAKE, _MANY, _SERVE, _HELP = "Use an endpoint", "Make and change", "Many at once", "Run a server", "Help"

VERBS = {
    "start": Verb(f"{_CLI}.start:start", "Resume an endpoint, wait until it answers, print its URL.", _USE),
    "stop": Verb(f"{_CLI}.verbs:stop", "Pause an endpoint: it costs nothing, only a resume wakes it.", _USE),
    "status": Verb(f"{_CLI}.status:status", "Show how the endpoints are, and what that means.", _USE),
    "delete": Verb(f"{_CLI}.verbs:delete", "Delete an endpoint for good, once you have typed DELETE.", _USE),
    "run": Verb(f"{_CLI}.run.command:run", "Start endpoints, run a command, pause them in every way out.", _USE),
    "wait": Verb(f"{_CLI}.verbs:wait", "Wait until an endpoint answers, or sleeps.", _USE),
    "logs": Verb(f"{_CLI}.logs:logs", "Read what an endpoint's engine printed.", _USE),
    "metrics": Verb(f"{_CLI}.metrics:metrics", "Show uptime, requests, tokens and cost of an endpoint.", _USE),
    "replicas": Verb(f"{_CLI}.listing:replicas", "List the replicas of an endpoint.", _USE),
    "pause": Verb(f"{_CLI}.verbs:pause", "The same as stop: nothing billed, quota given back.", _USE),
    "resume": Verb(f"{_CLI}.verbs:resume", "Begin to start an endpoint, and wait for nothing.", _USE),
    "scale-to-zero": Verb(
        f"{_CLI}.verbs:scale_to_zero", "Nothing billed, quota kept, the next request wakes it.", _USE
    ),
    "list": Verb(f"{_CLI}.listing:list_", "List the endpoints of a namespace, or of all.", _MAKE),
    "describe": Verb(f"{_CLI}.listing:describe", "Show everything about one endpoint.", _MAKE),
    "deploy": Verb(f"{_CLI}.deploy.command:deploy", "Make an endpoint, or make it as a file says.", _MAKE),
    "update": Verb(f"{_CLI}.deploy.update:update", "Change an endpoint; what is not given stays.", _MAKE),
    "hardware": Verb(f"{_CLI}.hardware:hardware", "List what can be deployed on, with prices and quota.", _MAKE),
    "prices": Verb(f"{_CLI}.prices:prices", "Show what things cost, who said so, and how old that is.", _MAKE),
    "providers": Verb(f"{_CLI}.market.providers:providers", "List kinds of provider, plug-ins too.", _MAKE),
    "models": Verb(f"{_CLI}.market.models:models", "List models: what each does, its size, who serves it.", _MAKE),
    "offers": Verb(f"{_CLI}.market.offers:offers", "Show what models can be had for, and where.", _MAKE),
    "catalog": Verb(f"{_CLI}.catalog:catalog", "List models with known settings, or deploy one.", _MAKE),
    "up": Verb(f"{_CLI}.groups:up", "Start a group of endpoints side by side.", _MANY),
    "down": Verb(f"{_CLI}.groups:down", "Pause a group of endpoints side by side.", _MANY),
    "guard": Verb(f"{_CLI}.guard.command:guard", "List what is billed; pause what nobody wants.", _MANY),
    "demo": Verb(f"{_CLI}.demo.command:demo", "See it work: a sleeping model wakes, answers, sleeps again.", _SERVE),
    "init": Verb(f"{_CLI}.configuration:init", "Write a configuration to start from.", _SERVE),
    "serve": Verb(f"{_CLI}.serve:serve", "Run the server.", _SERVE),
    "wake": Verb(f"{_CLI}.operate:wake", "Wake an endpoint of a server ahead of its first request.", _SERVE),
    "sleep": Verb(f"{_CLI}.operate:sleep", "Put an endpoint of a server to sleep.", _SERVE),
    "cost": Verb(f"{_CLI}.cost.command:cost", "Show what endpoints cost, by key, tag or day; check bills.", _SERVE),
    "budgets": Verb(f"{_CLI}.budgets:budgets", "Show what of each budget is spent, and when it renews.", _SERVE),
    "alarms": Verb(f"{_CLI}.alarms:alarms", "Show what costs money for nobody, or fails; test who is told.", _SERVE),
    "audit": Verb(f"{_CLI}.audit:audit", "Show who operated what, when, from where, and how it went.", _SERVE),
    "key": Verb(f"{_CLI}.key:key", "Make, list and revoke the keys of a server.", _SERVE),
    "secrets": Verb(f"{_CLI}.secrets.command:secrets", "Keep secrets encrypted, and test where they are.", _SERVE),
    "config": Verb(f"{_CLI}.configuration:config", "Check the configuration, or print its schema.", _SERVE),
    "doctor": Verb(f"{_CLI}.doctor.command:doctor", "Check token, rights, network, clock, configuration.", _HELP),
    "completion": Verb(f"{_CLI}.completion:completion", "Print the script that completes commands with Tab.", _HELP),
}

_EPILOG = """\
\b
New here? See it work, with a real model on this machine:
  lamplighter demo
Run your own:
  lamplighter init && lamplighter serve
Have endpoints at Hugging Face? A token is all it takes:
  HF_TOKEN=… lamplighter start NAME

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

    The verbs act at a server (--server, LAMPLIGHTER_URL, or one that runs on this machine), else at Hugging Face with
    your token (--cloud, HF_TOKEN). What changes something says where.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are told in a line or a few on standard error."""
    session = Session()
    Terminal.allowed = True
    fill_in()
    try:
        code = root.main(argv, prog_name="lamplighter", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except click.ClickException as error:
        from lamplighter.cli.base.failures import tell_usage  # noqa: PLC0415 - paid for by those who fail

        return tell_usage(error)
    except click.Abort:
        return INTERRUPTED
    except KeyboardInterrupt as error:
        return exit_code(error)
    except BrokenPipeError:
        forget_stdout()
        return 1
    except Exception as error:
        if session.debug:
            raise
        from lamplighter.cli.base.failures import tell  # noqa: PLC0415 - paid for by those who fail

        return tell(error, session.where_options)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
