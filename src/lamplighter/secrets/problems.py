"""Why a secret can't be had.

SecretError                      exit 1
├── SecretMissing                exit 3   the source is there and has no such secret
├── SecretForbidden              exit 4   the source refuses: a wrong passphrase, no right, a login that failed
├── SourceUnfit                  exit 2   it can't be used as it is set up here: an address or a package is missing
├── SourceDamaged                exit 1   what is there is not what belongs there
└── SourceDown           passing exit 1   it does not answer, or not in time
    └── SourceLocked     passing exit 4   it answers, and is locked or sealed

What is *passing* may be well again without anybody changing what the configuration says: until then a value that was
read before counts.
"""

from __future__ import annotations

from lamplighter.errors import LamplighterError


class SecretError(LamplighterError):
    """A secret can't be had. Its text begins with what was asked for, and never holds a secret."""

    code = "secret_unavailable"
    passing = False


class SecretMissing(SecretError):
    """The source has no such secret."""

    exit_code = 3


class SecretForbidden(SecretError):
    """The source refuses."""

    exit_code = 4


class SourceUnfit(SecretError):
    """The source can't be used as it is set up here."""

    exit_code = 2


class SourceDamaged(SecretError):
    """What the source holds is not what belongs there."""


class SourceDown(SecretError):
    """The source does not answer, or not in time."""

    passing = True


class SourceLocked(SourceDown):
    """The source answers, and is locked."""

    exit_code = 4
