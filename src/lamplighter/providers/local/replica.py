"""One copy of an engine: its process group, its port, its health, its last words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from lamplighter.domain.endpoint import Replica, Spec
from lamplighter.errors import EngineError
from lamplighter.providers.local.group import Group, foreign_listener
from lamplighter.providers.local.health import HealthRoute, probe, probe_interval
from lamplighter.providers.local.logs import LogFile, Position
from lamplighter.providers.local.ports import reachable
from lamplighter.providers.local.process import ExitWatch, exit_text

LAST_WORDS = 20
"""How many lines of its log a failed engine is quoted with."""

_WORD_LIMIT = 500
_IN_USE = re.compile(r"address (is )?already in use|EADDRINUSE", re.IGNORECASE)


class PortTaken(EngineError):
    """Somebody else got the port between our choosing it and the engine's binding it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The facts of a replica's process: known when it was started, read from its run file when it is adopted."""

    id: str
    slot: int
    port: int
    group: Group
    health_route: str
    logfile: LogFile
    log_start: Position | None = None


class LocalReplica:
    """A replica from the moment its process exists until nothing of its group is left.

    `on_exit` is called on the event loop when its leading process ends, whoever ended it.
    """

    def __init__(self, running: Running, spec: Spec, host: str, on_exit: Callable[[LocalReplica], None]) -> None:
        self.running = running
        self._spec = spec
        self._health = HealthRoute(
            host=reachable(host), port=running.port, path=running.health_route, headers=spec.engine.headers
        )
        self._healthy = False
        self._last_answer: int | None = None
        self._watch = ExitWatch(running.group.leader, running.group.mark, lambda: on_exit(self))

    def watch(self) -> None:
        """Begin to notice its end."""
        self._watch.start()

    def unwatch(self) -> None:
        """Leave it to itself."""
        self._watch.stop()

    @property
    def ready(self) -> bool:
        """Whether its health route has answered 200, and it has not ended since."""
        return self._healthy and not self.exited

    @property
    def was_ready(self) -> bool:
        """Whether its health route has ever answered 200 here."""
        return self._healthy

    @property
    def exited(self) -> bool:
        """Whether its leading process has ended. Others of its group may live."""
        return self._watch.exited.is_set()

    @property
    def address(self) -> Replica:
        """Where requests go."""
        url = f"http://{self._health.netloc}"
        return Replica(id=self.running.id, url=url, headers=tuple(self._spec.engine.headers.items()))

    async def check(self) -> bool:
        """Ask its health route once. Raises PortTaken when somebody else answers."""
        self._last_answer = await probe(self._health)
        if self._last_answer != 200:
            return False
        if await asyncio.to_thread(foreign_listener, self.running.group, self.running.port):
            raise PortTaken(f"another process answers on port {self.running.port}")
        self._healthy = True
        return self.ready

    async def become_ready(self) -> None:
        """Ask until it answers 200. Raises EngineError when it ends, or is not ready within its `start_timeout`."""
        name = self.running.id
        asking = asyncio.create_task(self._ask_until_ready(), name=f"probe {name}")
        dying = asyncio.create_task(self._watch.exited.wait(), name=f"await the exit of {name}")
        timeout = self._spec.engine.start_timeout
        try:
            await asyncio.wait({asking, dying}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
            elif not self.exited:
                raise EngineError(await self._quoted(self._not_ready_text()))
            if self.exited:
                raise await self.obituary(" while starting")
        finally:
            asking.cancel()
            dying.cancel()

    async def _ask_until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not await self.check():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(probe_interval(loop.time() - began))

    async def obituary(self, when: str = "") -> EngineError:
        """How it ended, with its last words."""
        text = await self._quoted(f"{self.end_text}{when}")
        return PortTaken(text) if _IN_USE.search(text) else EngineError(text)

    @property
    def end_text(self) -> str:
        """How it ended, in a line."""
        return f"the engine {exit_text(self._watch.status)}"

    async def end(self) -> None:
        """End its whole group. Raises ProviderError when that can't be done."""
        await self.running.group.end(self._spec.engine.stop_grace, lambda: self.exited)
        self.unwatch()

    def _not_ready_text(self) -> str:
        said = "was not reachable" if self._last_answer is None else f"last answered {self._last_answer}"
        timeout = self._spec.engine.start_timeout
        return f"the engine was not ready within {timeout:g} s: {self._health.path} {said}"

    async def _quoted(self, text: str) -> str:
        tail = await asyncio.to_thread(self.running.logfile.tail, LAST_WORDS, self.running.log_start)
        rest = [tail.rest.decode("utf-8", "replace")] if tail.rest else []
        lines = [line[:_WORD_LIMIT] for line in [*tail.lines, *rest][-LAST_WORDS:]]
        quote = "; its last lines:\n" + "\n".join(lines) if lines else "; it printed nothing"
        return text + quote
