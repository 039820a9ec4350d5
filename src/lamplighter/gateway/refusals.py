"""What the gateway refuses by itself, before any endpoint is asked for."""

from __future__ import annotations

from lamplighter.errors import InvalidInput, LamplighterError, Unavailable
from lamplighter.gateway.asgi import Headers


class ClientGone(Exception):
    """Nobody is left to answer. Not an error: it ends a request quietly."""


class ClientStuck(ClientGone):
    """The client has stopped to read its answer."""


class DeadlinePassed(LamplighterError):
    """The route's deadline was over before there was an answer."""

    status = 504
    exit_code = 5
    code = "deadline_passed"


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


class WrongHost(InvalidInput):
    """A server without keys was asked for under a name that is not this machine's."""

    status = 421
    code = "wrong_host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"This server has no keys, so it answers to names of this machine alone, not to {host[:100]!r}. "
            "Use 127.0.0.1 or localhost, or add the name to server.hosts."
        )


class KeyRateLimited(Unavailable):
    """A key has used what it may; `headers` tell how much that is."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float, headers: Headers) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers = headers


class TooManyConnections(Unavailable):
    """As many clients are connected as the server takes."""

    code = "too_many_connections"

    def __init__(self) -> None:
        super().__init__("This server has as many connections as it takes; try again shortly.", retry_after=1.0)


class TaskInvalid(InvalidInput):
    """A request in task form that can't be served as it is: names the field, its value, and what would be right."""

    status = 422
    code = "validation_error"
