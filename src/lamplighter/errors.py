"""Every error that Lamplighter raises on purpose.

LamplighterError                 500  exit 1
├── InvalidInput                 400  exit 2   a field, its value, and what would be right
│   └── ConfigError              400  exit 2   the same, in a configuration file, with its line
├── NotFound                     404  exit 3
│   ├── EndpointNotFound         404  exit 3   with near matches and the known names
│   └── ModelNotFound            404  exit 3   nobody who could be asked has such a model on offer
├── NotAllowed                   401  exit 4   no key, or a wrong one
│   ├── TokenMissing             401  exit 4   no token to talk to a provider with; names the variable to set
│   ├── TokenWrong               401  exit 4   the token is not known there
│   ├── TokenExpired             401  exit 4   the token was known there, and its time is over
│   ├── Forbidden                403  exit 4   the token is fine and may not do this; names the right that is missing
│   └── ForeignPage              403  exit 4   a page of another web site, and this server has no keys
├── PaymentRequired              402  exit 1   the account can't pay, or has no payment method
│   └── BudgetSpent              402  exit 1   a budget leaves nothing; renews after `retry_after` seconds
├── Conflict                     409  exit 1   another server holds the database, a port is taken
│   └── EndpointExists           409  exit 1   an endpoint of that name is there already
├── EndpointPaused               400  exit 1   paused by somebody: requests do not wake it, `resume` does
├── StoreError                   500  exit 1   the database can't be read or written; what to do is in the text
├── Unavailable                  503  exit 1   try again, after `retry_after` seconds if that is known
│   ├── WakeTimeout              503  exit 5   the endpoint was not ready before the deadline
│   ├── WakeFailed               503  exit 1   the endpoint could not be started; the reason is in the text
│   ├── EndpointBusy             503  exit 5   it was awake, and every slot was taken until the deadline
│   ├── QueueFull                503  exit 1   a bound on waiters or held bytes was reached
│   └── ShuttingDown             503  exit 1   this server is going away
├── ProviderError                502  exit 1   the provider answered with a failure
│   ├── ProviderUnreachable      502  exit 1   the provider could not be asked: the state is unknown
│   │   └── ProviderTimeout      504  exit 5   the same: it took the question, and did not answer in time
│   ├── RateLimited              429  exit 1   the provider wants fewer questions, after `retry_after` seconds
│   ├── QuotaExceeded            429  exit 1   the provider's quota for this hardware is used up
│   ├── NoCapacity               503  exit 1   the provider has no such hardware free now
│   ├── Overloaded               503  exit 1   the provider has more requests than it can answer now
│   └── EngineError              502  exit 1   an engine could not be started, or died; with its last words
└── UpstreamError                502  exit 1   an awake endpoint did not answer a request as it should
    ├── UpstreamUnreachable      502  exit 1   no connection, or lost before the request can have been read
    ├── UpstreamBroken           502  exit 1   the answer was cut or was not HTTP
    └── UpstreamTimeout          504  exit 5   the answer did not come in time

Leaves that only one part raises stand there: `gateway/refusals.py` (413, 408, 405, 501), `config/problems.py` and
`cli/base/refusals.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cached_property


class LamplighterError(Exception):
    """Base of the tree. `status` is the HTTP status, `exit_code` the command line's, `code` a stable word."""

    status = 500
    exit_code = 1
    code = "internal_error"
    in_doubt = False
    """Whether what was asked for may have been done all the same: the answer is missing, not a refusal."""

    @property
    def message(self) -> str:
        """The text that a person reads; never holds a token."""
        return str(self)


class InvalidInput(LamplighterError):
    """Something that a user gave is not right: says which field, what it was, and what would be right."""

    status = 400
    exit_code = 2
    code = "invalid_request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigError(InvalidInput):
    """A configuration that can't be used: `source` is the file, `line` counts from 1."""

    code = "invalid_configuration"

    def __init__(
        self, message: str, *, field: str | None = None, source: str | None = None, line: int | None = None
    ) -> None:
        place = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        super().__init__(place + message, field=field)
        self.source = source
        self.line = line


class NotFound(LamplighterError):
    """The thing that was asked for does not exist."""

    status = 404
    exit_code = 3
    code = "not_found"


_COMPARED = 100


class EndpointNotFound(NotFound):
    """No endpoint of that name; tells near matches and the known names (at most 20).

    `known` None: whoever asks is not to learn which names there are, as where nobody knows who that is. `where` is for
    one that is elsewhere ("namespace 'me'"), where the known names may not be told. `advice` is a sentence to end with.

    Near matches take up to 50 µs a name to find: they are looked for when the text is first read, among the hundred
    names that are most like it in length.
    """

    code = "model_not_found"

    def __init__(self, name: str, known: Iterable[str] | None, *, where: str = "", advice: str = "") -> None:
        names = None if known is None else tuple(known)
        super().__init__(name, names)
        self.name = name
        self._names = names
        self.where = where
        self._advice = advice and f" {advice}"

    def __str__(self) -> str:
        return self._text

    @cached_property
    def known(self) -> list[str]:
        """The names that there are, as far as they may be told, in their order."""
        return sorted(self._names or ())

    @cached_property
    def _text(self) -> str:
        name, where = self.name, self.where
        alike = sorted(self.known, key=lambda known: abs(len(known) - len(name)))[:_COMPARED]
        near = difflib.get_close_matches(name[:200], alike, n=3)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        short = name if len(name) <= 80 else name[:77] + "…"
        what = f"endpoint {short!r} in {where}" if where else f"endpoint or model {short!r}"
        return f"There is no {what}.{hint}{self._known_text()}{self._advice}"

    def _known_text(self) -> str:
        if self.known:
            return f" Known: {', '.join(self.known[:20])}{', …' if len(self.known) > 20 else ''}."
        return "" if self.where or self._names is None else " No endpoint is configured."


class ModelNotFound(NotFound):
    """Nobody who could be asked has such a model on offer, or not for what was asked of it."""

    code = "model_not_found"

    def __init__(self, message: str, *, model: str) -> None:
        super().__init__(message)
        self.model = model


class NotAllowed(LamplighterError):
    """No key was given, or one that this server does not know."""

    status = 401
    exit_code = 4
    code = "invalid_api_key"


class TokenMissing(NotAllowed):
    """There is no token to talk to a provider with; the text names the variable to set."""

    code = "token_missing"


class TokenWrong(NotAllowed):
    """The provider does not know this token."""

    code = "token_wrong"


class TokenExpired(NotAllowed):
    """The provider knew this token; its time is over."""

    code = "token_expired"


class Forbidden(NotAllowed):
    """The token is good, and may not do this. `permission` is the right that is missing, where the provider told."""

    status = 403
    code = "forbidden"

    def __init__(self, message: str, *, permission: str | None = None) -> None:
        super().__init__(message)
        self.permission = permission


class ForeignPage(NotAllowed):
    """A page of another web site wants to use a server without keys, through the browser of whoever opened the page."""

    status = 403
    code = "foreign_origin"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Requests of pages from {origin[:100]!r} are refused while this server has no keys. "
            "Add the origin to server.cors to let them in."
        )


class PaymentRequired(LamplighterError):
    """The account can't pay: no payment method, no credits, or a budget that is used up."""

    status = 402
    code = "payment_required"


class BudgetSpent(PaymentRequired):
    """A budget leaves nothing for a wake, or for a request of its key. `retry_after`: seconds until it renews."""

    code = "budget_spent"

    def __init__(self, message: str, *, budget: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.budget = budget
        self.retry_after = retry_after


class Conflict(LamplighterError):
    """Something else already holds what is needed here."""

    status = 409
    code = "conflict"


class EndpointExists(Conflict):
    """An endpoint of that name is there already."""

    code = "endpoint_exists"

    def __init__(self, name: str, where: str = "") -> None:
        self.name = name
        place = f" at {where}" if where else ""
        super().__init__(f"There is an endpoint {name!r}{place} already; update it, or choose another name.")


class EndpointPaused(LamplighterError):
    """Somebody paused it: requests do not wake it, only `resume` does."""

    status = 400
    code = "endpoint_paused"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Endpoint {name!r} is paused: no request wakes it. `lamplighter resume {name}` does.")


class StoreError(LamplighterError):
    """The database can't be opened, read or written."""

    code = "store_error"


class Unavailable(LamplighterError):
    """Not now. `retry_after` is in seconds, None where nothing honest can be said."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WakeTimeout(Unavailable):
    """The endpoint was still starting when the request's time to be held ran out."""

    exit_code = 5
    code = "wake_timeout"


class WakeFailed(Unavailable):
    """The endpoint could not be started."""

    code = "wake_failed"


class EndpointBusy(Unavailable):
    """The endpoint was awake, and had no slot free before the request's time to be held ran out."""

    exit_code = 5
    code = "endpoint_busy"


class QueueFull(Unavailable):
    """Too many requests, or too many bytes, are held already."""

    code = "queue_full"


class ShuttingDown(Unavailable):
    """This server is going away and takes nothing new."""

    code = "shutting_down"


class ProviderError(LamplighterError):
    """The provider refused or failed. `permanent`: it will fail again until somebody changes something."""

    status = 502
    code = "provider_error"

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class ProviderUnreachable(ProviderError):
    """The provider could not be asked, so the state of its endpoints is not known."""

    code = "provider_unreachable"


class ProviderTimeout(ProviderUnreachable):
    """The provider did not answer in time, so the state of its endpoints is not known."""

    status = 504
    exit_code = 5
    code = "provider_timeout"


class RateLimited(ProviderError):
    """The provider wants fewer questions. `retry_after` is in seconds, None where it did not say."""

    status = 429
    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(ProviderError):
    """The provider's quota for this hardware is used up: pausing another endpoint frees some."""

    status = 429
    code = "quota_exceeded"


class NoCapacity(ProviderError):
    """The provider has no such hardware free now."""

    status = 503
    code = "no_capacity"


class Overloaded(ProviderError):
    """The provider has more requests than it can answer now. `retry_after` is in seconds, None where it did not say."""

    status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineError(ProviderError):
    """An engine could not be started, or died: tells its exit code and last log lines."""

    code = "engine_error"


class UpstreamError(LamplighterError):
    """An awake endpoint did not answer a request as it should."""

    status = 502
    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection to the endpoint: nothing of the request can have been executed."""

    code = "upstream_unreachable"


class UpstreamBroken(UpstreamError):
    """The endpoint's answer was cut off or was not HTTP; the request may have been executed."""

    code = "upstream_broken"


class UpstreamTimeout(UpstreamError):
    """The endpoint took the request and did not answer in time."""

    status = 504
    exit_code = 5
    code = "upstream_timeout"
