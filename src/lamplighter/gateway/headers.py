"""Which headers travel, by RFC 9110 section 7.6.1, and which never may."""

from __future__ import annotations

import itertools
import re
import secrets

from lamplighter.gateway.asgi import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Which pages may read an answer is decided here alone: see `origins`.
CROSS_ORIGIN = frozenset(
    {
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)

# What a client proves itself with is meant for this server. The endpoint gets its own headers from its replica.
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"proxy-authorization", b"cookie"})

NOT_SENT_UPSTREAM = (
    HOP_BY_HOP
    | CREDENTIALS
    | {b"host", b"content-length", b"expect", b"x-request-id", b"x-scale-up-timeout", b"x-lamplighter-model"}
    | {b"origin", b"upgrade-insecure-requests"}
)

# `set-cookie` would let an endpoint set cookies for this server's own pages, and no cookie is passed on anyway.
NOT_SENT_BACK = (
    HOP_BY_HOP
    | CROSS_ORIGIN
    | {
        b"proxy-authenticate",
        b"set-cookie",
        b"x-request-id",
        b"x-lamplighter-target",
        b"x-lamplighter-waited-ms",
        b"x-lamplighter-fallback",
        b"x-lamplighter-hold-limit",
    }
)

ORDINARY_CONNECTION = frozenset({b"keep-alive", b"close"})

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
_RUN = secrets.token_hex(6).encode()
_COUNT = itertools.count(1)


def named_by_connection(value: bytes) -> frozenset[bytes]:
    """The headers that a Connection header declares to be for this hop only."""
    return frozenset(token.strip().lower() for token in value.split(b","))


def without(headers: Headers, names: frozenset[bytes]) -> Headers:
    """The headers whose lower-case names are not among `names`."""
    return [pair for pair in headers if pair[0] not in names]


def request_id(given: bytes | None) -> bytes:
    """The client's own id if it is safe to repeat, else one that is unique to this process and moment."""
    if given is not None and _SANE_ID(given):
        return given
    return b"%s-%x" % (_RUN, next(_COUNT))
