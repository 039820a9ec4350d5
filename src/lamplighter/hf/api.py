"""The management API, one method a route. Asynchronous; `lamplighter.sdk` has the synchronous face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from lamplighter.domain.hardware import Hardware
from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.records import Endpoint, Owner, ReplicaInfo


class ManagementApi:
    """Talks to one management API with one token.

    `base` is where `/v2/…` lies, without it (`https://api.endpoints.huggingface.cloud`, or a Lamplighter's address);
    `hub` is where `/api/whoami-v2` lies. Both default to Hugging Face's, or to `LAMPLIGHTER_CLOUD_URL` for both. The
    token is asked for at each call, so that a renewed one is used; it goes to these hosts only.

    Calls that only read are retried on network failures, 408, 429, 500, 502, 503 and 504 with jittered exponential
    backoff inside `deadline` seconds; `Retry-After` and `RateLimit` are obeyed. Verbs that may be repeated (pause,
    resume, scale to zero, update, delete) as well. A create is repeated only when it can't have been executed; when
    its answer was lost, the endpoint is looked for, and is the answer if it is what was asked for.

    Every method raises TokenMissing, TokenWrong, TokenExpired, Forbidden, PaymentRequired, EndpointNotFound,
    InvalidInput, Conflict, RateLimited, QuotaExceeded, ProviderUnreachable, ProviderError; never an HTTP library's.
    """

    async def close(self) -> None: ...

    async def owner(self) -> Owner:
        """Whose token it is; asked once (the route is strictly rate limited)."""
        raise NotImplementedError

    async def namespace(self, given: str | None = None) -> str:
        """`given`, or the configured one, or the token owner's name. Raises InvalidInput that says how to give one."""
        raise NotImplementedError

    async def list(
        self, namespace: str | None = None, *, tags: Sequence[str] = (), search: str | None = None
    ) -> list[Endpoint]:
        """All endpoints, every page. `*`: of all namespaces of the token; those without access are left out."""
        raise NotImplementedError

    async def get(self, name: str, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def create(self, form: DeploymentForm, namespace: str | None = None) -> Endpoint:
        """Raises EndpointExists."""
        raise NotImplementedError

    async def update(self, name: str, changes: Changes, namespace: str | None = None) -> Endpoint:
        """Sends only what changes; with nothing to change nothing is sent and the endpoint is read."""
        raise NotImplementedError

    async def delete(self, name: str, namespace: str | None = None) -> None: ...

    async def pause(self, name: str, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def resume(self, name: str, namespace: str | None = None) -> Endpoint:
        """An endpoint that runs already is no error."""
        raise NotImplementedError

    async def scale_to_zero(self, name: str, namespace: str | None = None) -> Endpoint:
        raise NotImplementedError

    async def replicas(self, name: str, namespace: str | None = None) -> list[ReplicaInfo]:
        raise NotImplementedError

    def logs(
        self,
        name: str,
        namespace: str | None = None,
        *,
        tail: int = 100,
        follow: bool = False,
        replica: str | None = None,
    ) -> AsyncIterator[str]:
        """Lines of the engine's output; with `follow` as they come, connecting anew when the stream breaks."""
        raise NotImplementedError

    async def metrics(self, name: str, namespace: str | None = None, *, start: str, stop: str) -> Mapping[str, Any]:
        """All graphs of a window (RFC 3339), as the API gives them. Raises Forbidden where the plan has none."""
        raise NotImplementedError

    async def hardware(self, namespace: str | None = None) -> list[Hardware]:
        """With the namespace's quota."""
        raise NotImplementedError

    async def catalog(self, **filters: str) -> list[Mapping[str, Any]]:
        """Models with recipes. Filters: accelerator, engine, license, task, search, limit."""
        raise NotImplementedError

    async def deploy_from_catalog(
        self, repository: str, *, name: str | None = None, accelerator: str | None = None, namespace: str | None = None
    ) -> Endpoint:
        raise NotImplementedError

    async def is_ready(self, endpoint: Endpoint, *, hold: float = 0.0) -> bool:
        """Whether the endpoint's health route answers 200 now.

        With `hold`, the question waits at the provider's proxy for up to that many seconds (`X-Scale-Up-Timeout`).
        Wakes nothing by itself at a Lamplighter. Raises TokenWrong, Forbidden.
        """
        raise NotImplementedError

    async def poke(self, endpoint: Endpoint) -> None:
        """Send the endpoint a request that wakes it if it is scaled to zero; does not wait for the answer's content."""
        raise NotImplementedError
