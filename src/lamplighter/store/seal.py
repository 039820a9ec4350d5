"""Secrets are sealed before they are written: whoever reads the database alone learns none.

The key is a file of its own beside the database, readable by its owner only. It is made when the first secret is to be
kept. A copy of the database is worth nothing without it; a backup that is to be restored needs both. The file may hold
several keys, one a line: the first one seals, and all of them open.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamplighter.errors import StoreError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "secret.key"

_OPEN_TO_OTHERS = 0o077


class SealBroken(StoreError):
    """What was sealed can't be opened: the key is not there, or is another one."""


class Seal:
    """Seals and opens with the key in `path` (Fernet: AES-128-CBC with HMAC-SHA256). All methods block shortly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fernet: MultiFernet | None = None

    def seal(self, content: Mapping[str, Any], *, make_key: bool = True) -> str:
        """Seal a mapping; an empty one needs no key and is the empty text.

        A key that is not there is made with `make_key` only: what a lost one has sealed would stay shut even if that
        was put back. Raises SealBroken, StoreError.
        """
        if not content:
            return ""
        return self._opened(make=make_key).encrypt(json.dumps(content).encode()).decode("ascii")

    def unseal(self, sealed: str) -> dict[str, Any]:
        """Open what `seal` made. Raises SealBroken, StoreError."""
        if not sealed:
            return {}
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - 40 ms that most starts can do without

        try:
            content = json.loads(self._opened(make=False).decrypt(sealed.encode()))
        except (InvalidToken, ValueError):
            raise SealBroken(f"The secrets were sealed with another key than that in {self._path}.") from None
        if not isinstance(content, dict):
            raise SealBroken("What was sealed is not what this program seals.")
        return content

    def _opened(self, *, make: bool) -> MultiFernet:
        if self._fernet is None:
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - see above

            try:
                self._fernet = MultiFernet([Fernet(key) for key in self._key(make=make).split()])
            except ValueError:
                raise SealBroken(f"The key file {self._path} holds no key. Put the right one back.") from None
        return self._fernet

    def _key(self, *, make: bool) -> bytes:
        try:
            return self._read()
        except FileNotFoundError:
            if not make:
                raise SealBroken(f"The key file {self._path} is gone. Put it back, or give the secrets anew.") from None
        self._make()
        return self._read()

    def _read(self) -> bytes:
        try:
            if self._path.stat().st_mode & _OPEN_TO_OTHERS:
                self._path.chmod(0o600)
            return self._path.read_bytes().strip()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"The key file {self._path} can't be read: {error.strerror}.") from error

    def _make(self) -> None:
        """Make the key whole under another name first: a crash leaves no half of it, and two makers end up with one."""
        from cryptography.fernet import Fernet  # noqa: PLC0415 - see above

        part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, Fernet.generate_key() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            with contextlib.suppress(FileExistsError):
                os.link(part, self._path)
            _flush(self._path.parent)
        except OSError as error:
            raise StoreError(f"The key file {self._path} can't be made: {error.strerror}.") from error
        finally:
            part.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
