"""Whose token it is, how long it lasts, what it may do, and whether the account can pay. Pure but for the looking."""

from __future__ import annotations

from collections.abc import Iterator

from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.show.facts import moment
from lamplighter.cli.show.words import whole
from lamplighter.hf.records import Owner

SETTINGS = "https://huggingface.co/settings/tokens"
BILLING = "https://huggingface.co/settings/billing"
SOON = 14 * 86400.0

_RIGHTS = (
    ("inference.endpoints.read", "list endpoints and hardware"),
    ("inference.endpoints.write", "start, stop, make and delete endpoints"),
    ("inference.endpoints.infer.write", "send requests to endpoints"),
)
_IMPLIED = {"inference.endpoints.read": "inference.endpoints.write"}
"""Who may write may read."""


def examine(owner: Owner, source: str, now: float) -> Iterator[Finding]:
    """Everything that the answer to whoami tells. `now` is Unix time."""
    yield good("token", f"found in {source}; it belongs to {owner.name}{_orgs(owner)}")
    yield _expiry(owner, now)
    yield from _rights(owner)
    if owner.can_pay is False:
        yield bad("payment", f"{owner.name} has no way to pay: new endpoints are refused", f"add one at {BILLING}")
    elif owner.can_pay:
        yield good("payment", f"{owner.name} can pay")


def _orgs(owner: Owner) -> str:
    return f", a member of {', '.join(owner.orgs)}" if owner.orgs else ""


def _expiry(owner: Owner, now: float) -> Finding:
    at = moment(owner.expires_at)
    if at is None:
        return good("token expiry", "it does not expire")
    if at <= now:
        return bad("token expiry", f"it expired on {owner.expires_at}", f"make a new one at {SETTINGS}", of_token=True)
    said = f"it expires in {whole(at - now)}, on {owner.expires_at}"
    return (
        note("token expiry", said, f"make a new one at {SETTINGS}") if at - now < SOON else good("token expiry", said)
    )


def _rights(owner: Owner) -> Iterator[Finding]:
    if owner.role == "write":
        yield good("token rights", "its role is write: it may do everything here")
    elif owner.role == "read":
        yield bad(
            "token rights",
            "its role is read: it can list and call endpoints, not start, stop or make them",
            f"make one with the role write, or a fine-grained one with inference.endpoints.write, at {SETTINGS}",
            of_token=True,
        )
    elif owner.role == "fineGrained":
        yield from _fine_rights(owner)
    else:
        yield note("token rights", f"its role is {owner.role or 'not told'}; what it may do shows when it is tried")


def _fine_rights(owner: Owner) -> Iterator[Finding]:
    for right, what in _RIGHTS:
        if right in owner.permissions or _IMPLIED.get(right) in owner.permissions:
            yield good("token rights", f"{right}: it may {what}")
        else:
            yield bad("token rights", f"{right} is missing: it may not {what}", f"add it at {SETTINGS}", of_token=True)
