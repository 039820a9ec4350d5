"""A whole Lamplighter inside this process, on a free port of loopback that only this client has the key of."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamplighter.config import Settings, load, parse
from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, LamplighterError, Unavailable
from lamplighter.sdk.ender import Charge, ending_lock
from lamplighter.sdk.folders import held, make_private, state_folder
from lamplighter.sdk.standby import Standby

_NAME = "embedded configuration"
_HOST = "127.0.0.1"
_ENDER = "lamplighter.sdk.ender"
_LOCK_LOOK = 0.05
_LOCK_PATIENCE = 60.0

log = logging.getLogger("lamplighter.sdk")


class Embedded:
    """A server in a task of its own. Raises ConfigError for a configuration that is of no use."""

    def __init__(self, config: str | Path | Mapping[str, Any] | None) -> None:
        self._folders = ExitStack()
        self._key = secrets.token_urlsafe(32)
        self._settings = self._read(config)
        self._is_fleeting = config is None
        self._task: asyncio.Task[None] | None = None
        self._standby: Standby | None = None
        self._leave = asyncio.Event()

    async def start(self) -> tuple[str, Secret]:
        """Start it, and tell its address and key. Raises what `lamplighter.runtime.running` raises."""
        _quieten()
        if self._is_fleeting:
            folder = self._folders.enter_context(tempfile.TemporaryDirectory(prefix="lamplighter-"))
            server = self._settings.server.model_copy(update={"data": Path(folder)})
            self._settings = replace(self._settings, server=server)
        data = self._settings.server.data.absolute()
        try:
            async with _after_endings(data):
                self._standby = await self._stand_by(data)
                return await self._start(), Secret(self._key)
        except BaseException:
            await self.close()
            raise

    async def _stand_by(self, data: Path) -> Standby | None:
        """Have somebody end the engines if this process can't; None where they are to be left."""
        if self._settings.server.on_shutdown == "leave":
            return None
        charge = Charge(data=data, program=os.getpid(), fleeting=self._is_fleeting)
        return await Standby.begin(_ENDER, charge.line(), "What ends the engines of a program that was killed")

    async def _start(self) -> str:
        listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._leave.clear()
        self._task = task = asyncio.create_task(self._run(listens), name="embedded Lamplighter")
        waiting: set[asyncio.Future[Any]] = {task, listens}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not listens.done():
            self._task = None
            await task  # it failed, and tells why
            raise LamplighterError("The embedded server ended while it started.")
        return listens.result()

    async def close(self) -> None:
        """End it in order: requests, endpoints, records. A second call does nothing."""
        self._leave.set()
        task, self._task = self._task, None
        try:
            if task is not None:
                await task
            standby, self._standby = self._standby, None
            if standby is not None:
                await standby.dismiss()
        finally:
            self._folders.close()

    async def _run(self, listens: asyncio.Future[str]) -> None:
        from lamplighter.runtime import running  # noqa: PLC0415 - the whole server

        async with running(self._settings) as server:
            if not listens.done():
                listens.set_result(server.url)
            await self._leave.wait()

    def _read(self, config: str | Path | Mapping[str, Any] | None) -> Settings:
        settings = load(config) if isinstance(config, str | Path) else self._parse({} if config is None else config)
        digest = hashlib.sha256(self._key.encode()).hexdigest()
        changes: dict[str, Any] = {"host": _HOST, "port": 0, "keys": (digest,)}
        if isinstance(config, Mapping) and not _says_data(config):
            changes["data"] = _folder_of(config)
        return replace(settings, server=settings.server.model_copy(update=changes))

    @staticmethod
    def _parse(config: Mapping[str, Any]) -> Settings:
        import yaml  # noqa: PLC0415

        try:
            text = yaml.safe_dump(_plain(config), sort_keys=False)
        except yaml.YAMLError as error:
            raise InvalidInput(f"config: it holds something that is no YAML: {error}", field="config") from error
        return parse(text, str(Path.cwd() / _NAME), os.environ)


@asynccontextmanager
async def _after_endings(data: Path) -> AsyncIterator[None]:
    """Begin when nobody ends the engines of an earlier program any more, and let nobody begin to. Raises Unavailable.

    A folder that can't be used is the server's to tell of.
    """
    lock = ending_lock(data)
    deadline = time.monotonic() + _LOCK_PATIENCE
    try:
        await asyncio.to_thread(make_private, data)
        while not lock.try_take():
            if time.monotonic() > deadline:
                raise Unavailable(f"The engines of an earlier program are still being ended ({data}).")
            await asyncio.sleep(_LOCK_LOOK)
    except OSError as error:
        log.debug("%s can't be locked: %s", data, error.strerror)
    with held(lock):
        yield


def _plain(value: Any) -> Any:
    """Mappings, sequences and paths of any kind as YAML knows them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _says_data(config: Mapping[str, Any]) -> bool:
    server = config.get("server")
    return isinstance(server, Mapping) and bool(server.get("data"))


def _folder_of(config: Mapping[str, Any]) -> Path:
    """One folder per configuration: a program finds its own data again, two programs don't meet."""
    text = json.dumps(_plain(config), sort_keys=True, default=str)
    return state_folder() / "embedded" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _quieten() -> None:
    """Log through the standard library, like any other library, unless the program has a wish of its own."""
    import structlog  # noqa: PLC0415

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.getLogger("lamplighter").addHandler(logging.NullHandler())
