"""The one way from a place to a secret, for the configuration, the command line and the library alike."""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lamplighter.domain.secret import Secret
from lamplighter.secrets.keyring_source import KeyringSource
from lamplighter.secrets.passphrase import Ask, Passphrase
from lamplighter.secrets.places import (
    EnvironmentPlace,
    FilePlace,
    KeyringPlace,
    Place,
    StorePlace,
    VaultPlace,
    is_writable,
    parse_place,
)
from lamplighter.secrets.problems import SecretError, SecretMissing, SourceUnfit
from lamplighter.secrets.store import COST, COST_VARIABLE, LONGEST, SecretStore, default_path, is_store

if TYPE_CHECKING:
    from lamplighter.secrets.vault import Vault, VaultSettings

log = structlog.get_logger("lamplighter.secrets")

OWN_VARIABLES = frozenset({"VAULT_TOKEN", "VAULT_SECRET_ID", "LAMPLIGHTER_PASSPHRASE", "LAMPLIGHTER_PASSPHRASE_FD"})
"""Variables of the environment that open sources: nobody else's."""

_SHORTEST = 6
"""Characters of a secret that is blacked out wherever it stands."""


class Secrets:
    """Reads secrets, and remembers what it has read.

    A *reading* is one pass over a configuration: each place, and each source that is down, is asked once in it. What a
    source that is down in a later reading held before goes on to count, which is told loudly. Reading blocks; `current`
    does not where the place was read before. For use by several threads, but for one reading at a time.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        ask: Ask | None = None,
        store: SecretStore | None = None,
        keyring: KeyringSource | None = None,
        vault_deadline: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.keyring = keyring or KeyringSource()
        self.store = store or SecretStore(
            default_path(self.environ),
            passphrase=Passphrase(self.environ, ask),
            keyring=self.keyring,
            cost=self.environ.get(COST_VARIABLE, "").strip() or COST,
        )
        self._vault: Vault | None = None
        self._vault_settings: VaultSettings | None = None
        self._vault_deadline = vault_deadline
        self._clock = clock
        self._held: dict[Place, tuple[Secret, float]] = {}
        self._stale: dict[Place, str] = {}
        self._reading: dict[Place, Secret | SecretError] = {}
        self._down: dict[type[Place], SecretError] = {}

    @property
    def stale(self) -> Mapping[str, str]:
        """Places whose value is from an earlier reading, and why."""
        return {str(place): reason for place, reason in self._stale.items()}

    def scrub(self, text: str) -> str:
        """`text` without any secret that was read, of those that are long enough to be told from a word."""
        for secret, _ in tuple(self._held.values()):
            if len(secret.reveal()) >= _SHORTEST:
                text = secret.scrub(text)
        return text

    def begin(self) -> None:
        """Begin a reading: from now on what has changed counts."""
        self._reading, self._down = {}, {}
        self._vault_settings = None

    def read(self, place: Place) -> Secret:
        """The secret at a place, as of this reading. Raises SecretError whose text begins with the place."""
        outcome = self._reading.get(place)
        if outcome is None:
            outcome = self._reading[place] = self._outcome(place)
        if isinstance(outcome, SecretError):
            raise outcome
        return outcome

    def current(self, place: Place, *, max_age: float | None = None) -> Secret:
        """What was read last, not older than `max_age` seconds. Raises SecretError.

        What costs next to nothing is read at each call, so that a renewed one counts at once.
        """
        if isinstance(place, EnvironmentPlace | FilePlace):
            return self._fetch(place)
        held = self._held.get(place)
        if held is not None and (max_age is None or self._clock() - held[1] < max_age):
            return held[0]
        self.begin()
        return self.read(place)

    def check(self, place: Place) -> Secret:
        """Read it once more, past all that is remembered. Raises SecretError."""
        return self._fetch(place)

    def due(self) -> float | None:
        """In how many seconds `renew` is to be called; None: nothing needs it."""
        at = self._vault.due() if self._vault is not None else None
        return None if at is None else max(0.0, at - self._clock())

    def renew(self) -> None:
        """Make what opens a source last longer. Blocks. Raises SecretError."""
        if self._vault is not None:
            self._vault.renew()

    def title(self, place: Place) -> str:
        """Where it is read from, for people."""
        if isinstance(place, EnvironmentPlace):
            return "the environment"
        if isinstance(place, FilePlace):
            return f"the file {place.path}"
        if isinstance(place, StorePlace):
            return f"the encrypted store {self.store.path}"
        return "the keyring" if isinstance(place, KeyringPlace) else self._vault_here().where

    def _outcome(self, place: Place) -> Secret | SecretError:
        try:
            secret = self._down_once(place)
        except SecretError as error:
            held = self._held.get(place)
            if held is None or not error.passing:
                return error
            self._stale[place] = error.message
            log.error(  # noqa: TRY400 - no fault of this program
                "a secret can't be read again: the value from before stays in use",
                place=str(place),
                error=error.message,
                read_before=f"{self._clock() - held[1]:.0f} s",
            )
            return held[0]
        self._stale.pop(place, None)
        return secret

    def _down_once(self, place: Place) -> Secret:
        """A source that does not answer is not waited for again and again in one reading."""
        kind = type(place)
        if kind in self._down:
            raise _said(self._down[kind], place)
        try:
            return self._fetch(place)
        except SecretError as error:
            if error.passing and isinstance(error.__cause__, SecretError):
                self._down[kind] = error.__cause__
            raise

    def _fetch(self, place: Place) -> Secret:
        if isinstance(place, EnvironmentPlace):
            secret = self._from_environment(place)
        elif isinstance(place, FilePlace):
            secret = _from_file(place.path)
        else:
            try:
                secret = self._from_source(place)
            except SecretError as error:
                raise _said(error, place) from error
        _check(secret, place)
        self._held[place] = (secret, self._clock())
        return secret

    def _from_environment(self, place: EnvironmentPlace) -> Secret:
        value = self.environ.get(place.name, "").strip()
        if not value:
            raise SecretMissing(f"the environment variable {place.name}, which is not set")
        return Secret(value)

    def _from_source(self, place: StorePlace | KeyringPlace | VaultPlace) -> Secret:
        if isinstance(place, StorePlace):
            return self.store.get(place.name)
        if isinstance(place, KeyringPlace):
            return self.keyring.get(place)
        return self._vault_here().read(place)

    def _vault_here(self) -> Vault:
        """The Vault; one anew where what opens it has changed since the last reading."""
        from lamplighter.secrets.vault import Vault, VaultSettings  # noqa: PLC0415 - a tenth of a second, for httpx2

        if self._vault is None or self._vault_settings is None:
            self._vault_settings = VaultSettings.of(self.environ, self._of_variable)
            if self._vault is None or self._vault.settings != self._vault_settings:
                self._vault = Vault(self._vault_settings, deadline=self._vault_deadline)
        return self._vault

    def _of_variable(self, name: str, value: str) -> Secret | None:
        """What opens a Vault may lie in another place itself, but not in a Vault."""
        if not value:
            return None
        try:
            place = parse_place(value)
        except ValueError as error:
            raise SourceUnfit(f"{name} {error}") from None
        if isinstance(place, VaultPlace):
            raise SourceUnfit(f"{name} names a place in the Vault that it is to open")
        return Secret(value) if place is None else self._fetch(place)


def _check(secret: Secret, place: Place) -> None:
    """Whoever uses it may send it, or hand it on: as UTF-8, and of a bounded length."""
    if len(secret.reveal()) > LONGEST:
        raise SecretMissing(f"{place}, which is longer than any secret: {LONGEST} characters at most")
    if not is_writable(secret.reveal()):
        raise SecretMissing(f"{place}, which holds no text: it can't be written as UTF-8")


def _said(error: SecretError, place: Place) -> SecretError:
    """The same error, with the place before it."""
    return type(error)(f"{place}, which can't be read: {error.message}")


def _from_file(path: Path) -> Secret:
    try:
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretMissing(f"the file {path}, which is no regular file: what it holds could not be read twice")
            text = file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no text"
        raise SecretMissing(f"the file {path}, which can't be read: {reason}") from None
    if not text.strip():
        raise SecretMissing(f"the file {path}, which is empty")
    if len(text) > LONGEST:
        raise SecretMissing(f"the file {path}, which is longer than any secret: {LONGEST} characters at most")
    if is_store(text):
        raise SourceUnfit(f"the file {path}, which is an encrypted store: write secret:NAME for an entry of it")
    return Secret(text.strip())


def exposure(place: Place) -> str | None:
    """Who can read a secret who need not, where that can be told; None where nobody can."""
    if not isinstance(place, FilePlace):
        return None
    try:
        mode = stat.S_IMODE(place.path.stat().st_mode)
    except OSError:
        return None
    return f"every user of this machine can read it (mode {mode:04o})" if mode & stat.S_IROTH else None


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for whoever would write into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


@functools.cache
def usual_secrets() -> Secrets:
    """Those of this process, for whoever has no configuration."""
    return Secrets()
