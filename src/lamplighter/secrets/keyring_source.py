"""The operating system's keyring, by the package `keyring`.

That is an extra: on Linux it brings ten more packages, and a server seldom has a keyring at all.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from typing import TypeVar

from lamplighter.domain.secret import Secret
from lamplighter.secrets.places import KeyringPlace
from lamplighter.secrets.problems import SecretError, SecretMissing, SourceDown, SourceLocked, SourceUnfit

EXTRA = "lamplighter[keyring]"
PATIENCE = 30.0
"""A locked keyring may ask whoever sits there to open it (seconds)."""

T = TypeVar("T")


class KeyringSource:
    """Reads and writes entries. Every method blocks, for `patience` seconds at most."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience

    @property
    def is_usable(self) -> bool:
        """Whether there is a keyring here that is one; it may still be locked."""
        if importlib.util.find_spec("keyring") is None:
            return False
        try:
            return self._within(_has_backend)
        except SecretError:
            return False

    def get(self, place: KeyringPlace) -> Secret:
        """Raises SecretMissing, SourceLocked, SourceDown, SourceUnfit."""
        value = self._within(lambda: _get(place))
        if value is None:
            raise SecretMissing(f"the keyring has no entry {place.name!r} of the service {place.service!r}")
        if not value.strip():
            raise SecretMissing(f"the keyring's entry {place.name!r} of the service {place.service!r} is empty")
        return Secret(value)

    def put(self, place: KeyringPlace, value: Secret) -> None:
        """Raises SourceLocked, SourceDown, SourceUnfit."""
        self._within(lambda: _put(place, value))

    def _within(self, action: Callable[[], T]) -> T:
        """Do it in a thread of its own, which is left alone when its time is over: a dialog may stay open for ever."""
        outcome: list[T] = []
        failure: list[Exception] = []

        def work() -> None:
            try:
                outcome.append(action())
            except Exception as error:  # noqa: BLE001 - it is raised by whoever waits
                failure.append(error)

        thread = threading.Thread(target=work, name="keyring", daemon=True)
        thread.start()
        thread.join(self._patience)
        if thread.is_alive():
            raise SourceDown(f"the keyring did not answer within {self._patience:g} s; it may wait to be unlocked")
        if failure:
            raise _translated(failure[0]) from None
        return outcome[0]


def _has_backend() -> bool:
    import keyring  # noqa: PLC0415 - an extra
    from keyring.backends import fail, null  # noqa: PLC0415

    return not isinstance(keyring.get_keyring(), fail.Keyring | null.Keyring)


def _get(place: KeyringPlace) -> str | None:
    import keyring  # noqa: PLC0415 - an extra

    return keyring.get_password(place.service, place.name)


def _put(place: KeyringPlace, value: Secret) -> None:
    import keyring  # noqa: PLC0415 - an extra

    keyring.set_password(place.service, place.name, value.reveal())


def _translated(error: Exception) -> SecretError:
    """What a backend raises, in our words. Its own text is left out: nobody knows what backends put there."""
    if isinstance(error, ImportError):
        return SourceUnfit(f"the keyring needs an extra that is not installed: pip install '{EXTRA}'")
    from keyring import errors  # noqa: PLC0415 - an extra

    if isinstance(error, errors.NoKeyringError):
        return SourceUnfit("there is no keyring on this machine that `keyring` knows; use another place for secrets")
    if isinstance(error, errors.KeyringLocked | errors.InitError):
        return SourceLocked("the keyring is locked: unlock it, by logging in to the desktop or with its own tool")
    return SourceDown(f"the keyring failed ({type(error).__name__})")
