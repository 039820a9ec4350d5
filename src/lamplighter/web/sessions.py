"""Who is signed in: a cookie that this server has sealed names a key, and never holds it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import ANYBODY, ApiKey, Role
from lamplighter.errors import StoreError
from lamplighter.store.seal import Seal
from lamplighter.web.ended import Ended

COOKIE = "lamplighter_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Its name behind HTTPS: browsers take one that is called so from this very host alone, and only if it is `Secure`."""

LIFETIME = 12 * 3600.0
"""How long one is signed in without coming back (seconds)."""

_PURPOSE = "page session"
_MOST_SHOWN = 4
"""So many cookies of this name are looked at: pages of neighbouring hosts may have added some."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page: a key, or anybody where there are none. `session` is empty for anybody.

    `secure` tells whether it was begun behind HTTPS.
    """

    key: ApiKey
    session: str = ""
    until: float = 0.0
    secure: bool = False

    @property
    def actor(self) -> str:
        """Under which name what is done here goes on record."""
        return "api" if self.key is ANYBODY else self.key.actor

    def may(self, role: Role) -> bool:
        """Whether its role covers this one."""
        return self.key.role.covers(role)


class Sessions:
    """Seals cookies and opens them. They outlive the process: after a restart nobody has to sign in again.

    A session ends with its key, when it is signed out, or when it was not used for `LIFETIME`. That it was signed out
    is written to the file `ended`.
    """

    def __init__(
        self, keyring: Keyring, seal: Seal, *, ended: Path | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        self._keyring = keyring
        self._seal = seal
        self._wall = wall
        self._ended = Ended(ended, wall())

    def begin(self, key: ApiKey, session: str | None = None, *, secure: bool = False) -> str:
        """The value of a cookie for who has shown `key`. Raises StoreError."""
        content = {
            "for": _PURPOSE,
            "key": key.id,
            "session": session or secrets.token_hex(8),
            "until": self._wall() + LIFETIME,
            "secure": secure,
        }
        return self._seal.seal(content)

    def visitor(self, header: str) -> Visitor | None:
        """Who shows this Cookie header; None for nobody that may come in."""
        if self._keyring.is_open:
            return Visitor(ANYBODY)
        return next((found for value in _cookies(header) if (found := self._opened(value))), None)

    def _opened(self, value: str) -> Visitor | None:
        try:
            content = self._seal.unseal(value)
        except StoreError:
            return None  # made up, or sealed with a key that is gone
        session, until = str(content.get("session")), float(content.get("until", 0))
        if content.get("for") != _PURPOSE or until < self._wall() or session in self._ended:
            return None
        key = self._keyring.known(str(content.get("key")))
        if key is None or not key.counts(self._wall()):
            return None
        return Visitor(key, session, until, content.get("secure") is True)

    def renewed(self, visitor: Visitor) -> str | None:
        """Another cookie for one whose time is half over."""
        if not visitor.session or visitor.until - self._wall() > LIFETIME / 2:
            return None
        return self.begin(visitor.key, visitor.session, secure=visitor.secure)

    def counts(self, visitor: Visitor) -> bool:
        """Whether a visitor may still be here."""
        now = self._wall()
        if self._keyring.is_open:
            return True
        if not visitor.session or visitor.session in self._ended:
            return False
        key = self._keyring.known(visitor.key.id)
        return key is not None and key.counts(now)

    def end(self, visitor: Visitor) -> None:
        """Sign out. Blocks shortly."""
        if visitor.session:
            now = self._wall()
            self._ended.add(visitor.session, now + LIFETIME, now)


def set_cookie(value: str, *, secure: bool) -> str:
    """A Set-Cookie header; an empty value takes the cookie back."""
    age = int(LIFETIME) if value else 0
    name, more = (SECURE_COOKIE, "; Secure") if secure else (COOKIE, "")
    return f"{name}={value}; Max-Age={age}; Path=/; HttpOnly; SameSite=Strict{more}"


def _cookies(header: str) -> list[str]:
    """The values of our cookies, the safest first. What others have set beside them may have any form."""
    pairs = [pair.strip().partition("=") for pair in header.split(";")]
    ours = [[value for name, _, value in pairs if name == wanted and value] for wanted in (SECURE_COOKIE, COOKIE)]
    return [value for values in ours for value in values][:_MOST_SHOWN]
