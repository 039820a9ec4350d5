"""The gateway's bounds and deadlines."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Sizes in bytes, durations in seconds. Deadlines are kept to within `sweep_every`.

    `keys` are the SHA-256 hex digests of the keys that open a gateway without a keyring; empty lets everybody in.
    `hosts` are names beside this machine's own under which a gateway without keys may be asked for; None: under any.
    `cors` are the origins whose pages may read answers, exact ones or `*`.
    `max_body_bytes` bounds one request's body, which is read whole: a held request must be able to wait, and to be
    sent again. `max_held_bytes` bounds all bodies that wait for an endpoint or arrive in pieces.
    `max_connections` bounds the connections of clients: whoever comes then gets a 503 and is hung up on. It is lowered
    to what the operating system's limit of open files leaves room for.
    `max_hold` caps `X-Scale-Up-Timeout`; a capped request is told so by the header `x-lamplighter-hold-limit`.
    `first_byte_timeout` counts from the moment when the request is handed to a connection, and so spans all of the
    work behind an answer that is not streamed. `between_bytes_timeout` also ends an answer whose client stops reading.
    `watch_after` is how long a request lasts before anybody looks whether its client is still there: that costs a task.
    `idle_connection_timeout` is shorter than the 5 s after which common model servers (uvicorn, cpp-httplib) hang up.
    """

    keys: frozenset[str] = field(default=frozenset(), repr=False)
    hosts: frozenset[str] | None = None
    cors: frozenset[str] = frozenset()
    max_body_bytes: int = 32 * MIB
    max_held_bytes: int = 256 * MIB
    max_head_bytes: int = 64 * 1024
    max_connections: int = 10_000
    max_hold: float = 3600.0
    head_timeout: float = 30.0
    body_timeout: float = 60.0
    connect_timeout: float = 10.0
    first_byte_timeout: float = 600.0
    between_bytes_timeout: float = 300.0
    idle_connections: int = 4096
    idle_connection_timeout: float = 4.0
    sweep_every: float = 0.25
    watch_after: float = 1.0
