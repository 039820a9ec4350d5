"""`/api/keys`: make a key, list all, take one back."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Strict, StrictBool, StrictInt

from lamplighter.api.access import Access, Admin
from lamplighter.api.problems import FAILED, RESPONSES, Problem, Responses
from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import ApiKey, KeyLimits, Role
from lamplighter.errors import InvalidInput

router = APIRouter(prefix="/api/keys", tags=["keys"], responses=RESPONSES)

_LONGEST = 1000  # characters: what is told of a name that is too long is told by the keyring


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Limits(_Wire):
    """How much a key may use; null is without a bound."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    requests_per_minute: StrictInt | None = None
    """Requests a minute."""
    tokens_per_minute: StrictInt | None = None
    """Tokens a minute, in and out, as the answers tell them."""
    concurrent: StrictInt | None = None
    """Requests at once."""


class KeyForm(_Wire):
    """What a new key is to be."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    name: Annotated[str, Field(max_length=_LONGEST)]
    """A word for it, unique among the keys that count; what it does is recorded as `key:` and this."""
    role: Role = Role.INFER
    """`infer` calls models, `operate` also wakes, puts to sleep and looks, `admin` may do everything."""
    routes: Annotated[list[str], Field(max_length=_LONGEST)] = []
    """The models that it may call: here by name or alias, elsewhere as `organization/model`; none: all that are here.

    Without any, those elsewhere are for the roles `operate` and `admin`.
    """
    may_wake: StrictBool = True
    """Whether its requests wake what sleeps."""
    priority: StrictInt = 0
    """-100 to 100: where requests wait, the higher ones go first."""
    limits: Limits = Limits()
    """How much it may use."""
    tags: dict[str, str] = {}
    """Whom its use is charged to, for reports."""
    expires_in: Annotated[float, Strict()] | None = None
    """After how many seconds it opens nothing any more; null: never."""


class KeyInfo(_Wire):
    """A key, without what opens anything."""

    id: str
    """Its short name, which is never given twice."""
    name: str
    """Its name."""
    role: Role
    """What it may do."""
    routes: list[str]
    """The models that it may call; none: all."""
    may_wake: bool
    """Whether its requests wake what sleeps."""
    priority: int
    """Where requests wait, the higher ones go first."""
    limits: Limits
    """How much it may use."""
    tags: dict[str, str]
    """Whom its use is charged to."""
    created_at: float | None
    """When it was made, in Unix seconds; null for one of the configuration."""
    created_by: str
    """Who made it; `configuration` for one that stands in `server.keys`."""
    expires_at: float | None
    """When it ends by itself, in Unix seconds."""
    revoked_at: float | None
    """When it was taken back, in Unix seconds."""
    counts: bool
    """Whether it opens anything now."""

    @classmethod
    def of(cls, key: ApiKey) -> KeyInfo:
        """Describe `key`."""
        same = ("id", "name", "role", "may_wake", "priority", "created_by", "expires_at", "revoked_at")
        return cls(
            **{name: getattr(key, name) for name in same},
            routes=sorted(key.routes),
            limits=Limits(**dataclasses.asdict(key.limits)),
            tags=dict(key.tags),
            created_at=key.created_at or None,
            counts=key.counts(time.time()),
        )


class MadeKey(_Wire):
    """A new key."""

    success: Literal[True] = True
    """Always true here."""
    key: KeyInfo
    """What it is."""
    secret: str
    """What to send as `Authorization: Bearer …`. It is told this once, and kept nowhere."""
    closed_server: bool
    """Whether this was the first key: from now on nobody comes in without one."""


class OneKey(_Wire):
    """One key."""

    success: Literal[True] = True
    """Always true here."""
    key: KeyInfo
    """As it is now."""


class AllKeys(_Wire):
    """The keys of this server."""

    success: Literal[True] = True
    """Always true here."""
    keys: list[KeyInfo]
    """Those of the configuration first, then the oldest first; also those that count no more."""


KeyName: TypeAlias = Annotated[str, Path(max_length=_LONGEST, description="Its `id` or its name.")]
_WRONG: Responses = {400: {"model": Problem, "description": "Something that was given is not right; `field` names it"}}
_TAKEN: Responses = {409: {"model": Problem, "description": "The name is taken, or it would lock everybody out"}}
_NAMED: Responses = {404: {"model": Problem, "description": "No such key"}}


@router.post("", operation_id="create_key", status_code=201, responses=_WRONG | _TAKEN | FAILED)
async def create_key(form: KeyForm, request: Request, response: Response, admin: Admin) -> MadeKey:
    """Make a key, on record. Its secret is in this answer and nowhere else."""
    keyring = _keyring(request)
    was_open = keyring.is_open
    _check_whole(form)
    key, secret = await keyring.make(
        form.name,
        actor=admin,
        role=form.role,
        routes=form.routes,
        may_wake=form.may_wake,
        priority=form.priority,
        limits=KeyLimits(**form.limits.model_dump()),
        tags=form.tags,
        expires_in=form.expires_in,
    )
    response.headers["Cache-Control"] = "no-store"
    return MadeKey(key=KeyInfo.of(key), secret=secret.reveal(), closed_server=was_open)


@router.get("", operation_id="keys")
async def list_keys(request: Request, _: Admin) -> AllKeys:
    """List the keys, without what opens anything."""
    return AllKeys(keys=[KeyInfo.of(key) for key in _keyring(request).list()])


@router.delete("/{key}", operation_id="revoke_key", responses=_NAMED | _TAKEN | FAILED)
async def revoke_key(key: KeyName, request: Request, admin: Admin) -> OneKey:
    """Take a key back, on record: it opens nothing from this moment on. To do so twice is no error."""
    return OneKey(key=KeyInfo.of(await _keyring(request).revoke(key, actor=admin)))


def _keyring(request: Request) -> Keyring:
    access: Access = request.app.state.access
    return access.keyring


def _check_whole(form: KeyForm) -> None:
    """Refuse text that no database can hold."""
    for name in form.routes:
        if not name.isprintable():
            raise InvalidInput(f"routes: {name[:80]!r} should be printable text.", field="routes")
