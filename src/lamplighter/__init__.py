"""Lamplighter: wakes a model endpoint when a request comes and puts it to sleep after the last one has left.

`Client` and `AsyncClient` manage endpoints at Hugging Face, at a Lamplighter server, or in this process; the functions
`get_or_create`, `start`, `stop`, `delete`, `status`, `metrics` and `session` do so with nothing but a token. Nothing is
imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamplighter.asgi import lifespan
    from lamplighter.domain.endpoint import Phase
    from lamplighter.domain.hardware import Hardware
    from lamplighter.errors import (
        Conflict,
        EndpointExists,
        EndpointNotFound,
        EndpointPaused,
        Forbidden,
        InvalidInput,
        LamplighterError,
        NoCapacity,
        NotAllowed,
        NotFound,
        PaymentRequired,
        ProviderError,
        ProviderTimeout,
        ProviderUnreachable,
        QuotaExceeded,
        RateLimited,
        TokenExpired,
        TokenMissing,
        TokenWrong,
        Unavailable,
        WakeFailed,
        WakeTimeout,
    )
    from lamplighter.hf.forms import Changes, DeploymentForm
    from lamplighter.hf.records import Endpoint, Metrics
    from lamplighter.sdk.blocking import Client
    from lamplighter.sdk.client import AsyncClient, Progress, Status
    from lamplighter.sdk.sessions import SessionWarning
    from lamplighter.sdk.shortcuts import delete, get_or_create, metrics, session, start, status, stop

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Changes",
    "Client",
    "Conflict",
    "DeploymentForm",
    "Endpoint",
    "EndpointExists",
    "EndpointNotFound",
    "EndpointPaused",
    "Forbidden",
    "Hardware",
    "InvalidInput",
    "LamplighterError",
    "Metrics",
    "NoCapacity",
    "NotAllowed",
    "NotFound",
    "PaymentRequired",
    "Phase",
    "Progress",
    "ProviderError",
    "ProviderTimeout",
    "ProviderUnreachable",
    "QuotaExceeded",
    "RateLimited",
    "SessionWarning",
    "Status",
    "TokenExpired",
    "TokenMissing",
    "TokenWrong",
    "Unavailable",
    "WakeFailed",
    "WakeTimeout",
    "__version__",
    "delete",
    "get_or_create",
    "lifespan",
    "metrics",
    "session",
    "start",
    "status",
    "stop",
]

_PLACES = {
    "AsyncClient": "lamplighter.sdk.client",
    "Changes": "lamplighter.hf.forms",
    "Client": "lamplighter.sdk.blocking",
    "DeploymentForm": "lamplighter.hf.forms",
    "Endpoint": "lamplighter.hf.records",
    "Hardware": "lamplighter.domain.hardware",
    "Metrics": "lamplighter.hf.records",
    "Phase": "lamplighter.domain.endpoint",
    "Progress": "lamplighter.sdk.client",
    "SessionWarning": "lamplighter.sdk.sessions",
    "Status": "lamplighter.sdk.client",
    "lifespan": "lamplighter.asgi",
} | dict.fromkeys(
    ("delete", "get_or_create", "metrics", "session", "start", "status", "stop"), "lamplighter.sdk.shortcuts"
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only for those who want something

    thing = getattr(import_module(_PLACES.get(name, "lamplighter.errors")), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted(__all__)
