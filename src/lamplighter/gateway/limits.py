"""How much each key has used of what it may, and the refusal of what goes beyond. In memory: a restart begins anew."""

from __future__ import annotations

from collections.abc import Container
from math import ceil

from lamplighter.domain.keys import ApiKey
from lamplighter.domain.rate import Bucket
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.headers import without
from lamplighter.gateway.refusals import KeyRateLimited

_PAUSE = 1.0  # seconds: when another request of the same key ends, nobody knows

_NAMES = frozenset(
    f"x-ratelimit-{what}-{of}".encode() for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")
)


class Meter:
    """What one key with limits uses. Moments are monotonic seconds.

    Requests are counted as they come, refused ones not; tokens when the answer is known, so that a bucket may owe some.
    """

    __slots__ = ("_in_flight", "_name", "_requests", "_tokens", "_told", "concurrent")

    def __init__(self, key: ApiKey) -> None:
        limits = key.limits
        self._name = key.name
        self._requests = None if limits.requests_per_minute is None else Bucket(limits.requests_per_minute)
        self._tokens = None if limits.tokens_per_minute is None else Bucket(limits.tokens_per_minute)
        self.concurrent = limits.concurrent
        self._in_flight = 0
        buckets = ((b"requests", self._requests), (b"tokens", self._tokens))
        self._told = [_told(of, bucket) for of, bucket in buckets if bucket is not None]

    def enter(self, now: float) -> None:
        """Begin a request, which `leave` ends. Raises KeyRateLimited."""
        if self.concurrent is not None and self._in_flight >= self.concurrent:
            raise self._refusal(f"{self.concurrent} requests at once", _PAUSE, now)
        if self._tokens is not None and not self._tokens.left(now):
            raise self._refusal(f"{self._tokens.per_minute} tokens a minute", self._tokens.wait(now), now)
        if self._requests is not None and not self._requests.take(now):
            raise self._refusal(f"{self._requests.per_minute} requests a minute", self._requests.wait(now), now)
        self._in_flight += 1

    def leave(self, tokens: int, now: float) -> None:
        """End a request that used so many tokens, in and out."""
        self._in_flight -= 1
        if tokens and self._tokens is not None:
            self._tokens.charge(tokens, now)

    def drop_others(self, headers: Headers) -> None:
        """Take out of an answer's headers what its target tells of our standing there: it is not the client's."""
        for name, _ in headers:
            if name in _NAMES:
                headers[:] = without(headers, _NAMES)
                return

    def standing(self, now: float) -> Headers:
        """The customary headers: what may be used, how much of it is left, when all of it will be."""
        headers: Headers = []
        for bucket, limit, remaining, reset in self._told:
            full_in = bucket.full_in(now)
            headers += (limit, (remaining, b"%d" % bucket.left_if(full_in)), (reset, _span(full_in)))
        return headers

    def _refusal(self, bound: str, wait: float, now: float) -> KeyRateLimited:
        text = f"The key {self._name!r} may do no more than {bound}. Try again in {max(1, ceil(wait))} s."
        return KeyRateLimited(text, retry_after=wait, headers=self.standing(now))


class Meters:
    """The meters of the keys that have limits: at most one for each key that there is."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[str, Meter] = {}

    def of(self, key: ApiKey) -> Meter | None:
        """The key's meter; None for one without limits."""
        if not key.limits.any:
            return None
        meter = self._by_id.get(key.id)
        if meter is None:
            meter = self._by_id[key.id] = Meter(key)
        return meter

    def keep(self, ids: Container[str]) -> None:
        """Forget the meters of all other keys."""
        self._by_id = {key_id: meter for key_id, meter in self._by_id.items() if key_id in ids}


def _told(of: bytes, bucket: Bucket) -> tuple[Bucket, tuple[bytes, bytes], bytes, bytes]:
    """A bucket with its first header, which never changes, and the names of the others."""
    limit = (b"x-ratelimit-limit-" + of, b"%d" % bucket.per_minute)
    return bucket, limit, b"x-ratelimit-remaining-" + of, b"x-ratelimit-reset-" + of


def _span(seconds: float) -> bytes:
    """A duration as OpenAI's headers have it: 120ms, 8.64s, 6m0s."""
    if seconds < 1.0:
        return b"%dms" % ceil(seconds * 1000)
    minutes, rest = divmod(seconds, 60.0)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%.4gs" % rest
