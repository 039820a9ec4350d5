"""The addresses of the page. What is none of these belongs to the management routes. Pure."""

from __future__ import annotations

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
OWN = "/page/"
ASSETS = "/page/assets/"
REST = "/page/rest"
BOARD = "/page/board"
SOCKET = "/_nicegui_ws/"
SOCKET_IO = "/_nicegui_ws/socket.io/"
TOOLKIT = "/_nicegui/"
FAVICON = "/favicon.ico"

_REACHABLE = ("/api/", "/v1/", "/v2/", "/v3/", "/endpoints/", "/readyz", "/healthz", "/metrics")


def rest_path(path: str) -> str | None:
    """The route behind an address below `REST`; None where there is none."""
    inner = path.removeprefix(REST)
    return inner if inner != path and inner.startswith(_REACHABLE) else None
