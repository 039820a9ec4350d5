"""Whether secrets can be read, and from where. What they are is never told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamplighter.domain.secret import Secret
from lamplighter.errors import LamplighterError, NotAllowed
from lamplighter.secrets.places import Place
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets, exposure

_TOKEN_PREFIX = "hf_"  # noqa: S105 - how Hugging Face's tokens begin; nothing else is sent there
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one place. `wanted_by` are keys of the configuration; `owner` is whose token it is, if it is one."""

    place: str
    ok: bool
    said: str
    wanted_by: tuple[str, ...] = ()
    exit_code: int = 0


def try_all(secrets: Secrets, wanted: Mapping[Place, Sequence[str]]) -> list[Tried]:
    """Read each place, and ask Hugging Face about what looks like a token of it."""
    secrets.begin()
    asked: dict[Secret, tuple[bool, str, int]] = {}
    return [_try(secrets, place, tuple(keys), asked) for place, keys in wanted.items()]


def _try(secrets: Secrets, place: Place, keys: tuple[str, ...], asked: dict[Secret, tuple[bool, str, int]]) -> Tried:
    try:
        secret = secrets.read(place)
        read = f"can be read, from {secrets.title(place)}"
        if (others := exposure(place)) is not None:
            read = f"{read}; {others}"
    except SecretError as error:
        said = error.message.removeprefix(f"{place}, which ")
        return Tried(place=str(place), ok=False, said=said, wanted_by=keys, exit_code=error.exit_code)
    if not secret.reveal().startswith(_TOKEN_PREFIX):
        return Tried(place=str(place), ok=True, said=read, wanted_by=keys)
    if secret not in asked:  # the route that tells is strictly rate limited
        asked[secret] = asyncio.run(_whose(secret))
    ok, whose, code = asked[secret]
    return Tried(place=str(place), ok=ok, said=f"{read}; {whose}", wanted_by=keys, exit_code=code)


async def _whose(token: Secret) -> tuple[bool, str, int]:
    """What whoami says of a token. One that could not be asked about counts as good: it can be read."""
    from lamplighter.hf.api import ManagementApi  # noqa: PLC0415 - only where there is a token

    api = ManagementApi(token=token)
    try:
        async with asyncio.timeout(_PATIENCE):
            owner = await api.owner()
    except NotAllowed as error:
        return False, f"Hugging Face refuses it: {error.message}", error.exit_code
    except (LamplighterError, TimeoutError) as error:
        reason = error.message if isinstance(error, LamplighterError) else f"no answer within {_PATIENCE:g} s"
        return True, f"Hugging Face could not be asked about it: {reason}", 0
    finally:
        await api.close()
    return True, f"Hugging Face knows it: it belongs to {owner.name}", 0
