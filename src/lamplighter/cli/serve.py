"""`lamplighter serve`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from lamplighter.cli.base.helping import examples


@click.command(
    epilog=examples(
        "lamplighter serve", "lamplighter serve --config /etc/lamplighter.yaml --port 9000", "lamplighter serve --demo"
    )
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration; by default ./lamplighter.yaml, then the one in your configuration folder.",
)
@click.option("--host", metavar="ADDRESS", help="Listen there instead of where the configuration says.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", help="The same for the port; 0 takes a free one."
)
@click.option(
    "--fd",
    type=click.IntRange(0),
    metavar="NUMBER",
    help="Take over the listening socket that is this open file descriptor, instead of --host and --port. One of a "
    "systemd socket unit is found without it.",
)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Keep records there.")
@click.option("--demo", is_flag=True, help="Serve the demo's two endpoints instead of a configuration.")
@click.option(
    "--page/--no-page", default=True, show_default=True, help="Whether to show browsers a page at the server's address."
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to log."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to log.",
)
def serve(
    *,
    path: Path | None,
    host: str | None,
    port: int | None,
    fd: int | None,
    data: Path | None,
    demo: bool,
    page: bool,
    log_format: str,
    log_level: str,
) -> int:
    """Run the server: it takes requests at /v1/…, wakes the endpoint that each is for, and puts idle ones to sleep.

    Ctrl-C (or SIGTERM) lets the requests in progress end and stops the engines; a second one does not wait. SIGHUP
    reads the configuration again and drops no request.
    """
    if demo and path:
        raise click.UsageError("--demo has its own configuration; leave --config out.")
    if fd is not None and (host is not None or port is not None):
        raise click.UsageError("--fd brings its own address; leave --host and --port out.")
    from lamplighter.cli.announcement import announce  # noqa: PLC0415 - help should not pay for the server
    from lamplighter.cli.checking import check_engines  # noqa: PLC0415
    from lamplighter.cli.demo.settings import demo_settings  # noqa: PLC0415
    from lamplighter.cli.reach.readiness import notify_ready  # noqa: PLC0415
    from lamplighter.config import Settings, load  # noqa: PLC0415
    from lamplighter.listening import handed_over  # noqa: PLC0415
    from lamplighter.logs import configure_logging  # noqa: PLC0415
    from lamplighter.runtime import Server  # noqa: PLC0415
    from lamplighter.runtime import serve as serve_until_told  # noqa: PLC0415
    from lamplighter.secrets.sources import Secrets  # noqa: PLC0415
    from lamplighter.secrets.terminal import Terminal  # noqa: PLC0415

    configure_logging(log_format, log_level)
    environ = overridden(os.environ, host=host, port=port, data=data)

    def tell(server: Server) -> None:
        notify_ready()  # first: who reads the rest may be gone
        announce(server)

    secrets = Secrets(
        environ
    )  # the same for every reload: what a source that is down then held before goes on to count

    def read() -> Settings:
        settings = load(path, environ, secrets)
        check_engines(settings)
        return settings

    handed = handed_over(fd)
    if demo:
        return serve_until_told(demo_settings(host=host, port=port, data=data), announce=tell, handed=handed, page=page)
    settings = read()
    Terminal.allowed = False  # nobody may be asked while requests wait; a reload goes on with what is known
    return serve_until_told(settings, announce=tell, reload=read, handed=handed, page=page)


def overridden(
    environ: Mapping[str, str], *, host: str | None, port: int | None, data: Path | None
) -> Mapping[str, str]:
    """Give options the place that environment variables have: above the file, and checked together with it."""
    given = {
        "LAMPLIGHTER_HOST": host,
        "LAMPLIGHTER_PORT": None if port is None else str(port),
        "LAMPLIGHTER_DATA": None if data is None else str(data.absolute()),
    }
    return {**environ, **{name: value for name, value in given.items() if value is not None}}
