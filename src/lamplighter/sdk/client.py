"""The asynchronous client; `lamplighter.sdk.blocking` is its synchronous face."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from lamplighter.domain.endpoint import Phase, State
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    EndpointNotFound,
    Forbidden,
    InvalidInput,
    LamplighterError,
    NotFound,
    ProviderError,
    WakeTimeout,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.records import Endpoint, Metrics, ReplicaInfo
from lamplighter.sdk.seconds import check_seconds
from lamplighter.sdk.starts import StartTimes
from lamplighter.sdk.status import Status, number, own_words
from lamplighter.sdk.waiting import OnProgress, Progress, Vigil

if TYPE_CHECKING:
    from decimal import Decimal

    from lamplighter.domain.inference import InferenceAnswer
    from lamplighter.sdk.embedding import Embedded
    from lamplighter.sdk.keepers import Keeper
    from lamplighter.sdk.market import ModelList, OfferList, Shopping
    from lamplighter.sdk.sessions import Session

__all__ = ["AsyncClient", "OnProgress", "Progress", "Status"]

# Inside of the class, `list` is a method.
Endpoints: TypeAlias = list[Endpoint]
Replicas: TypeAlias = list[ReplicaInfo]
HardwareList: TypeAlias = list[Hardware]
CatalogModels: TypeAlias = list[Mapping[str, Any]]
Models: TypeAlias = "ModelList"
Offers: TypeAlias = "OfferList"

DELETE_PATIENCE = 120.0
"""How long `delete` waits for an endpoint to be gone (seconds)."""

_DELETE_LOOKS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_KEEPERS = "LAMPLIGHTER_SESSIONS"


class AsyncClient:
    """Endpoints of one namespace: at Hugging Face, at a Lamplighter server, or in this process.

    `AsyncClient()` talks to Hugging Face with the token of the environment (HF_TOKEN, HUGGINGFACE_API_KEY) or of
    `hf auth login`. `AsyncClient("http://127.0.0.1:8470")` talks to a Lamplighter (key: LAMPLIGHTER_KEY).
    `AsyncClient.embedded(…)` runs a whole Lamplighter inside this process, on a free port of loopback.

    The namespace defaults to the token owner's name, which is asked for once. `timeout` bounds one attempt to ask
    (seconds); questions that may be repeated are, for a minute at most. It belongs to one event loop, and may be used
    with or without `async with`; without, call `close`.

    Every method raises LamplighterError and nothing else on purpose: TokenMissing, TokenWrong, TokenExpired, Forbidden,
    PaymentRequired, EndpointNotFound, InvalidInput, Conflict, RateLimited, QuotaExceeded, NoCapacity,
    ProviderUnreachable, ProviderError, and what stands with the method.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, namespace: str | None = None, timeout: float = 30.0
    ) -> None:
        check_seconds(timeout, "timeout")
        secret = _secret(token)
        self._api: ManagementApi | None = ManagementApi(url, token=secret, namespace=namespace, timeout=timeout)
        self._embedded: Embedded | None = None
        self._timeout = timeout
        self._starts = StartTimes()
        self._namespace: str | None = None
        self._closed = False
        self._opening = asyncio.Lock()
        self._sessions: set[Session] = set()
        self._shop: Shopping | None = None

    @classmethod
    def embedded(cls, config: str | Path | Mapping[str, Any] | None = None) -> AsyncClient:
        """A client of a Lamplighter in this process. `config` is a file, or the same as a mapping; None: no endpoint.

        It is started by the first call, and ended in order by `close`, or with the process; if that is killed, a small
        process of its own ends the engines on this machine. Its data lies where the configuration says, else in a
        folder of this configuration's own below `$XDG_STATE_HOME/lamplighter`; without a configuration, in a temporary
        one.
        Raises ConfigError.
        """
        from lamplighter.sdk.embedding import Embedded  # noqa: PLC0415 - a server is a lot to import

        client = cls()
        client._api, client._embedded = None, Embedded(config)
        return client

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave sessions that are still open, end the connections and an embedded server. Again: does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            for session in list(self._sessions):
                await session.leave_at_last()
        finally:
            try:
                if self._shop is not None:
                    await self._shop.close()
                if self._api is not None:
                    await self._api.close()
            finally:
                if self._embedded is not None:
                    await self._embedded.close()

    @property
    def where(self) -> str:
        """Where the endpoints are, for people: a host name, and the namespace once that is known."""
        if self._api is None:
            return "a Lamplighter in this process"
        place = self._api.hosts.name if self._embedded is None else "a Lamplighter in this process"
        return f"{place}, namespace {self._namespace}" if self._namespace else place

    # Endpoints.

    async def list(
        self, *, tags: Sequence[str] = (), search: str | None = None, namespace: str | None = None
    ) -> Endpoints:
        """All endpoints, from every page. `namespace="*"`: of all that the token belongs to and may see."""
        api = await self._open()
        return await api.list(namespace, tags=tags, search=search)

    async def get(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """One endpoint. Raises EndpointNotFound, with near names."""
        api, where = await self._at(namespace)
        async with _with_names(api, where):
            return await api.get(name, where)

    async def create(self, form: DeploymentForm | str, *, namespace: str | None = None, **values: Any) -> Endpoint:
        """Make an endpoint from a form, or from its name and the form's fields as keywords.

        Raises EndpointExists, InvalidInput (hardware that is not offered: with the nearest that is), NoCapacity.
        """
        if isinstance(form, str):
            form = DeploymentForm.of({"name": form, **values})
        elif values:
            raise InvalidInput(f"{next(iter(values))}: stands in the form already; give either of them.")
        api, where = await self._at(namespace)
        return await api.create(form, where)

    async def update(
        self, name: str, changes: Changes | None = None, *, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        """Change what is given and is not so already; where all of it is, nothing is sent. Raises EndpointNotFound."""
        if changes is not None and values:
            raise InvalidInput(f"{next(iter(values))}: give changes, or their fields as keywords.")
        changes = Changes.of(values) if changes is None else changes
        current = await self.get(name, namespace=namespace)
        news = changes.against(current)
        if news.is_empty:
            return current
        api, where = await self._at(namespace)
        return await api.update(name, news, where)

    async def delete(self, name: str, *, confirm: bool = False, namespace: str | None = None) -> None:
        """Delete for good. Raises InvalidInput without `confirm=True`. Returns when the endpoint is gone."""
        if confirm is not True:
            raise InvalidInput(
                f"confirm: deleting {name!r} is for good, its URL and settings with it. Pass confirm=True; "
                "or pause it, which costs nothing either and can be undone.",
                field="confirm",
            )
        before = await self.get(name, namespace=namespace)
        api, where = await self._at(namespace)
        await api.delete(name, where)
        await self._await_gone(api, before)

    async def pause(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """Begin to pause: it costs nothing then, gives its quota back, and no request wakes it until `resume`."""
        api, where = await self._at(namespace)
        async with _with_names(api, where):
            return await api.pause(name, where)

    async def resume(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """Begin to start one that is paused or scaled to zero, and wait for nothing; it is billed from then on."""
        api, where = await self._at(namespace)
        async with _with_names(api, where):
            return await api.resume(name, where)

    async def scale_to_zero(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """Begin to scale to zero: it costs nothing then, keeps its quota, and the next request wakes it."""
        api, where = await self._at(namespace)
        async with _with_names(api, where):
            return await api.scale_to_zero(name, where)

    async def get_or_create(
        self, name: str, *, create_if_missing: bool = False, namespace: str | None = None, **values: Any
    ) -> Endpoint:
        """The endpoint; with `create_if_missing` it is made from `values` (a form's fields) where it is not there.

        Raises EndpointNotFound that names the flag. Every other failure is raised as what it is, and makes nothing.
        """
        api, where = await self._at(namespace)
        try:
            return await api.get(name, where)
        except EndpointNotFound as error:
            if not create_if_missing:
                raise _not_made(await _named(error, api, where)) from None
        try:
            return await api.create(DeploymentForm.of({"name": name, **values}), where)
        except EndpointExists:
            return await api.get(name, where)  # somebody else made it at the same time

    # Starting and stopping.

    async def start(
        self,
        name: str,
        *,
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """Resume, and wait until its health route answers 200. One that is ready already is returned at once.

        Joins a start under way. `timeout` is in seconds; `on_progress` is called about once a second.
        Raises WakeFailed at once when it failed, with the provider's reason; WakeTimeout with the last state and the
        time waited.
        """
        check_seconds(timeout, "timeout")
        return await self._start(name, timeout, namespace, on_progress)

    async def _start(
        self,
        name: str,
        timeout: float,
        namespace: str | None,
        on_progress: OnProgress | None,
        given_up_as: str | None = None,
    ) -> Endpoint:
        began = asyncio.get_running_loop().time()
        api, where, seen = await self._first_look(name, namespace, timeout)
        base = api.hosts.management
        told = number(own_words(seen).get("expected_start"))
        expected = told if told is not None else await asyncio.to_thread(self._starts.expected, base, where, name)
        vigil = Vigil(
            api,
            seen,
            began=began,
            timeout=timeout,
            expected=expected,
            resumes=True,
            on_progress=on_progress,
            given_up_as=given_up_as,
        )
        ready = await vigil.until_ready()
        if vigil.took is not None:
            await asyncio.to_thread(self._starts.learn, base, where, name, vigil.took)
        return ready

    async def wait(
        self,
        name: str,
        *,
        until: Phase | str = "running",
        timeout: float = 600.0,
        namespace: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Endpoint:
        """Wait until it is ready (`running`) or asleep (`sleeping`) without starting or stopping anything.

        Raises WakeFailed at once for one that sleeps and is waited for to run, or that failed; WakeTimeout.
        """
        check_seconds(timeout, "timeout")
        if until not in (Phase.RUNNING, Phase.SLEEPING):
            raise InvalidInput(f"until: {str(until)!r} is neither 'running' nor 'sleeping'.", field="until")
        began = asyncio.get_running_loop().time()
        api, _, seen = await self._first_look(name, namespace, timeout)
        expected = number(own_words(seen).get("expected_start"))
        vigil = Vigil(api, seen, began=began, timeout=timeout, expected=expected, on_progress=on_progress)
        return await (vigil.until_ready() if until == Phase.RUNNING else vigil.until_asleep())

    async def stop(self, name: str, *, namespace: str | None = None) -> Endpoint:
        """Pause; one that is paused already is no error."""
        api, where = await self._at(namespace)
        try:
            async with _with_names(api, where):
                return await api.pause(name, where)
        except (InvalidInput, Conflict):
            seen = await api.get(name, where)
            if seen.state == State.PAUSED:
                return seen
            raise

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
        """Start, yield the ready endpoint, pause in every way out; `lease` seconds after a kill at the latest.

        Of several sessions on one endpoint the last one out pauses, if any of them asked for it (`auto_pause`). When
        the process dies, the session ends as soon as its heartbeats have been missing for `lease` seconds (5 to 3600):
        at a Lamplighter the server sees to it, for Hugging Face a small process of its own on this machine. A program
        that keeps the interpreter busy for longer than that without a break loses it, too.

        Raises what `start` raises, then paused; ProviderError when the pause at the end failed, with the command that
        does it by hand, and SessionWarning instead where another exception is under way.
        """
        from lamplighter.sdk.sessions import Session  # noqa: PLC0415 - not everybody needs it

        check_seconds(timeout, "timeout")
        given_up_as = "Its session has paused it again." if auto_pause else None
        return Session(
            name,
            lease=lease,
            make_keeper=lambda: self._make_keeper(name, namespace, lease, pauses=auto_pause),
            start=lambda: self._start(name, timeout, namespace, on_progress, given_up_as),
            resume=lambda: self.resume(name, namespace=namespace),
            by_hand=lambda: self._by_hand(name, namespace),
            kept_in=self._sessions,
        )

    # Looking.

    async def status(self, name: str, *, namespace: str | None = None) -> Status:
        """How it is; `url` only when it can be used now."""
        return Status.of(await self.get(name, namespace=namespace))

    async def metrics(self, name: str, *, window: float = 86400.0, namespace: str | None = None) -> Metrics:
        """What it did in the last `window` seconds. None where the plan or the server has no figure."""
        from lamplighter.sdk.figures import add_up  # noqa: PLC0415

        check_seconds(window, "window", most=_LONGEST_WINDOW)
        seen = await self.get(name, namespace=namespace)
        api, where = await self._at(namespace)
        now = datetime.now(UTC)
        try:
            graphs = await api.metrics(name, where, start=_rfc3339(now - timedelta(seconds=window)), stop=_rfc3339(now))
        except (Forbidden, NotFound):
            graphs = {}  # this plan, or this server, has none
        price = await self._price(api, seen)
        return add_up(graphs, window=window, stop=now.timestamp(), price_per_hour=price)

    async def replicas(self, name: str, *, namespace: str | None = None) -> Replicas:
        """The replicas that there are now."""
        api, where = await self._at(namespace)
        async with _with_names(api, where):
            return await api.replicas(name, where)

    async def logs(
        self,
        name: str,
        *,
        tail: int = 100,
        follow: bool = False,
        replica: str | None = None,
        namespace: str | None = None,
    ) -> AsyncGenerator[str]:
        """Lines of the engine's output: the last `tail`, and with `follow` each further one as it comes."""
        api, where = await self._at(namespace)
        async with (
            _with_names(api, where),
            aclosing(api.logs(name, where, tail=tail, follow=follow, replica=replica)) as lines,
        ):
            async for line in lines:
                yield line

    async def hardware(self, *, namespace: str | None = None) -> HardwareList:
        """What endpoints can be made on, with prices and the quota of the namespace."""
        api, where = await self._at(namespace)
        return await api.hardware(where)

    async def catalog(self, **filters: str) -> CatalogModels:
        """Models that can be deployed without choosing anything.

        Filters: accelerator, engine, license, task, search, limit.
        """
        api = await self._open()
        return await api.catalog(**filters)

    async def deploy_from_catalog(
        self, repository: str, *, name: str | None = None, accelerator: str | None = None, namespace: str | None = None
    ) -> Endpoint:
        """Make an endpoint by the catalog's recipe for a model."""
        api, where = await self._at(namespace)
        return await api.deploy_from_catalog(repository, name=name, accelerator=accelerator, namespace=where)

    # The marketplace.

    async def models(
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
        """Models of the Hub (at a server: of all its marketplaces), at most `limit`; no token is needed to look.

        `task` is one of the Hub's, or text, image, audio, video, …. `served`: only those that somebody serves by the
        token, with their terms. `sort`: downloads, likes, trending, created or modified.
        """
        from lamplighter.domain.model_filter import ModelFilter  # noqa: PLC0415 - not everybody needs it
        from lamplighter.sdk.market import check_limit  # noqa: PLC0415

        wanted = ModelFilter(
            search=search, author=author, task=task, license=license, provider=provider, served=served, sort=sort
        )
        return await (await self._shopping()).models(wanted, check_limit(limit))

    async def offers(
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
        """What models can be had for. With `model`: also by the hour, on each hardware that it fits on.

        `max_price` is in $ per million tokens out, or per hour of hardware. `region` is us, eu, ap, …, a provider's
        own, or `gdpr`. `kind` is serverless or hardware. `sort`: price, throughput, first-token, context, model or
        provider. Who could not be asked stands in `sources` of what is returned.
        """
        from lamplighter.domain.offer_choice import OfferFilter  # noqa: PLC0415
        from lamplighter.sdk.market import exact_price  # noqa: PLC0415

        wanted = OfferFilter(
            model=model,
            search=search,
            task=task,
            region=region,
            provider=provider,
            kind=kind,
            max_price=exact_price(max_price),
            context=context,
            tools=tools,
            sort=sort,
            limit=limit,
        )
        return await (await self._shopping()).offers(wanted)

    async def run_inference(
        self,
        model: str,
        payload: Mapping[str, Any],
        *,
        surface: str | None = None,
        provider: str | None = None,
        timeout: float = 300.0,
    ) -> InferenceAnswer:
        """Have any model answer: at a server one of its own or of a marketplace, else one that the router serves.

        `payload` is the JSON of OpenAI's API (`messages`, `prompt`, `input`) or of a task (`inputs`, `parameters`);
        `surface` says which, where that can't be told. `provider` pins who serves it. `timeout` is in seconds.
        Raises ModelNotFound, Overloaded, ProviderTimeout, too; `lamplighter.domain.inference.failure_of` has one word
        for any of the errors.
        """
        from lamplighter.domain.inference import InferenceRequest  # noqa: PLC0415

        request = InferenceRequest(model=model, body=payload, surface=surface, provider=provider, timeout=timeout)
        request.written()  # what can't be sent is told before anything is asked
        return await (await self._shopping()).run_inference(request)

    # What the methods above are made of.

    async def _shopping(self) -> Shopping:
        api = await self._open()
        if self._shop is None:
            from lamplighter.sdk.market import shopping_at  # noqa: PLC0415 - not everybody needs it

            self._shop = shopping_at(api)
        return self._shop

    async def _open(self) -> ManagementApi:
        if self._closed:
            raise LamplighterError("This client is closed: make a new one.")
        if self._api is None:
            async with self._opening:
                if self._api is None:
                    assert self._embedded is not None
                    url, key = await self._embedded.start()
                    self._api = ManagementApi(url, token=key, timeout=self._timeout)
        return self._api

    async def _at(self, namespace: str | None) -> tuple[ManagementApi, str]:
        api = await self._open()
        where = await api.namespace(namespace)
        if namespace is None:
            self._namespace = where
        return api, where

    async def _first_look(
        self, name: str, namespace: str | None, timeout: float
    ) -> tuple[ManagementApi, str, Endpoint]:
        try:
            async with asyncio.timeout(timeout):
                api, where = await self._at(namespace)
                async with _with_names(api, where):
                    return api, where, await api.get(name, where)
        except TimeoutError:
            raise WakeTimeout(f"{name}: within {timeout:g} s nobody could be asked how it is.") from None

    async def _await_gone(self, api: ManagementApi, before: Endpoint) -> None:
        name, now = before.name, asyncio.get_running_loop().time
        deadline = now() + DELETE_PATIENCE
        looks = 0
        while True:
            await asyncio.sleep(_DELETE_LOOKS[min(looks, len(_DELETE_LOOKS) - 1)])
            looks += 1
            try:
                seen = await api.get(name, before.namespace)
            except EndpointNotFound:
                return
            if seen.status.created_at != before.status.created_at:
                return  # gone, and somebody made another one of this name
            if now() > deadline:
                raise ProviderError(
                    f"The deletion of {name!r} was accepted, and {DELETE_PATIENCE:g} s later it is still there "
                    f"({seen.state}); look again with `lamplighter status {name}`."
                )

    async def _price(self, api: ManagementApi, seen: Endpoint) -> float | None:
        told = number(own_words(seen).get("price_per_hour"))
        if told is not None or not seen.compute.instance_type:
            return told
        try:
            listed = await api.hardware(seen.namespace)
        except (Forbidden, NotFound):
            return None
        place, compute = seen.provider, seen.compute
        wanted = (place.vendor, place.region, compute.instance_type, compute.instance_size)
        for item in listed:
            if (item.vendor, item.region, item.instance_type, item.instance_size) == wanted:
                return item.price_per_hour
        return None

    async def _make_keeper(self, name: str, namespace: str | None, lease: float, *, pauses: bool) -> Keeper:
        from lamplighter.sdk import keepers  # noqa: PLC0415

        api, where = await self._at(namespace)
        async with _with_names(api, where):
            await api.get(name, where)  # nothing has to stand behind a session on what is not there
        what = keepers.Held(namespace=where, name=name, lease=lease, pauses=pauses)

        async def look() -> Endpoint:
            return await api.get(name, where)

        if await self._has_leases(api):
            return keepers.ServerLease(keepers.RestLeases(api), what, look)
        token = await api.token()
        return keepers.Watchdog(api, what, keepers.watchdog_order(api.hosts.management, what, token), look)

    def _by_hand(self, name: str, namespace: str | None) -> str:
        """How to pause the very same endpoint without this client, for people."""
        if self._embedded is not None or self._api is None:
            return "Closing the client ends what runs on this machine."
        hosts, where = self._api.hosts, namespace or self._namespace
        words = ["lamplighter", "pause", name, *(["--cloud"] if hosts.is_cloud else ["--server", hosts.management])]
        return f"By hand: `{shlex.join([*words, *(['-n', where] if where else [])])}`."

    async def _has_leases(self, api: ManagementApi) -> bool:
        """Whether the server itself ends sessions; LAMPLIGHTER_SESSIONS=watchdog asks for a process here instead."""
        chosen = os.environ.get(_KEEPERS, "").strip()
        if chosen not in ("", "server", "watchdog"):
            raise InvalidInput(f"{_KEEPERS}: {chosen!r} is neither 'server' nor 'watchdog'.", field=_KEEPERS)
        if chosen == "watchdog":
            return False
        return (await api.owner()).lamplighter is not None


_LONGEST_WINDOW = 366 * 86400.0
_NAMES_PATIENCE = 5.0


def _secret(token: str | None) -> Secret | None:
    """The token that was given. One that is empty is no wish for another one."""
    if token is None:
        return None
    if not isinstance(token, str) or not token.strip():
        what = "it is empty" if isinstance(token, str) else f"it is of type {type(token).__name__}, and no text"
        raise InvalidInput(f"token: {what}. Pass none (None) to have the one of the environment used.", field="token")
    return Secret(token.strip())


@asynccontextmanager
async def _with_names(api: ManagementApi, namespace: str) -> AsyncIterator[None]:
    """Where an endpoint is missing, tell near names and those that are there."""
    try:
        yield
    except EndpointNotFound as error:
        raise await _named(error, api, namespace) from None


async def _named(error: EndpointNotFound, api: ManagementApi, namespace: str) -> EndpointNotFound:
    """The same error with the names that there are; as it is, where they are known or can't be asked for."""
    if error.known:
        return error
    try:
        async with asyncio.timeout(_NAMES_PATIENCE):
            known = [endpoint.name for endpoint in await api.list(namespace)]
    except (LamplighterError, TimeoutError):
        return error
    return EndpointNotFound(error.name, known, where=f"namespace {namespace!r}")


def _not_made(error: EndpointNotFound) -> EndpointNotFound:
    """The same error, with the way to make what is missing."""
    advice = "To make it, pass create_if_missing=True and what it is to be made from."
    return EndpointNotFound(error.name, error.known, where=error.where, advice=advice)


def _rfc3339(moment: datetime) -> str:
    return re.sub(r"\+00:00$", "Z", moment.isoformat(timespec="milliseconds"))
