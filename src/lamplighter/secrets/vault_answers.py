"""What a Vault's answers mean. Pure.

Facts: developer.hashicorp.com/vault/api-docs, of `secret/kv/kv-v2`, `auth/approle`, `auth/token`, `system/health`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from lamplighter.domain.secret import Secret
from lamplighter.secrets.places import VaultPlace
from lamplighter.secrets.problems import (
    SecretError,
    SecretForbidden,
    SecretMissing,
    SourceDown,
    SourceLocked,
    SourceUnfit,
)

_LONGEST_SAID = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and the JSON that came with it; None where that was none."""

    status: int
    document: Any

    def part(self, *names: str) -> Any:
        """What stands that deep in the document; None where it is not there."""
        found = self.document
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    @property
    def said(self) -> str:
        """The Vault's own words, with a colon before them; nothing where it had none."""
        errors = self.part("errors")
        words = " ".join("; ".join(map(str, errors)).split()) if isinstance(errors, list) else ""
        return f": {words[:_LONGEST_SAID]}" if words else ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, how long it lasts (seconds; 0: for ever), and whether it can be made to last longer."""

    token: Secret
    lease: float
    renewable: bool


def value_of(answer: Answer, place: VaultPlace, where: str) -> Secret:
    """The field of a secret. Raises SecretError as `refused` does, and SecretMissing for what is not there."""
    if answer.status == 404:
        raise SecretMissing(_not_there(answer, place, where))
    if answer.status != 200:
        raise refused(answer, where, f"read {place.path} in {place.mount}")
    fields = answer.part("data", "data")
    if not isinstance(fields, Mapping) or not isinstance(answer.part("data", "metadata"), Mapping):
        raise SourceUnfit(f"{place.mount} at {where} is no KV engine of version 2")
    return _field(fields, place, where)


def _field(fields: Mapping[str, Any], place: VaultPlace, where: str) -> Secret:
    names = ", ".join(sorted(map(str, fields))[:20]) or "none"
    name = place.field
    if name is None:
        if len(fields) != 1:
            raise SecretMissing(f"{place.path} at {where} has several fields, or none: name one of {names} behind a #")
        name = next(iter(fields))
    if name not in fields:
        raise SecretMissing(f"{place.path} at {where} has no field {name!r}; there are: {names}")
    value = fields[name]
    if not isinstance(value, str) or not value.strip():
        raise SecretMissing(f"the field {name!r} of {place.path} at {where} is not text, or is empty")
    return Secret(value)


def _not_there(answer: Answer, place: VaultPlace, where: str) -> str:
    """A version that was deleted or destroyed is told by its metadata, in an answer 404 all the same."""
    what = f"version {place.version} of {place.path}" if place.version else place.path
    metadata = answer.part("data", "metadata")
    if isinstance(metadata, Mapping):
        if metadata.get("destroyed"):
            return f"{what} at {where} was destroyed"
        if metadata.get("deletion_time"):
            return f"{what} at {where} was deleted on {metadata['deletion_time']}"
    hint = "; leave out its first part, data/" if place.path.startswith("data/") else ""
    return f"there is no {what} in the KV engine {place.mount} at {where}{hint}"


def grant_of(answer: Answer, where: str) -> Grant:
    """What a login or a renewal grants. Raises SecretError."""
    token, lease = answer.part("auth", "client_token"), answer.part("auth", "lease_duration")
    if answer.status in (400, 401, 404):
        raise SecretForbidden(f"{where} refuses the AppRole login{answer.said}")
    if answer.status != 200:
        raise refused(answer, where, "log in")
    if not is_token(token) or isinstance(lease, bool) or not isinstance(lease, int | float):
        raise SourceUnfit(f"{where} answers a login with no token")
    return Grant(Secret(token), float(lease), bool(answer.part("auth", "renewable")))


def is_sendable(text: str) -> bool:
    """Whether a header takes it."""
    return text.isascii() and text.isprintable()


def is_token(value: object) -> TypeGuard[str]:
    """Whether it can be shown as a token."""
    return isinstance(value, str) and bool(value) and is_sendable(value)


def lease_of(answer: Answer, where: str) -> tuple[float, bool]:
    """How long a token that was looked up lasts (seconds; 0: for ever), and whether that can be made longer."""
    if answer.status != 200:
        raise refused(answer, where, "look up its own token")
    ttl = answer.part("data", "ttl")
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise SourceUnfit(f"{where} does not tell how long the token lasts")
    return float(ttl), bool(answer.part("data", "renewable"))


def refused(answer: Answer, where: str, what: str) -> SecretError:
    """The error for any other answer."""
    status = answer.status
    if status == 503 and "sealed" in answer.said.lower():
        return SourceLocked(f"{where} is sealed: unseal it")
    if status in (401, 403):
        return SecretForbidden(
            f"the token may not {what} at {where} (answer {status}): it has expired, or its policy does not allow it"
        )
    if status in (408, 412, 429, 472, 473) or status >= 500:
        return SourceDown(f"{where} can't answer now (answer {status}){answer.said}")
    if answer.document is None:
        return SourceUnfit(f"{where} does not answer as a Vault does (answer {status})")
    return SourceUnfit(f"{where} does not let the token {what} (answer {status}){answer.said}")
