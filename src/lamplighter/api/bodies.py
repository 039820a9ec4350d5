"""Bodies that are read whole, within a bound of size and time."""

from __future__ import annotations

import asyncio

from fastapi import Request

from lamplighter.errors import InvalidInput


class TooLarge(InvalidInput):
    """A body that is longer than what is taken."""

    status = 413
    code = "body_too_large"


class TooSlow(InvalidInput):
    """A body that did not come in time."""

    status = 408
    code = "body_timeout"


async def read_body(request: Request, field: str, *, most: int, timeout: float) -> bytes:
    """The whole body: at most `most` bytes, within `timeout` seconds. Raises TooLarge and TooSlow for `field`."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(timeout):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise TooLarge(f"{field}: it has more than {most} bytes.", field=field)
                pieces.append(piece)
    except TimeoutError:
        raise TooSlow(f"{field}: it did not come within {timeout:g} s.", field=field) from None
    return b"".join(pieces)
