"""What an answer that is no success means: status, headers and body become one of our errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    InvalidInput,
    LamplighterError,
    NoCapacity,
    NotFound,
    PaymentRequired,
    ProviderError,
    ProviderTimeout,
    ProviderUnreachable,
    QuotaExceeded,
    RateLimited,
    TokenExpired,
    TokenWrong,
)
from lamplighter.hf import reading
from lamplighter.hf.exchange import Answer, Asked

ALREADY_RUNNING = "already running"
PAUSED = ("endpoint is paused", "invalid state")
"""What the proxy says of a paused endpoint; the second is an older wording."""

_MOST_TEXT = 500
_MOST_PARSED = 200_000
_UNREACHABLE = frozenset({502, 503})
_TOO_LATE = frozenset({408, 504})

_PERMISSION = re.compile(r"missing permissions?:?\s*[`'\"]?([A-Za-z0-9_.-]{3,100})", re.IGNORECASE)
_EXPIRED = re.compile(r"\bexpired\b", re.IGNORECASE)
_PAYMENT = re.compile(r"payment|billing|subscri|\bcredits?\b|prepaid|spending limit", re.IGNORECASE)
_QUOTA = re.compile(r"\bquotas?\b", re.IGNORECASE)
_CAPACITY = re.compile(
    r"(no|not enough|insufficient|lack of|out of|unavailable)\W+(\w+\W+){0,3}capacity|"
    r"capacity\W+(\w+\W+){0,3}(unavailable|exceeded|exhausted|not available)|capacity error",
    re.IGNORECASE,
)
_EXISTS = re.compile(r"already (exists|taken|in use|used)|duplicate|not unique", re.IGNORECASE)
_FIELD = re.compile(
    r"[`'\"]?\b((?:name|type|tags|provider|compute|model|route|body)(?:\.[A-Za-z][A-Za-z0-9]*|\[\d+\])*)[`'\"]?\s*:"
)
_MISSING_FIELD = re.compile(r"missing field [`'\"]([A-Za-z][A-Za-z0-9]*)[`'\"]")
_NAMESPACE = re.compile(r"namespace|organi[sz]ation|^not found\.?$", re.IGNORECASE)
_KIND = re.compile(r"^(Bad Request|Forbidden|Unauthorized|Not Found|Conflict|Validation[ A-Za-z]{0,20}): ")


@dataclass(frozen=True, slots=True)
class Said:
    """What an error's body says: the text for people, and a code for programs, both maybe empty."""

    text: str
    code: str = ""
    field: str | None = None
    retry_after: float | None = None
    known: tuple[str, ...] = ()


def said(answer: Answer, token: Secret | None) -> Said:
    """Read an error's body, whatever it is; the token, should it be echoed, is blacked out."""
    read = _read(answer)
    text = " ".join(_KIND.sub("", read.text).split())
    if token is not None:
        text = token.scrub(text)
    text = text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"
    return Said(text, read.code, read.field, read.retry_after, read.known)


def _read(answer: Answer) -> Said:
    header = answer.headers.get("x-error-message", "")
    body = answer.body[:_MOST_PARSED].decode("utf-8", "replace").strip()
    if "html" in answer.headers.get("content-type", "") or body[:1] == "<":
        return Said(header)
    if body[:1] not in {"{", "["}:
        return Said(body.strip('"') or header)
    import json  # noqa: PLC0415

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Said(header or body)
    found = _from_json(value)
    return found if found.text or not header else Said(header, found.code, found.field, found.retry_after, found.known)


def _from_json(value: Any) -> Said:
    if isinstance(value, list):
        return Said("; ".join(filter(None, (_from_json(item).text for item in value[:5]))))
    if not isinstance(value, dict):
        return Said(value if isinstance(value, str) else "")
    error = value.get("error")
    if isinstance(error, dict):  # the shape of our own routes, and of OpenAI's
        inner = _from_json(error)
        return Said(inner.text, inner.code or _word(value.get("code")), inner.field, inner.retry_after, inner.known)
    texts = [error, value.get("error_description"), value.get("message"), value.get("detail"), value.get("errors")]
    text = next((found for item in texts if (found := _text(item))), "")
    wait = reading.amount(value, "retry_after")
    return Said(
        text,
        _word(value.get("code")),
        reading.text(value, "field"),
        wait if wait is not None and wait >= 0 else None,
        reading.texts(value, "known"),
    )


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return "; ".join(filter(None, (_text(part) for part in item[:5])))
    if isinstance(item, dict):
        return next((text for key in ("message", "msg", "error") if isinstance(text := item.get(key), str)), "")
    return ""


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) and len(value) <= 60 else ""


def error_for(answer: Answer, asked: Asked) -> LamplighterError:
    """Make the error that an unsuccessful answer means."""
    heard = said(answer, asked.token)
    if (make := _BY_CODE.get(heard.code)) is not None and (error := make(answer, asked, heard)) is not None:
        return error
    if (make := _BY_STATUS.get(answer.status)) is not None:
        return make(answer, asked, heard) or _failed(answer, asked, heard)
    return _failed(answer, asked, heard)


Making = Callable[[Answer, Asked, Said], "LamplighterError | None"]


def _bad_request(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    if _QUOTA.search(heard.text):
        return _quota(answer, asked, heard)
    if asked.creates and _EXISTS.search(heard.text):
        return _exists(answer, asked, heard)
    if any(words in heard.text.lower() for words in PAUSED) and not asked.writes and asked.name:
        return EndpointPaused(asked.name)
    return _invalid(answer, asked, heard)


def _invalid(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    field = heard.field or _field(heard.text)
    text = heard.text or "it is not valid, and was not told why"
    return InvalidInput(f"{asked.host} refused the request: {text}", field=field)


def _field(text: str) -> str | None:
    found, missing = _FIELD.search(text), _MISSING_FIELD.search(text)
    if found and missing:
        return f"{found[1]}.{missing[1]}"
    return found[1] if found else missing[1] if missing else None


def _unauthorized(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    if asked.token is None and asked.missing is not None:
        return asked.missing()
    if _EXPIRED.search(heard.text):
        return _expired(answer, asked, heard)
    return _wrong(answer, asked, heard)


def _wrong(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    return TokenWrong(
        f"{asked.host} does not know this token{_quoted(heard)}. Look for a typing error, or make a new one."
    )


def _expired(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    return TokenExpired(f"The token for {asked.host} has expired{_quoted(heard)}. Make a new one.")


def _payment(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    whose = f" of {asked.namespace}" if asked.namespace else ""
    return PaymentRequired(
        f"The account{whose} at {asked.host} can't pay{_quoted(heard)}. Add a payment method or credits there."
    )


def _forbidden(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    found = _PERMISSION.search(heard.text)
    if found is None and _PAYMENT.search(heard.text):
        return _payment(answer, asked, heard)
    if _QUOTA.search(heard.text):
        return _quota(answer, asked, heard)
    where = f" in namespace {asked.namespace!r}" if asked.namespace else ""
    if found:
        right = found[1].rstrip(".")
        return Forbidden(f"The token lacks the right {right}{where} at {asked.host}.", permission=right)
    return Forbidden(f"The token may not do this{where} at {asked.host}{_quoted(heard)}.")


def _missing(answer: Answer, asked: Asked, heard: Said) -> LamplighterError | None:
    where = f"namespace {asked.namespace!r}" if asked.namespace else asked.host
    if asked.name is not None and not asked.creates:
        return EndpointNotFound(asked.name, heard.known or asked.known, where=where)
    if asked.namespace and (not heard.text or _NAMESPACE.search(heard.text) or asked.namespace in heard.text):
        return NotFound(f"{asked.host} knows no {where}{_quoted(heard)}.")
    if asked.namespace:
        return NotFound(f"{asked.host}: {heard.text.rstrip('.')}.")
    if heard.code in {NotFound.code, EndpointNotFound.code}:  # a Lamplighter's own word for something that is not there
        return NotFound(heard.text or f"{asked.host} knows no such thing.")
    return _failed(answer, asked, heard)


def _conflict(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    if asked.creates:
        return _exists(answer, asked, heard)
    return Conflict(f"{asked.host}: {heard.text or 'this is in conflict with how the endpoint is now'}")


def _exists(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    del heard
    return EndpointExists(asked.name or "", where=asked.namespace or asked.host)


def _too_many(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    return _quota(answer, asked, heard) if _QUOTA.search(heard.text) else _rate_limited(answer, asked, heard)


def _rate_limited(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    wait = heard.retry_after if answer.wait is None else answer.wait
    when = f"; ask again in {wait:.0f} s" if wait is not None else ""
    return RateLimited(f"{asked.host} wants fewer questions{when}.", retry_after=wait)


def _quota(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    return QuotaExceeded(f"The quota at {asked.host} is used up{_quoted(heard)}.")


def _capacity(_: Answer, asked: Asked, heard: Said) -> LamplighterError:
    return NoCapacity(f"{asked.host} has no such hardware free now{_quoted(heard)}.")


def _failed(answer: Answer, asked: Asked, heard: Said) -> LamplighterError:
    if answer.status >= 500 and _CAPACITY.search(heard.text):
        return _capacity(answer, asked, heard)
    text = f"{asked.host} answered {answer.status}{_quoted(heard)}"
    if answer.status in _TOO_LATE:
        return ProviderTimeout(f"{text}.")
    if answer.status in _UNREACHABLE:
        return ProviderUnreachable(f"{text}.")
    return ProviderError(f"{text}.", permanent=400 <= answer.status < 500)


def _paused(_: Answer, asked: Asked, heard: Said) -> LamplighterError | None:
    del heard
    return EndpointPaused(asked.name) if asked.name else None


def _quoted(heard: Said) -> str:
    return f": {heard.text.rstrip('.')}" if heard.text else ""


_BY_STATUS: Mapping[int, Making] = {
    400: _bad_request,
    401: _unauthorized,
    402: _payment,
    403: _forbidden,
    404: _missing,
    409: _conflict,
    422: _bad_request,
    429: _too_many,
}

_BY_CODE: Mapping[str, Making] = {
    TokenExpired.code: _expired,
    TokenWrong.code: _wrong,
    PaymentRequired.code: _payment,
    EndpointExists.code: _exists,
    EndpointNotFound.code: _missing,
    EndpointPaused.code: _paused,
    QuotaExceeded.code: _quota,
    NoCapacity.code: _capacity,
    RateLimited.code: _rate_limited,
    "validation_failed": _invalid,
}
"""Our own servers' words, and one of Hugging Face's; the other ones say no more than the status."""


def speaks_of_capacity(answer: Answer) -> bool:
    """Whether asking again soon is of no use: a 429 or 503 that is about hardware, not about questions."""
    heard = said(answer, None)
    if heard.code in {QuotaExceeded.code, NoCapacity.code}:
        return True
    return bool((_QUOTA if answer.status == 429 else _CAPACITY).search(heard.text))


def is_running_already(answer: Answer) -> bool:
    """Whether a resume was refused because there is nothing to resume. The exact sentence is not known."""
    return answer.status == 400 and ALREADY_RUNNING in answer.body[:_MOST_PARSED].decode("utf-8", "replace").lower()
