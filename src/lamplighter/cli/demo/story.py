"""What the demo tells: asleep, woken by a request, answering, awake, idle, asleep again."""

from __future__ import annotations

from contextlib import AsyncExitStack

import psutil
from rich.text import Text

from lamplighter.cli.base.refusals import StillAwake
from lamplighter.cli.demo import engines
from lamplighter.cli.demo.stage import Stage
from lamplighter.cli.demo.talk import CHAT, EMBED, Reading, Talk
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show.words import span, whole
from lamplighter.domain.endpoint import Phase
from lamplighter.errors import LamplighterError
from lamplighter.runtime import Server

_LONG_ANSWER = 100
_SHORT_ANSWER = 16
_FALL_ASLEEP_WITHIN = 30.0
_NEXT_PROMPT = "What is a good time to get up?"  # not the same: its beginning would be in the engine's cache
_SENTENCE = "The lamps are lit one after another."


class Story:
    """Tells on `stage` what `server` does when `talk` asks it."""

    def __init__(self, stage: Stage, server: Server, talk: Talk) -> None:
        self._stage = stage
        self._server = server
        self._talk = talk
        self._processes: dict[str, psutil.Process | None] = {}

    async def tell(self, prompt: str) -> None:
        """The whole of it. Raises LamplighterError when anything does not go as told."""
        await self._asleep()
        cold = await self._woken_by_a_request(prompt)
        await self._awake(cold)
        await self._another_one()
        await self._asleep_again()

    async def _asleep(self) -> None:
        self._stage.done(f"The server listens on {self._server.url}")
        for name in (CHAT, EMBED):
            await self._reach_sleep(name, _FALL_ASLEEP_WITHIN)
        self._stage.act("Two endpoints, both asleep: nothing runs")
        self._stage.show(engines.views(self._server))

    async def _woken_by_a_request(self, prompt: str) -> Reading:
        self._stage.act("A request comes, is held while the model starts, and is answered")
        self._stage.say(f"POST /v1/chat/completions, model {CHAT!r}: {prompt}", style="dim")
        reading = await self._ask(prompt, _LONG_ANSWER)
        self._stage.done(
            f"Waited {span(reading.waited)} for the cold start, first token after {span(reading.first_token)}"
        )
        self._stage.done(f"{reading.tokens} tokens, {reading.tokens_per_second:.0f} tokens/s")
        self._meet(CHAT)
        return reading

    async def _ask(self, prompt: str, max_tokens: int) -> Reading:
        """Ask, show how the endpoint is until the first word comes, then print the words."""
        prose = self._stage.prose()
        async with AsyncExitStack() as shown:
            await shown.enter_async_context(self._stage.watching(lambda: engines.view(self._server, CHAT)))
            async with self._talk.chat(prompt, max_tokens=max_tokens) as reading:
                async for piece in reading.pieces():
                    await shown.aclose()
                    prose.add(piece)
        prose.end(cut=reading.cut)
        return reading

    async def _awake(self, cold: Reading) -> None:
        self._stage.act("The next request finds it awake")
        self._stage.say(f"POST /v1/chat/completions, model {CHAT!r}: {_NEXT_PROMPT}", style="dim")
        async with self._talk.chat(_NEXT_PROMPT, max_tokens=_SHORT_ANSWER) as warm:
            async for _ in warm.pieces():
                pass
        times = cold.first_token / warm.first_token if warm.first_token else 0
        self._stage.done(f"First token after {span(warm.first_token)}, {times:.0f} times as soon")

    async def _another_one(self) -> None:
        self._stage.act("A request for the other endpoint")
        self._stage.say(f"POST /v1/embeddings, model {EMBED!r}: {_SENTENCE}", style="dim")
        async with self._stage.watching(lambda: engines.view(self._server, EMBED)):
            numbers, waited = await self._talk.embed(_SENTENCE)
        shown = ", ".join(f"{number:.3f}" for number in numbers[:3])
        self._stage.done(f"Waited {span(waited)} for the cold start")
        self._stage.done(f"{len(numbers)} numbers: {shown}, …")
        self._meet(EMBED)

    def _meet(self, name: str) -> None:
        """Remember the engine's process, to see it gone later."""
        process = self._processes[name] = engines.process_of(self._server, name)
        if process:
            self._stage.done(f"{name} runs as process {process.pid}")

    async def _asleep_again(self) -> None:
        idle = self._server.settings.defaults.idle_timeout or 0.0
        self._stage.act(f"Nobody asks any more: after {whole(idle)} each is put to sleep")
        async with self._stage.living(self._countdown):
            for name in (CHAT, EMBED):
                await self._reach_sleep(name, idle + _FALL_ASLEEP_WITHIN)
                self._stage.done(f"{name} is asleep{self._farewell(name)}")

    def _countdown(self) -> Text:
        return Text("\n").join(Text(f"  {_fate(view)}", style="dim") for view in engines.views(self._server))

    def _farewell(self, name: str) -> str:
        process = self._processes[name]
        if process is None:
            return ""
        if not engines.is_gone(process):
            raise LamplighterError(f"{name} is said to be asleep, but its process {process.pid} still runs")
        return f": process {process.pid} has ended"

    async def _reach_sleep(self, name: str, timeout: float) -> None:
        endpoint = await self._server.fleet.settled(name, Phase.SLEEPING, timeout=timeout)
        if endpoint.phase is not Phase.SLEEPING:
            said = f": {endpoint.message}" if endpoint.message else ""
            raise StillAwake(f"{name} is still {endpoint.phase} after {whole(timeout)}{said}")


def _fate(view: EndpointView) -> str:
    if view.auto_sleep_in is not None:
        return f"{view.name} sleeps in {whole(view.auto_sleep_in)}"
    return f"{view.name} is {view.status}"
