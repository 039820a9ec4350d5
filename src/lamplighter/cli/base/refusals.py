"""What can come back instead of an answer.

LamplighterError
├── Refused             the server said no, in its own words and with the exit code of its error
├── ServerUnreachable   exit 1   nobody answers at that address
├── ServerSilent        exit 5   somebody took the question and did not answer
└── StillAwake          exit 5   an endpoint was not asleep before the deadline
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from lamplighter.errors import LamplighterError, Unavailable

_BY_STATUS = {400: 2, 401: 4, 403: 4, 404: 3, 422: 2, 504: 5}


class Refused(LamplighterError):
    """The server refused or failed."""

    code = "refused"

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ServerUnreachable(Unavailable):
    """Nobody answers at that address."""

    code = "server_unreachable"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"no Lamplighter server answers at {url}; start one with `lamplighter serve`, or name another with --server"
        )


class ServerSilent(Unavailable):
    """Somebody took the question and did not answer in time."""

    exit_code = 5
    code = "server_silent"

    def __init__(self, url: str) -> None:
        super().__init__(f"the server at {url} did not answer in time")


class StillAwake(Unavailable):
    """An endpoint was not asleep before the deadline."""

    exit_code = 5
    code = "sleep_timeout"


def refusal(url: str, status: int, text: str) -> Refused:
    """Turn an answer that is none into an error, with what to do about it where that is known."""
    code, message = _words(text)
    if message is None:
        message = f"what answers at {url} is not a Lamplighter server: it said {status}"
    elif status == 401:
        message += " Put the right one into LAMPLIGHTER_KEY, or name its file with --key-file."
    exit_codes = {kind.code: kind.exit_code for kind in _family(LamplighterError)}
    return Refused(message, exit_code=exit_codes.get(code or "", _BY_STATUS.get(status, 1)))


def _words(text: str) -> tuple[str | None, str | None]:
    """The code and the message of an error, in whichever of our own shapes it came."""
    try:
        body = json.loads(text)
        error = body["error"]
    except (ValueError, TypeError, KeyError):
        return None, None
    if isinstance(error, dict):
        return error.get("code"), str(error.get("message"))
    return body.get("code"), str(error)


def _family(kind: type[LamplighterError]) -> Iterator[type[LamplighterError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)
