"""The demo's configuration."""

from __future__ import annotations

import os
import socket
from importlib import resources
from pathlib import Path

from lamplighter.config import Settings, parse

MODEL = "SmolLM2-135M-Instruct"
PORT = 8470
IDLE = 20.0


def demo_settings(
    *, host: str | None = None, port: int | None = None, data: Path | None = None, idle: float = IDLE
) -> Settings:
    """The demo's endpoints, put to sleep after `idle` seconds. Raises ConfigError.

    Nothing but what is given here counts: a configuration in the environment is meant for another server.
    """
    text = resources.files("lamplighter.cli.demo").joinpath("demo.yaml").read_text("utf-8")
    environ = {
        "LAMPLIGHTER_HOST": host or "127.0.0.1",
        "LAMPLIGHTER_PORT": str(PORT if port is None else port),
        "LAMPLIGHTER_DATA": str((data or default_data()).absolute()),
        "ENDPOINT_AUTO_SLEEP": f"{idle:g}s",
    }
    return parse(text, "demo.yaml", environ)


def default_data() -> Path:
    """A folder of its own, so that the demo never gets in the way of a real server's records."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "lamplighter" / "demo"


def usual_port_or_free() -> int:
    """The usual port, or 0 for any free one while another server holds it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT
