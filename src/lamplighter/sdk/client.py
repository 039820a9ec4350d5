"""The asynchronous client; `lamplighter.sdk.blocking` is its synchronous face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lamplighter.domain.endpoint import Phase
from lamplighter.domain.hardware import Hardware
from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.records import Endpoint, Metrics, ReplicaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """R1.8: how an endpoint is. `url` only when it can be used now. Durations in seconds; None where nobody told.

    `meaning` is one line: what the state means and what it costs, and what to do next.
    """

    name: str
    namespace: str
    state: str
    phase: Phase
    url: str | None
    task: str | None
    model: str | None
    framework: str | None
    instance: str | None
    replicas_ready: int
    replicas: int
    message: str | None = None
    price_per_hour: float | None = None
    last_activity: str | None = None
    auto_sleep_in: float | None = None
    starting_for: float | None = None
    expected_start: float | None = None
    held_by: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a start is: `elapsed` and `expected` in seconds; `expected` is learned from earlier starts, or None."""

    endpoint: Endpoint
    elapsed: float
    expected: float | None


OnProgress = Callable[[Progress], None]


class AsyncClient:
    """Endpoints of one namespace: at Hugging Face, at a Lamplighter server, or in this process.

    `AsyncClient()` talks to Hugging Face with the token of the environment (HF_TOKEN, HUGGINGFACE_API_KEY) or of
    `hf auth login`. `AsyncClient("http://127.0.0.1:8470")` talks to a Lamplighter (key: LAMPLIGHTER_KEY).
    `AsyncClient.embedded(…)` runs a whole Lamplighter inside this process, on a free port of loopback.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, namespace: str | None = None, timeout: float = 30.0
    ) -> None: ...

    @classmethod
    def embedded(cls, config: str | Path | Mapping[str, Any] | None = None) -> AsyncClient:
        """A client of a Lamplighter in this process. `config` is a file, or the same as a mapping; None: no endpoint."""
        raise NotImplementedError

    async def __aenter__(self) -> AsyncClient:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def close(self) -> None: ...

    @property
    def where(self) -> str:
        """Where the endpoints are, for people: a host name, and the namespace once that is known."""
        raise NotImplementedError

    # All verbs take `namespace=None` as their last keyword.

    async def list(
        self, *, tags: Sequence[str] = (), search: str | None = None, namespace: str | None = None
    ) -> list[Endpoint]:
        raise NotImplementedError

    async def get(self, name: str, *, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def create(self, form: DeploymentForm | str, *, namespace: str | None = None, **values: Any) -> Endpoint:
        """Make an endpoint from a form, or from its name and the form's fields as keywords."""
        raise NotImplementedError

    async def update(
        self, name: str, changes: Changes | None = None, *, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        raise NotImplementedError

    async def delete(self, name: str, *, confirm: bool = False, namespace: str | None = None) -> None:
        """Delete for good. Raises InvalidInput without `confirm=True`. Returns when the endpoint is gone."""
        raise NotImplementedError

    async def pause(self, name: str, *, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def resume(self, name: str, *, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def scale_to_zero(self, name: str, *, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def get_or_create(
        self, name: str, *, create_if_missing: bool = False, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        """R1.6. Raises EndpointNotFound whose text names `create_if_missing`."""
        raise NotImplementedError

    async def start(
        self,
        name: str,
        *,
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """R1.7: resume and wait until its health route answers 200. Raises WakeFailed, WakeTimeout."""
        raise NotImplementedError

    async def wait(
        self,
        name: str,
        *,
        until: Phase = Phase.RUNNING,
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """Wait without starting anything. Raises WakeFailed at once for one that sleeps and that nothing wakes."""
        raise NotImplementedError

    async def stop(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """Pause; one that is paused already is no error."""
        raise NotImplementedError

    async def status(self, name: str, *, namespace: str | None = None) -> Status:
        raise NotImplementedError

    async def metrics(self, name: str, *, window: float = 86400.0, namespace: str | None = None) -> Metrics:
        """What it did in the last `window` seconds. None where the plan or the server has no figure."""
        raise NotImplementedError

    async def replicas(self, name: str, *, namespace: str | None = None) -> list[ReplicaInfo]:
        raise NotImplementedError

    def logs(
        self,
        name: str,
        *,
        tail: int = 100,
        follow: bool = False,
        replica: str | None = None,
        namespace: str | None = None,
    ) -> AsyncIterator[str]:
        raise NotImplementedError

    async def hardware(self, *, namespace: str | None = None) -> list[Hardware]:
        raise NotImplementedError

    async def catalog(self, **filters: str) -> list[Mapping[str, Any]]:
        raise NotImplementedError

    async def deploy_from_catalog(
        self, repository: str, *, name: str | None = None, accelerator: str | None = None, namespace: str | None = None
    ) -> Endpoint:
        raise NotImplementedError

    def session(
        self,
        name: str,
        *,
        auto_pause: bool = True,
        timeout: float = 600.0,
        lease: float = 60.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> AbstractAsyncContextManager[Endpoint]:
        """R1.9: start, yield the ready endpoint, pause in every way out; `lease` seconds after a kill at the latest."""
        raise NotImplementedError
