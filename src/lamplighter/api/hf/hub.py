"""Whose token it is: the one route of the hub that clients of endpoints ask."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from lamplighter.api.access import Actor
from lamplighter.api.hf.context import Served
from lamplighter.api.hf.problems import RESPONSES

router = APIRouter(tags=["hub"], responses={401: RESPONSES[401]})


@router.get("/api/whoami-v2")
async def whoami(served: Served, actor: Actor) -> dict[str, Any]:
    """Tell the namespace that a key is for. `lamplighter` says that this is one, and which version."""
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
            "accessToken": {"displayName": actor, "role": "write", "createdAt": None},
        },
        "lamplighter": {"version": served.version},
    }
