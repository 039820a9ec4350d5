"""Functions for those who need no client: each opens one from the environment, and closes it again.

They act where LAMPLIGHTER_URL says, with LAMPLIGHTER_KEY; without it at Hugging Face, with HF_TOKEN,
HUGGINGFACE_API_KEY or the token of `hf auth login`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lamplighter.sdk.blocking import Client

if TYPE_CHECKING:
    from lamplighter.hf.records import Endpoint, Metrics
    from lamplighter.sdk.client import OnProgress, Status


def get_or_create(
    name: str, *, create_if_missing: bool = False, namespace: str | None = None, **values: Any
) -> Endpoint:
    """See `AsyncClient.get_or_create`."""
    with _client() as client:
        return client.get_or_create(name, create_if_missing=create_if_missing, namespace=namespace, **values)


def start(
    name: str, *, timeout: float = 600.0, namespace: str | None = None, on_progress: OnProgress | None = None
) -> Endpoint:
    """Resume and wait until it is ready; see `AsyncClient.start`."""
    with _client() as client:
        return client.start(name, timeout=timeout, namespace=namespace, on_progress=on_progress)


def stop(name: str, *, namespace: str | None = None) -> Endpoint:
    """Pause; see `AsyncClient.stop`."""
    with _client() as client:
        return client.stop(name, namespace=namespace)


def delete(name: str, *, confirm: bool = False, namespace: str | None = None) -> None:
    """Delete for good, with `confirm=True`; see `AsyncClient.delete`."""
    with _client() as client:
        client.delete(name, confirm=confirm, namespace=namespace)


def status(name: str, *, namespace: str | None = None) -> Status:
    """Tell how it is; see `AsyncClient.status`."""
    with _client() as client:
        return client.status(name, namespace=namespace)


def metrics(name: str, *, window: float = 86400.0, namespace: str | None = None) -> Metrics:
    """Tell what it did in the last `window` seconds; see `AsyncClient.metrics`."""
    with _client() as client:
        return client.metrics(name, window=window, namespace=namespace)


@contextmanager
def session(
    name: str,
    *,
    auto_pause: bool = True,
    timeout: float = 600.0,
    lease: float = 60.0,
    namespace: str | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Endpoint]:
    """Start, yield the ready endpoint, pause in every way out; see `AsyncClient.session`."""
    with (
        _client() as client,
        client.session(
            name, auto_pause=auto_pause, timeout=timeout, lease=lease, namespace=namespace, on_progress=on_progress
        ) as endpoint,
    ):
        yield endpoint


def _client() -> Client:
    return Client(os.environ.get("LAMPLIGHTER_URL", "").strip() or None)
