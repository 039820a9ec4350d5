"""Who is signed in: a cookie that this server has sealed names a key, and never holds it."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import ANYBODY, ApiKey, Role
from lamplighter.errors import StoreError
from lamplighter.store.seal import Seal

COOKIE = "lamplighter_session"
LIFETIME = 12 * 3600.0
"""How long one is signed in without coming back (seconds)."""

_PURPOSE = "page session"
_MOST_ENDED = 10_000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page: a key, or anybody where there are none. `session` is empty for anybody."""

    key: ApiKey
    session: str = ""
    until: float = 0.0

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
    is remembered in memory, of the last 10,000.
    """

    def __init__(self, keyring: Keyring, seal: Seal, *, wall: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._seal = seal
        self._wall = wall
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self, key: ApiKey, session: str | None = None) -> str:
        """The value of a cookie for who has shown `key`. Raises StoreError."""
        content = {
            "for": _PURPOSE,
            "key": key.id,
            "session": session or secrets.token_hex(8),
            "until": self._wall() + LIFETIME,
        }
        return self._seal.seal(content)

    def visitor(self, header: str) -> Visitor | None:
        """Who shows this Cookie header; None for nobody that may come in."""
        if self._keyring.is_open:
            return Visitor(ANYBODY)
        value = _cookie(header)
        if not value:
            return None
        try:
            content = self._seal.unseal(value)
        except StoreError:
            return None  # made up, or sealed with a key that is gone
        session, until = str(content.get("session")), float(content.get("until", 0))
        if content.get("for") != _PURPOSE or until < self._wall() or session in self._ended:
            return None
        key = self._keyring.known(str(content.get("key")))
        return Visitor(key, session, until) if key is not None and key.counts(self._wall()) else None

    def renewed(self, visitor: Visitor) -> str | None:
        """Another cookie for one whose time is half over."""
        if not visitor.session or visitor.until - self._wall() > LIFETIME / 2:
            return None
        return self.begin(visitor.key, visitor.session)

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
        """Sign out."""
        if visitor.session:
            self._ended[visitor.session] = None
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)


def set_cookie(value: str, *, secure: bool) -> str:
    """A Set-Cookie header; an empty value takes the cookie back."""
    age = int(LIFETIME) if value else 0
    rest = f"Max-Age={age}; Path=/; HttpOnly; SameSite=Strict"
    return f"{COOKIE}={value}; {rest}{'; Secure' if secure else ''}"


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
