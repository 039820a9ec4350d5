"""What NiceGUI does for the page: the document that a browser loads, and the socket behind it.

The only module that imports NiceGUI. Its elements with templates are not used: Vue would compile them in the browser,
which takes a policy that lets text be evaluated. The page is one element, drawn by functions (`assets/app.js`).

NiceGUI keeps what it serves in its modules: one page a process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

from lamplighter.domain.keys import ANYBODY, Role
from lamplighter.errors import Conflict
from lamplighter.gateway.asgi import ASGIApp
from lamplighter.web.assets import Assets
from lamplighter.web.screens import SCREENS
from lamplighter.web.sessions import Visitor
from lamplighter.web.site import VISITOR

_ROOM = "board"
_RECONNECT = 30.0
"""How long a page that lost its connection is remembered (seconds); one that comes later loads anew."""

_STORAGE = "NICEGUI_STORAGE_PATH"


@contextlib.contextmanager
def _apart(folder: Path) -> Any:
    """Have NiceGUI look for its own records there, and not in the folder that the server was started in."""
    before = os.environ.get(_STORAGE)
    os.environ[_STORAGE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(_STORAGE)
        if before is not None:
            os.environ[_STORAGE] = before


class Shell:
    """The document and the socket. `facts` is what every page is told of the server."""

    _parent: FastAPI | None = None
    _current: Shell | None = None

    def __init__(self, assets: Assets, facts: Mapping[str, Any], data: Path) -> None:
        """Raises ImportError where NiceGUI is not installed."""
        with _apart(data / "page"):
            from nicegui import core, ui  # noqa: PLC0415 - it may be missing, and takes half a second

        self._core = core
        self._ui = ui
        self.assets = assets
        self.facts = dict(facts)
        self._icon = (resources.files("lamplighter.web") / "assets" / "lamp.svg").read_text("utf-8")
        self.on_follow: Callable[[], int] = lambda: 0
        self.counts: Callable[[Visitor], bool] = lambda _: True

    @property
    def app(self) -> ASGIApp:
        """What answers."""
        app: ASGIApp = self._core.app
        return app

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Serve while the context lasts. Raises Conflict where another page is served in this process."""
        if Shell._current is not None:
            raise Conflict("Another server of this process has the page; a process serves one.")
        Shell._current = self
        try:
            if Shell._parent is None:
                Shell._parent = self._mount()
            async with Shell._parent.router.lifespan_context(Shell._parent):
                yield
        finally:
            Shell._current = None

    def followed(self) -> bool:
        """Whether any page is open."""
        return next(iter(self._core.sio.manager.get_participants("/", _ROOM)), None) is not None

    def open_sockets(self) -> int:
        """How many speak with this server, through a websocket or by polling."""
        return len(self._core.sio.eio.sockets)

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to all open pages; it is written once."""
        await self._core.sio.emit("board", message, room=_ROOM)

    def visitor_of(self, socket: str) -> Visitor | None:
        """Who is at the other end of a socket."""
        environ = self._core.sio.get_environ(socket)
        visitor = environ["asgi.scope"].get(VISITOR) if environ else None
        return visitor if isinstance(visitor, Visitor) else None

    async def drop_ended(self) -> None:
        """Hang up on those whose session or key has ended."""
        for socket, _ in list(self._core.sio.manager.get_participants("/", None)):
            visitor = self.visitor_of(socket)
            if visitor is None or not self.counts(visitor):
                await self._core.sio.emit("signed_out", {}, to=socket)
                await self._core.sio.disconnect(socket)

    def _mount(self) -> FastAPI:
        """Tell NiceGUI, once a process, what to serve."""
        for screen in SCREENS:
            self._ui.page(screen.path, title=f"{screen.title} · Lamplighter", favicon=self._icon, language="en-US")(
                _draw
            )
        self._core.sio.on("follow", _follow)
        for unused in ("event", "log", "javascript_response"):  # a browser could fill the log with them
            self._core.sio.on(unused, _pass_over)
        self._core.app.config.quasar_config["loadingBar"]["skipHijack"] = True  # no bar at each request
        parent = FastAPI()
        self._ui.run_with(
            parent,
            title="Lamplighter",
            tailwind=False,
            show_welcome_message=False,
            gzip_middleware_factory=None,
            binding_refresh_interval=None,
            reconnect_timeout=_RECONNECT,
            message_history_length=100,
        )
        return parent

    def draw(self, visitor: Visitor) -> None:
        """Fill the document: one element that the browser draws the rest in."""
        from nicegui.dependencies import register_importmap_override  # noqa: PLC0415 - as NiceGUI itself
        from nicegui.element import Element  # noqa: PLC0415

        class Page(Element, component=Path(__file__).parent / "lamplighter_page.js"):
            """The element that `assets/app.js` defines."""

        register_importmap_override("lamplighter/", self.assets.base)
        links = [f'<link rel="stylesheet" href="{path}">' for path in self.assets.named(".css")]
        links += [f'<link rel="modulepreload" href="{path}">' for path in self.assets.named(".js")]
        self._ui.add_head_html("\n".join(links))
        page = Page()
        page.props["facts"] = self.facts | _told_of(visitor)


def _told_of(visitor: Visitor) -> dict[str, Any]:
    known = visitor.key is not ANYBODY
    return {
        "visitor": visitor.key.name if known else None,
        "role": visitor.key.role.value,
        "screens": [
            {"folder": one.folder, "title": one.title, "path": one.path} for one in SCREENS if visitor.may(one.role)
        ],
    }


def _draw(request: Request) -> None:
    assert Shell._current is not None  # noqa: SLF001 - NiceGUI knows functions, and no objects
    Shell._current.draw(request.scope[VISITOR])  # noqa: SLF001


async def _pass_over(socket: str, _: object = None) -> None:
    """Take a message that the page never sends."""


async def _follow(socket: str, _: object = None) -> int | None:
    """A page wants to be told what changes: gives the number of the last change, or None to who may not know."""
    shell = Shell._current  # noqa: SLF001 - as above
    visitor = shell.visitor_of(socket) if shell is not None else None
    if shell is None or visitor is None or not visitor.may(Role.OPERATE) or not shell.counts(visitor):
        return None
    await shell._core.sio.enter_room(socket, _ROOM)  # noqa: SLF001
    return shell.on_follow()
