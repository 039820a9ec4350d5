"""Whose token it is: the one route of the hub that clients of endpoints ask."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from lamplighter.api.access import AnyKey
from lamplighter.api.hf.context import Served
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.domain.keys import ANYBODY, Role

router = APIRouter(tags=["hub"], responses={status: RESPONSES[status] for status in (401, 403, "default")})


@router.get("/api/whoami-v2")
async def whoami(served: Served, key: AnyKey) -> dict[str, Any]:
    """Tell the namespace that a key is for, and what it may do. `lamplighter` says that this is one, and which version.

    `write` is what the API calls the right to operate; `lamplighter.role` is exact.
    """
    actor = "api" if key is ANYBODY else key.actor
    role = "write" if key.role.covers(Role.OPERATE) else "read"
    return {
        "type": "user",
        "id": served.namespace,
        "name": served.namespace,
        "fullname": served.namespace,
        "email": None,
        "emailVerified": False,
        "isPro": True,
        "canPay": True,
        "billingMode": "postpaid",
        "periodEnd": None,
        "avatarUrl": "",
        "orgs": [],
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": actor, "role": role, "createdAt": None},
        },
        "lamplighter": {"version": served.version, "role": key.role.value},
    }
