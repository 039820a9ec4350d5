"""`lamplighter demo`."""

from __future__ import annotations

from pathlib import Path

import click

from lamplighter.cli.base.helping import examples

_PROMPT = "Why do people sleep?"


@click.command(epilog=examples("lamplighter demo", 'lamplighter demo --once --prompt "Tell me of street lamps."'))
@click.option("--once", is_flag=True, help="End when the story is told, instead of staying up to be tried out.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen there; by default on 8470, or any free one while that is taken.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Put endpoints to sleep after this long without a request.",
)
@click.option("--prompt", default=_PROMPT, metavar="TEXT", help="What to ask the model.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Keep records there.")
def demo(*, once: bool, port: int | None, idle: float, prompt: str, data: Path | None) -> int:
    """See it work, on this machine: a request wakes a sleeping language model, which answers and sleeps again.

    Fetches SmolLM2-135M-Instruct (98 MB, once), starts a server with two endpoints, asks them over HTTP, and waits
    until they are put to sleep for want of requests. Then it stays up, so that you can try it yourself.
    """
    from lamplighter.cli.demo.stage import Stage  # noqa: PLC0415 - help should not pay for any of this
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    stage = Stage(out())
    stage.title("Lamplighter: a sleeping model answers a request, and goes back to sleep")  # before the long imports

    from lamplighter.cli.demo.play import play  # noqa: PLC0415
    from lamplighter.cli.demo.settings import demo_settings, usual_port_or_free  # noqa: PLC0415

    chosen = usual_port_or_free() if port is None else port
    return play(demo_settings(port=chosen, idle=idle, data=data), stage, prompt=prompt, once=once)
