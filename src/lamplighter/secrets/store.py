"""The encrypted store: a file of secrets, each sealed (Fernet: AES-128-CBC with HMAC-SHA256) with one key.

The key is an entry of the keyring, or made of a passphrase (scrypt). Names and the times at which they were set are not
secret: they can be listed without the key. Each sealed value tells its own name, so that none can be put in another's
place. Writers take turns by a lock; a new file takes the old one's place whole, or not at all.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import glob
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lamplighter.domain.secret import Secret
from lamplighter.secrets.keyring_source import KeyringSource
from lamplighter.secrets.passphrase import Passphrase
from lamplighter.secrets.places import KeyringPlace, check_name, check_new_name
from lamplighter.secrets.problems import (
    SecretForbidden,
    SecretMissing,
    SourceDamaged,
    SourceDown,
    SourceLocked,
    SourceUnfit,
)

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

FORMAT: Final = "lamplighter-secrets/1"
VARIABLE: Final = "LAMPLIGHTER_SECRETS"
SERVICE: Final = "lamplighter"
LONGEST: Final = 64_000
"""The longest value, in characters: a key file fits in, and nothing that is a file of its own."""
_LARGEST: Final = 16_000_000
_OPEN_TO_OTHERS: Final = 0o077
_PATIENCE: Final = 10.0
_PART: Final = "[0-9a-f]" * 8
"""How the name of a file ends that is not written to its end yet."""
_COSTS: Final = range(14, 21)
"""Powers of two that are taken for scrypt's cost: a file must not make us fill the memory."""
COST: Final = 16
"""2^16 with r=8 and p=2: 64 MiB and about 0.4 s (OWASP's password storage cheat sheet has it among its equals)."""
COST_VARIABLE: Final = "LAMPLIGHTER_SECRETS_COST"
"""Says another cost for a file that is made. One that is there keeps its own."""
_BLOCK, _PARALLEL = 8, 2


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the store is: LAMPLIGHTER_SECRETS, else `lamplighter/secrets.json` in the user's configuration folder."""
    if named := environ.get(VARIABLE, "").strip():
        return Path(os.path.expanduser(named)).absolute()  # noqa: PTH111 - Path's own raises where there is no home
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or os.path.expanduser('~')}/.config"  # noqa: PTH111
    return Path(home) / "lamplighter" / "secrets.json"


def is_store(text: str) -> bool:
    """Whether a file's text is that of an encrypted store."""
    return text.lstrip().startswith("{") and f'"{FORMAT}"' in text[:200]


@dataclass(frozen=True, slots=True)
class Entry:
    """A secret by its name, and when it was set (Unix time)."""

    name: str
    set_at: float


@dataclass(frozen=True, slots=True)
class _Sealed:
    set_at: float
    token: str


@dataclass(frozen=True, slots=True)
class _Content:
    """What the file holds. `key` says how the key is found; `proof` is sealed with it and tells a wrong one."""

    key: Mapping[str, Any]
    proof: str
    entries: Mapping[str, _Sealed]


class SecretStore:
    """One file. Every method blocks: a part of a second to make the key, and as long as a person takes to answer."""

    def __init__(
        self,
        path: Path,
        *,
        passphrase: Passphrase,
        keyring: KeyringSource | None = None,
        wall: Callable[[], float] = time.time,
        cost: int | str = COST,
        patience: float = _PATIENCE,
    ) -> None:
        """`cost` is the power of two of scrypt's for a new file; a text is judged when one is made.

        A writer waits `patience` seconds for another one.
        """
        self.path = path
        self._passphrase = passphrase
        self._keyring = keyring or KeyringSource()
        self._wall = wall
        self._cost = cost
        self._patience = patience
        self._keys: dict[str, Fernet] = {}

    def entries(self) -> list[Entry]:
        """All names in their order; opens nothing. Raises SourceDamaged, SourceUnfit."""
        content = self._read()
        return [Entry(name, one.set_at) for name, one in sorted(content.entries.items())] if content else []

    def protection(self) -> str | None:
        """What protects it: `passphrase`, `keyring`, or None: there is no file. Raises SourceDamaged, SourceUnfit."""
        content = self._read()
        return str(content.key["kind"]) if content else None

    def get(self, name: str) -> Secret:
        """Raises SecretMissing, SecretForbidden, SourceLocked, SourceDamaged, SourceUnfit, SourceDown."""
        content = self._read()
        if content is None:
            raise SecretMissing(f"there is no {self.path}; `lamplighter secrets set {name}` makes it")
        if name not in content.entries:
            raise SecretMissing(f"{self.path} holds no {name!r}; `lamplighter secrets set {name}` adds it")
        return self._unsealed(self._key_of(content), name, content.entries[name])

    def set(self, name: str, value: Secret, *, protect_by: str | None = None) -> None:
        """Add a secret, or replace it. The first one makes the file, protected by `passphrase` or `keyring`.

        Raises ValueError for a name of no use, and what `get` raises; then the file is as it was.
        """
        check_new_name(name)
        if len(value.reveal()) > LONGEST:
            raise SourceUnfit(f"a secret has at most {LONGEST} characters; nothing was changed")
        with self._writing():
            content = self._read() or self._new(protect_by)
            if protect_by is not None and content.key["kind"] != protect_by:
                raise SourceUnfit(f"{self.path} is protected by {_TITLES[content.key['kind']]} already")
            fernet = self._key_of(content)
            self._write(replace(content, entries={**content.entries, name: self._sealed(fernet, name, value)}))

    def remove(self, name: str) -> None:
        """Raises SecretMissing, SourceDamaged, SourceUnfit, SourceDown. Needs no key."""
        with self._writing():
            content = self._read()
            if content is None or name not in content.entries:
                raise SecretMissing(f"{self.path} holds no {name!r}")
            self._write(replace(content, entries={key: one for key, one in content.entries.items() if key != name}))

    # Sealing.

    def _sealed(self, fernet: Fernet, name: str, value: Secret) -> _Sealed:
        text = json.dumps({"name": name, "value": value.reveal()})
        return _Sealed(self._wall(), fernet.encrypt(text.encode()).decode("ascii"))

    def _unsealed(self, fernet: Fernet, name: str, one: _Sealed) -> Secret:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - 40 ms that most starts can do without

        try:
            inner = json.loads(fernet.decrypt(one.token))
        except (InvalidToken, ValueError):
            raise self._damaged(f"what {name!r} holds can't be opened") from None
        if not isinstance(inner, dict) or inner.get("name") != name or not isinstance(inner.get("value"), str):
            raise self._damaged(f"what {name!r} holds belongs elsewhere")
        return Secret(inner["value"])

    # The key.

    def _new(self, protect_by: str | None) -> _Content:
        kind = protect_by or self._usual_protection()
        if kind == "keyring":
            place = KeyringPlace(SERVICE, f"secrets-{secrets.token_hex(8)}")
            raw = base64.urlsafe_b64encode(os.urandom(32))
            self._keyring.put(place, Secret(raw.decode("ascii")))
            key: dict[str, Any] = {"kind": "keyring", "service": place.service, "name": place.name}
        else:
            salt = base64.b64encode(os.urandom(16)).decode("ascii")
            key = {"kind": "passphrase", "salt": salt, "cost": _checked_cost(self._cost)}
            raw = self._derived(key, new=True)
        fernet = _fernet(raw)
        self._keys[_digest(key)] = fernet
        return _Content(key, fernet.encrypt(FORMAT.encode()).decode("ascii"), {})

    def _usual_protection(self) -> str:
        return "passphrase" if self._passphrase.is_given or not self._keyring.is_usable else "keyring"

    def _key_of(self, content: _Content) -> Fernet:
        """The key that opens the file; made once, as long as the file's way to it stays the same."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - see above

        mark = _digest(content.key)
        fernet = self._keys.get(mark)
        if fernet is None:
            by_keyring = content.key["kind"] == "keyring"
            raw = self._from_keyring(content.key) if by_keyring else self._derived(content.key)
            try:
                fernet = _fernet(raw)
                fernet.decrypt(content.proof)
            except (InvalidToken, ValueError):
                self._passphrase.forget()
                what = "the keyring holds another key" if by_keyring else "the passphrase is wrong"
                raise SecretForbidden(f"the secrets in {self.path} can't be opened: {what}") from None
            self._keys[mark] = fernet
        return fernet

    def _from_keyring(self, key: Mapping[str, Any]) -> bytes:
        place = KeyringPlace(key["service"], key["name"])
        try:
            return self._keyring.get(place).reveal().encode()
        except SecretMissing:
            raise SourceLocked(
                f"the secrets in {self.path} can't be opened: their key, {place}, is not in the keyring of this user"
            ) from None

    def _derived(self, key: Mapping[str, Any], *, new: bool = False) -> bytes:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415 - see above

        passphrase = self._passphrase.find(self.path, new=new)
        salt = base64.b64decode(key["salt"])
        scrypt = Scrypt(salt=salt, length=32, n=2 ** key["cost"], r=_BLOCK, p=_PARALLEL)
        return base64.urlsafe_b64encode(scrypt.derive(passphrase.reveal().encode()))

    # The file.

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # noqa: PLC0415 - readers need none: a file is replaced whole

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Beside the file itself: writers that come by a link and those that do not are to take turns, too.
            with FileLock(f"{self.path.resolve()}.lock", timeout=self._patience, mode=0o600):
                yield
        except Timeout:
            raise SourceDown(f"{self.path} is being written by another program; try again") from None
        except OSError as error:
            raise SourceUnfit(f"{self.path} can't be written: {error.strerror}; nothing was changed") from None

    def _read(self) -> _Content | None:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & _OPEN_TO_OTHERS:
                    self.path.chmod(0o600)
                text = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnfit(f"{self.path} can't be read: {error.strerror}") from None
        try:
            return _content(json.loads(text))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = error.args[0] if isinstance(error, _NotOurs) else "it is not what was written"
            raise self._damaged(str(reason)) from None

    def _damaged(self, reason: str) -> SourceDamaged:
        return SourceDamaged(f"{self.path} is damaged: {reason}. Nothing was changed; put a copy back in its place")

    def _write(self, content: _Content) -> None:
        """Write it whole under another name first: a crash, or a full disk, leaves the old one."""
        path = self.path.resolve()  # what a link leads to is replaced, not the link
        for left in path.parent.glob(f"{glob.escape(path.name)}.{_PART}"):
            left.unlink(missing_ok=True)  # of a writer that was killed: nobody else writes now
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                out.write(_text(content))
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
            _flush(path.parent)
        finally:
            part.unlink(missing_ok=True)


_TITLES = {"passphrase": "a passphrase", "keyring": "the keyring"}


class _NotOurs(ValueError):
    """The file can't be one of ours; the text says why."""


def _checked_cost(cost: int | str) -> int:
    """Raises SourceUnfit."""
    text = str(cost).strip()
    if not text.isdecimal() or len(text) > 3 or int(text) not in _COSTS:
        raise SourceUnfit(
            f"{COST_VARIABLE}: {text[:20]!r} should be a whole number from {_COSTS.start} to {_COSTS.stop - 1}; "
            "nothing was written"
        )
    return int(text)


def _fernet(key: bytes) -> Fernet:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - 40 ms that most starts can do without

    return Fernet(key)


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _text(content: _Content) -> str:
    document = {
        "format": FORMAT,
        "key": dict(content.key),
        "proof": content.proof,
        "secrets": {name: {"set_at": one.set_at, "sealed": one.token} for name, one in content.entries.items()},
    }
    return json.dumps({**document, "digest": _digest(document)}, indent=1) + "\n"


def _content(document: Any) -> _Content:
    """Raises ValueError, KeyError, TypeError for what `_text` has not made."""
    if not isinstance(document, dict) or not isinstance(document.get("format"), str):
        raise _NotOurs("it is no store of secrets")
    if document["format"] != FORMAT:
        raise _NotOurs(f"it is of the format {document['format'][:40]!r}, and this program knows {FORMAT}")
    if document.pop("digest") != _digest(document):  # whole, but another one's: then a key is not told to be wrong
        raise _NotOurs("its digest does not match")
    entries = {
        check_name(name): _Sealed(float(one["set_at"]), str(one["sealed"])) for name, one in document["secrets"].items()
    }
    return _Content(_key(document["key"]), str(document["proof"]), entries)


def _key(key: Mapping[str, Any]) -> Mapping[str, Any]:
    if key["kind"] == "keyring":
        return {name: str(key[name]) for name in ("kind", "service", "name")}
    if key["kind"] != "passphrase":
        raise _NotOurs("its key is of an unknown kind")
    if not isinstance(key["cost"], int) or key["cost"] not in _COSTS:
        raise _NotOurs(f"its key has a cost that is not from {_COSTS.start} to {_COSTS.stop - 1}")
    try:
        base64.b64decode(key["salt"], validate=True)
    except binascii.Error:
        raise _NotOurs("its salt can't be read") from None
    return {"kind": "passphrase", "salt": key["salt"], "cost": key["cost"]}


def _flush(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
