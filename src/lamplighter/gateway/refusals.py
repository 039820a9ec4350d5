"""What the gateway refuses by itself, before any endpoint is asked for."""

from __future__ import annotations

from lamplighter.errors import InvalidInput


class ClientGone(Exception):
    """Nobody is left to answer. Not an error: it ends a request quietly."""


class BodyTooLarge(InvalidInput):
    """The body is longer than this server takes."""

    status = 413
    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is too large: at most {limit} bytes are taken.")


class BodyTooSlow(InvalidInput):
    """The body did not arrive in time."""

    status = 408
    code = "body_timeout"

    def __init__(self, limit: float) -> None:
        super().__init__(f"The body did not arrive within {limit:g} seconds.")


class MethodNotAllowed(InvalidInput):
    """`allow` lists what would be right, as the header wants it."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class UnknownPath(InvalidInput):
    """Nothing is served there, and no endpoint can be told from the request."""

    status = 404
    code = "unknown_path"


class UpgradeNotSupported(InvalidInput):
    """A websocket was asked for."""

    status = 501
    code = "upgrade_not_supported"

    def __init__(self) -> None:
        super().__init__("Websockets are not relayed here; send a plain HTTP request, streams included.")


class TaskInvalid(InvalidInput):
    """A request in task form that can't be served as it is: names the field, its value, and what would be right."""

    status = 422
    code = "validation_error"
