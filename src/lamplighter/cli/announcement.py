"""What `serve` says when it is ready."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lamplighter.cli.show.output import err, phase_text
from lamplighter.domain.endpoint import Endpoint, Phase
from lamplighter.runtime import Server


def announce(server: Server) -> None:
    """Tell on standard error where it listens, what there is, what to try and how to stop."""
    console = err()
    console.print(Text.assemble("Lamplighter listens on ", (server.url, "bold")))
    endpoints = server.fleet.endpoints()
    for endpoint in endpoints:
        console.print(_line(console, endpoint))
    if not endpoints:
        console.print("  no endpoint is configured yet; a SIGHUP reads the configuration again")
    elif chat := _first_chat(endpoints):
        console.print("Try:", style="dim")
        line = curl(server.url, chat, with_key=not server.is_open)
        console.print(Text(f"  {line}"), soft_wrap=True)  # to be copied: no line break may come in
    console.print("Ctrl-C stops it.", style="dim")


def curl(url: str, model: str, *, with_key: bool = False, prompt: str = "Hello!") -> str:
    """A line for the shell that asks a model something."""
    key = ' -H "Authorization: Bearer $LAMPLIGHTER_KEY"' if with_key else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "{prompt}"}}]}}'
    return f"curl {url}/v1/chat/completions{key} -d '{body}'"


def _line(console: Console, endpoint: Endpoint) -> Text:
    name, model = endpoint.spec.name, endpoint.spec.engine.model
    seen = endpoint.phase is not Phase.UNKNOWN  # its provider may just not have been asked yet
    phase = phase_text(console, endpoint.phase.value) if seen else Text(". looking", style="dim")
    line = Text.assemble("  ", phase, "  ", (name, "bold"))
    return line.append(f"  {model}", style="dim") if model else line


def _first_chat(endpoints: Sequence[Endpoint]) -> str | None:
    """An endpoint that chats, or one that does not say what it does."""
    chats = [e.spec.name for e in endpoints if e.spec.task in (None, "text-generation")]
    return chats[0] if chats else None
