"""A question, what is known of it, and its answer, before anything is made of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, ProviderError, TokenMissing

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer's body, unless the question says less."""

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MOST_SEGMENT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `secret_free` ones are asked without a token where there is none."""

    method: str
    url: str
    params: Mapping[str, str] | None = None
    body: Any = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    timeout: float | None = None
    secret_free: bool = False
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it came. `headers` have lower-case names; `wait` is what it asked us to wait, in seconds.

    `repeated`: an earlier attempt brought no answer, and may have been executed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    wait: float | None = None
    repeated: bool = False

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked, for the text of errors.

    `host` is who answered. `token` is blacked out wherever it turns up; None says that none was sent, and `missing`
    then makes the error that tells how to give one. `known` are names that are known to be in the namespace.
    """

    host: str
    name: str | None = None
    namespace: str | None = None
    token: Secret | None = None
    missing: Callable[[], TokenMissing] | None = None
    known: tuple[str, ...] = ()
    creates: bool = False
    writes: bool = False


def parsed(answer: Answer, host: str, *, exact: bool = False) -> Any:
    """The body of a successful answer as JSON; None for an empty one. Raises ProviderError.

    `exact`: numbers with a point are Decimals, and what is no number of JSON (`NaN`) makes it none.
    """
    if not answer.body.strip():
        return None
    import json  # noqa: PLC0415 - an import of the package should not pay for it

    try:
        if exact:
            return json.loads(answer.body, parse_float=Decimal, parse_constant=_no_number)
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise ProviderError(
            f"{host} answered {answer.status} with something that is not JSON; is that the address of the API?"
        ) from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def segment(value: Any, field: str) -> str:
    """A name as a part of a path. Raises InvalidInput for what would lead elsewhere."""
    if not isinstance(value, str) or not value or value in {".", ".."} or len(value) > _MOST_SEGMENT:
        shown = "a name that long" if isinstance(value, str) and len(value) > _MOST_SEGMENT else repr(value)
        raise InvalidInput(f"{field}: {shown} can't be a name", field=field)
    return quoted(value)


def quoted(value: str, safe: frozenset[str] = frozenset()) -> str:
    """A text as a path wants it; what is `safe` stays as it is."""
    keep = _SAFE | safe
    return "".join(
        character if character in keep else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
        for character in value
    )
