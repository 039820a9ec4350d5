"""After the story: the server stays up, to be tried out."""

from __future__ import annotations

import asyncio
import time

from rich.console import RenderableType

from lamplighter.cli.announcement import curl
from lamplighter.cli.demo import engines
from lamplighter.cli.demo.stage import Stage
from lamplighter.cli.demo.talk import CHAT
from lamplighter.cli.show import picture
from lamplighter.runtime import Server

_PYTHON = """\
python -c '
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="none")
answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello!"}}])
print(answer.choices[0].message.content)'"""


async def explore(stage: Stage, server: Server) -> None:
    """Say what to try, and show how the endpoints are, until somebody ends it."""
    stage.act("The server stays up. Try it from another terminal")
    stage.line_to_copy(curl(server.url, CHAT))
    stage.console.print()
    stage.line_to_copy(_PYTHON.format(url=server.url, model=CHAT))
    stage.console.print()
    stage.line_to_copy(f"lamplighter status --watch --server {server.url}")
    stage.console.print()
    stage.say("Ctrl-C ends it, and everything it started.", style="dim")
    stage.console.print()

    def draw() -> RenderableType:
        return picture.overview(stage.console, engines.views(server), time.time())

    async with stage.living(draw):
        await asyncio.Event().wait()
