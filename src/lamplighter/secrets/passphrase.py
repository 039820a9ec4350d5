"""The passphrase that opens the encrypted store: from a file descriptor, the environment, or whoever sits there."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from lamplighter.domain.secret import Secret
from lamplighter.secrets.places import is_writable
from lamplighter.secrets.problems import SourceLocked, SourceUnfit
from lamplighter.secrets.terminal import ask_person, is_somebody_there

VARIABLE = "LAMPLIGHTER_PASSPHRASE"
DESCRIPTOR = "LAMPLIGHTER_PASSPHRASE_FD"
_MOST = 4096
_PATIENCE = 10.0
_LONGEST_NUMBER = 9

Ask: TypeAlias = Callable[[str], str]
"""Asks a person, unseen, for what the text says. Raises whatever ends the program, where that person gives up."""


class Passphrase:
    """Finds it once and remembers it: a descriptor can be read once only, and a person should not be asked twice."""

    def __init__(self, environ: Mapping[str, str], ask: Ask | None = None) -> None:
        self._environ = environ
        self._ask = ask
        self._found: Secret | None = None

    @property
    def is_given(self) -> bool:
        """Whether it is there without anybody being asked."""
        return self._found is not None or bool(self._environ.get(VARIABLE) or self._environ.get(DESCRIPTOR))

    def find(self, path: object, *, new: bool = False) -> Secret:
        """The passphrase of the store at `path`; a `new` one is asked for twice. Raises SourceLocked, SourceUnfit."""
        if self._found is None:
            self._found = self._given() or self._asked(path, new=new)
        return self._found

    def forget(self) -> None:
        """It was wrong: somebody who is asked again may know better."""
        self._found = None

    def _given(self) -> Secret | None:
        if number := self._environ.get(DESCRIPTOR, "").strip():
            return _once(number)
        value = self._environ.get(VARIABLE, "")
        if not is_writable(value):
            raise SourceUnfit(f"{VARIABLE} is not UTF-8 text")
        return Secret(value) if value else None

    def _asked(self, path: object, *, new: bool) -> Secret:
        ask = self._ask or (ask_person if is_somebody_there() else None)
        if ask is None:
            raise SourceLocked(
                f"the secrets in {path} are locked with a passphrase: set {VARIABLE}, or {DESCRIPTOR} to the number of "
                "an open file to read it from"
            )
        first = ask(f"New passphrase for {path}" if new else f"Passphrase of {path}")
        if not first:
            raise SourceUnfit("a passphrase must not be empty")
        if new and ask("The same once more") != first:
            raise SourceUnfit("the two passphrases differ; nothing was written")
        return Secret(first)


_DESCRIPTORS: dict[str, Secret | SourceUnfit] = {}
_TURN = threading.Lock()


def _once(number: str) -> Secret:
    """What came from a descriptor, which is read once in a process: its number may mean another file afterwards."""
    with _TURN:
        if number not in _DESCRIPTORS:
            try:
                _DESCRIPTORS[number] = Secret(_from_descriptor(number))
            except SourceUnfit as error:
                _DESCRIPTORS[number] = error
        outcome = _DESCRIPTORS[number]
    if isinstance(outcome, SourceUnfit):
        raise outcome
    return outcome


def _from_descriptor(number: str) -> str:
    """The first line of what can be read there; the descriptor is closed, so that no child inherits it."""
    if not number.isdecimal() or len(number) > _LONGEST_NUMBER:
        raise SourceUnfit(f"{DESCRIPTOR}: {number[:20]!r} should be the number of an open file")
    try:
        with contextlib.closing(os.fdopen(int(number), "rb", buffering=0)) as file:
            text = _first_line(file.fileno())
    except OSError as error:
        raise SourceUnfit(f"{DESCRIPTOR}: file {number} can't be read: {error.strerror}") from None
    try:
        line = text.decode()
    except UnicodeDecodeError:
        raise SourceUnfit(f"{DESCRIPTOR}: what file {number} holds is not UTF-8 text") from None
    if not line:
        raise SourceUnfit(f"{DESCRIPTOR}: file {number} is empty")
    return line


def _first_line(descriptor: int) -> bytes:
    text = b""
    while b"\n" not in text and len(text) < _MOST:
        if not select.select([descriptor], [], [], _PATIENCE)[0]:
            raise SourceUnfit(f"{DESCRIPTOR}: nothing came from file {descriptor} within {_PATIENCE:g} s")
        part = os.read(descriptor, _MOST)
        if not part:
            break
        text += part
    return text.split(b"\n", 1)[0].rstrip(b"\r")
