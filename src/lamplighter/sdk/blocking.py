"""The synchronous client: a face of `AsyncClient`, whose loop runs in a thread of its own."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lamplighter.errors import LamplighterError
from lamplighter.sdk.portal import Portal

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from decimal import Decimal
    from pathlib import Path
    from types import TracebackType

    from lamplighter.domain.endpoint import Phase
    from lamplighter.domain.inference import InferenceAnswer
    from lamplighter.hf.forms import Changes, DeploymentForm
    from lamplighter.hf.records import Endpoint, Metrics
    from lamplighter.sdk.client import (
        AsyncClient,
        CatalogModels,
        Endpoints,
        HardwareList,
        Models,
        Offers,
        OnProgress,
        Replicas,
        Status,
    )

T = TypeVar("T")


class Client:
    """Endpoints of one namespace, for programs without an event loop, and for notebooks, which have one of their own.

    `Client()` talks to Hugging Face with the token of the environment (HF_TOKEN, HUGGINGFACE_API_KEY) or of
    `hf auth login`. `Client("http://127.0.0.1:8470")` talks to a Lamplighter (key: LAMPLIGHTER_KEY).
    `Client.embedded(…)` runs a whole Lamplighter inside this process.

    Names, arguments, results and errors are those of `AsyncClient`. It may be used by several threads at once; Ctrl-C
    cancels the call that it interrupts. After a fork the child needs a client of its own. `on_progress` is called in
    the client's own thread.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, namespace: str | None = None, timeout: float = 30.0
    ) -> None:
        from lamplighter.sdk.client import AsyncClient  # noqa: PLC0415 - importing the package should not cost it

        self._adopt(AsyncClient(url, token=token, namespace=namespace, timeout=timeout))

    @classmethod
    def embedded(cls, config: str | Path | Mapping[str, Any] | None = None) -> Client:
        """A client of a Lamplighter in this process; see `AsyncClient.embedded`."""
        from lamplighter.sdk.client import AsyncClient  # noqa: PLC0415

        client = cls.__new__(cls)
        client._adopt(AsyncClient.embedded(config))  # noqa: SLF001 - its own class
        return client

    def _adopt(self, face: AsyncClient) -> None:
        self._face = face
        self._portal = Portal(face.close)
        self._sessions: set[_Session] = set()
        weakref.finalize(self, self._portal.leave)

    def __enter__(self) -> Self:
        self._call(self._face.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections, an embedded server, and the thread. A second call does nothing."""
        try:
            self._portal.close()
        finally:
            for session in list(self._sessions):
                session.forget()  # those that nobody left: the portal's farewell has ended them

    @property
    def where(self) -> str:
        """Where the endpoints are, for people: a host name, and the namespace once that is known."""
        return self._face.where

    def list(self, *, tags: Sequence[str] = (), search: str | None = None, namespace: str | None = None) -> Endpoints:
        """See `AsyncClient.list`."""
        return self._call(lambda: self._face.list(tags=tags, search=search, namespace=namespace))

    def get(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """See `AsyncClient.get`."""
        return self._call(lambda: self._face.get(name, namespace=namespace))

    def create(self, form: DeploymentForm | str, *, namespace: str | None = None, **values: Any) -> Endpoint:
        """See `AsyncClient.create`."""
        return self._call(lambda: self._face.create(form, namespace=namespace, **values))

    def update(
        self, name: str, changes: Changes | None = None, *, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        """See `AsyncClient.update`."""
        return self._call(lambda: self._face.update(name, changes, namespace=namespace, **values))

    def delete(self, name: str, *, confirm: bool = False, namespace: str | None = None) -> None:
        """See `AsyncClient.delete`."""
        self._call(lambda: self._face.delete(name, confirm=confirm, namespace=namespace))

    def pause(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """See `AsyncClient.pause`."""
        return self._call(lambda: self._face.pause(name, namespace=namespace))

    def resume(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """See `AsyncClient.resume`."""
        return self._call(lambda: self._face.resume(name, namespace=namespace))

    def scale_to_zero(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """See `AsyncClient.scale_to_zero`."""
        return self._call(lambda: self._face.scale_to_zero(name, namespace=namespace))

    def get_or_create(
        self, name: str, *, create_if_missing: bool = False, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        """See `AsyncClient.get_or_create`."""
        return self._call(
            lambda: self._face.get_or_create(name, create_if_missing=create_if_missing, namespace=namespace, **values)
        )

    def start(
        self,
        name: str,
        *,
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """See `AsyncClient.start`."""
        return self._call(lambda: self._face.start(name, timeout=timeout, namespace=namespace, on_progress=on_progress))

    def wait(
        self,
        name: str,
        *,
        until: Phase | str = "running",
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """See `AsyncClient.wait`."""
        return self._call(
            lambda: self._face.wait(name, until=until, timeout=timeout, namespace=namespace, on_progress=on_progress)
        )

    def stop(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """See `AsyncClient.stop`."""
        return self._call(lambda: self._face.stop(name, namespace=namespace))

    def status(self, name: str, *, namespace: str | None = None) -> Status:
        """See `AsyncClient.status`."""
        return self._call(lambda: self._face.status(name, namespace=namespace))

    def metrics(self, name: str, *, window: float = 86400.0, namespace: str | None = None) -> Metrics:
        """See `AsyncClient.metrics`."""
        return self._call(lambda: self._face.metrics(name, window=window, namespace=namespace))

    def replicas(self, name: str, *, namespace: str | None = None) -> Replicas:
        """See `AsyncClient.replicas`."""
        return self._call(lambda: self._face.replicas(name, namespace=namespace))

    def logs(
        self,
        name: str,
        *,
        tail: int = 100,
        follow: bool = False,
        replica: str | None = None,
        namespace: str | None = None,
    ) -> Iterator[str]:
        """See `AsyncClient.logs`."""
        lines = self._face.logs(name, tail=tail, follow=follow, replica=replica, namespace=namespace)

        async def following() -> str | None:
            return await anext(lines, None)

        try:
            while (line := self._call(following)) is not None:
                yield line
        finally:
            if (aclose := getattr(lines, "aclose", None)) is not None and self._portal.is_open:
                self._call(aclose)

    def hardware(self, *, namespace: str | None = None) -> HardwareList:
        """See `AsyncClient.hardware`."""
        return self._call(lambda: self._face.hardware(namespace=namespace))

    def catalog(self, **filters: str) -> CatalogModels:
        """See `AsyncClient.catalog`."""
        return self._call(lambda: self._face.catalog(**filters))

    def deploy_from_catalog(
        self, repository: str, *, name: str | None = None, accelerator: str | None = None, namespace: str | None = None
    ) -> Endpoint:
        """See `AsyncClient.deploy_from_catalog`."""
        return self._call(
            lambda: self._face.deploy_from_catalog(repository, name=name, accelerator=accelerator, namespace=namespace)
        )

    def models(
        self,
        *,
        search: str | None = None,
        author: str | None = None,
        task: str | None = None,
        license: str | None = None,  # noqa: A002 - the Hub's word
        provider: str | None = None,
        served: bool = False,
        sort: str | None = None,
        limit: int = 100,
    ) -> Models:
        """See `AsyncClient.models`."""
        return self._call(
            lambda: self._face.models(
                search=search,
                author=author,
                task=task,
                license=license,
                provider=provider,
                served=served,
                sort=sort,
                limit=limit,
            )
        )

    def offers(
        self,
        *,
        model: str | None = None,
        search: str | None = None,
        task: str | None = None,
        region: str | None = None,
        provider: str | None = None,
        kind: str | None = None,
        max_price: Decimal | float | str | None = None,
        context: int | None = None,
        tools: bool | None = None,
        sort: str = "price",
        limit: int | None = None,
    ) -> Offers:
        """See `AsyncClient.offers`."""
        return self._call(
            lambda: self._face.offers(
                model=model,
                search=search,
                task=task,
                region=region,
                provider=provider,
                kind=kind,
                max_price=max_price,
                context=context,
                tools=tools,
                sort=sort,
                limit=limit,
            )
        )

    def run_inference(
        self,
        model: str,
        payload: Mapping[str, Any],
        *,
        surface: str | None = None,
        provider: str | None = None,
        timeout: float = 300.0,
    ) -> InferenceAnswer:
        """See `AsyncClient.run_inference`."""
        return self._call(
            lambda: self._face.run_inference(model, payload, surface=surface, provider=provider, timeout=timeout)
        )

    def session(
        self,
        name: str,
        *,
        auto_pause: bool = True,
        timeout: float = 600.0,
        lease: float = 60.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> AbstractContextManager[Endpoint]:
        """See `AsyncClient.session`.

        While the main thread is in a session, SIGTERM ends it like any exception: as SystemExit(143). The handler
        that was there before is put back afterwards, and is called then.
        """
        return _Session(
            self._portal,
            self._sessions,
            self._face.session(
                name,
                auto_pause=auto_pause,
                timeout=timeout,
                lease=lease,
                namespace=namespace,
                on_progress=on_progress,
            ),
        )

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._portal.call(work)


class _Session(AbstractContextManager["Endpoint"]):
    """A session as a context; while it is open it is in the set `kept_in`."""

    def __init__(self, portal: Portal, kept_in: set[_Session], inner: AbstractAsyncContextManager[Endpoint]) -> None:
        from lamplighter.sdk.termination import Termination  # noqa: PLC0415

        self._portal = portal
        self._kept_in = kept_in
        self._inner = inner
        self._termination = Termination()
        self._entered = False

    def __enter__(self) -> Endpoint:
        if self._entered:
            raise LamplighterError("A session can be entered once: make another one.")
        self._entered = True
        self._kept_in.add(self)
        self._termination.watch()
        try:
            return self._portal.call(self._enter)
        except BaseException as error:
            self._leave_interrupted(error)
            raise

    def _leave_interrupted(self, error: BaseException) -> None:
        """Ctrl-C may come when it has been entered, and before anybody knows; then nobody would leave it."""
        try:
            if not isinstance(error, Exception) and self._portal.is_open:
                self._portal.call(lambda: self._leave(type(error), error, None))
        finally:
            self.forget()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._termination.deferred():
                self._portal.call(lambda: self._leave(kind, error, trace))
        finally:
            self.forget()

    def forget(self) -> None:
        """Let go of the signal."""
        self._kept_in.discard(self)
        self._termination.unwatch()

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def _enter(self) -> Endpoint:
        return await self._inner.__aenter__()
