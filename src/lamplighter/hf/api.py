"""The management API, one method a route. Asynchronous; `lamplighter.sdk` has the synchronous face."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lamplighter.domain.hardware import Hardware
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    EndpointExists,
    InvalidInput,
    LamplighterError,
    NotAllowed,
    PaymentRequired,
    ProviderError,
)
from lamplighter.hf import rules
from lamplighter.hf.creating import ReadingBack, is_alike
from lamplighter.hf.exchange import Answer, Asked, Question, parsed, quoted, segment
from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.listings import hardware_of
from lamplighter.hf.pace import ONCE, Pace
from lamplighter.hf.paging import PAGE_SIZE, Pages
from lamplighter.hf.placement import Wanted, check_hardware
from lamplighter.hf.reading import Raw, part, parts
from lamplighter.hf.records import Endpoint, Owner, ReplicaInfo

if TYPE_CHECKING:  # what speaks HTTP is imported at the first call
    import httpx2

    from lamplighter.hf.calls import Calls
    from lamplighter.hf.hosts import Hosts

ALL = "*"
"""In place of a namespace: every one that the token belongs to."""

CATALOG_FILTERS = ("accelerator", "engine", "license", "task", "search", "limit")

_AT_ONCE = 8
_SLASH = frozenset("/")

Endpoints: TypeAlias = list[Endpoint]
Documents: TypeAlias = list[Mapping[str, Any]]
Replicas: TypeAlias = list[ReplicaInfo]
HardwareList: TypeAlias = list[Hardware]


class ManagementApi:
    """Talks to one management API with one token.

    `base` is where `/v2/…` lies, without it (`https://api.endpoints.huggingface.cloud`, or a Lamplighter's address);
    `hub` is where `/api/whoami-v2` lies. Both default to Hugging Face's, or to `LAMPLIGHTER_CLOUD_URL` for both.

    `token` is asked for at each call, so that a renewed one is used; it must not block. None finds it: at Hugging Face
    in HF_TOKEN, HUGGINGFACE_API_KEY or the stored login, at a Lamplighter in LAMPLIGHTER_KEY. It goes to these hosts
    and their data plane only. At a Lamplighter it may be missing; Hugging Face is not asked without one.

    Calls that only read are retried on network failures, 408, 429, 500, 502, 503 and 504 with jittered exponential
    backoff inside the deadline of `pace`; `Retry-After` and `RateLimit` are obeyed. Verbs that may be repeated (pause,
    resume, scale to zero, update, delete) as well. A create is repeated only when it can't have been executed; when
    its answer was lost, the endpoint is looked for, and is the answer if it is what was asked for. `timeout` bounds
    one attempt. Both in seconds. `clock` is monotonic, `wall` Unix time, `chance` gives numbers from 0 to 1.

    Every method raises TokenMissing, TokenWrong, TokenExpired, Forbidden, PaymentRequired, EndpointNotFound,
    InvalidInput, Conflict, RateLimited, QuotaExceeded, NoCapacity, ProviderUnreachable, ProviderError; never an HTTP
    library's. Not for use by several threads.
    """

    def __init__(
        self,
        base: str | None = None,
        *,
        hub: str | None = None,
        token: Callable[[], Secret | None] | Secret | None = None,
        namespace: str | None = None,
        timeout: float = 30.0,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        chance: Callable[[], float] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        from lamplighter.hf.hosts import find_hosts  # noqa: PLC0415 - an import of the package should not pay for it

        self._hosts = find_hosts(base, hub)
        self._given_namespace = namespace
        self._token = token
        self._timeout = timeout
        self._pace = pace
        own = {"clock": clock, "wall": wall, "sleep": sleep, "chance": chance, "transport": transport}
        self._own: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        self._made: Calls | None = None

    @property
    def hosts(self) -> Hosts:
        """Where this talks to."""
        return self._hosts

    @property
    def is_cloud(self) -> bool:
        """Whether it talks to Hugging Face (or its stand-in) rather than to a Lamplighter of one's own."""
        return self._hosts.is_cloud

    async def close(self) -> None:
        """Close all connections."""
        if self._made is not None:
            await self._made.close()

    async def owner(self) -> Owner:
        """Whose token it is; asked once (the route is strictly rate limited)."""
        return await self._calls.owner()

    async def namespace(self, given: str | None = None) -> str:
        """`given`, or the configured one, or the token owner's name. Raises InvalidInput that says how to give one."""
        chosen = given or self._given_namespace
        if chosen == ALL:
            raise InvalidInput(f"namespace: {ALL!r} stands for all of them, which only a listing can show; name one")
        if chosen:
            return chosen
        owner = await self.owner()
        if owner.kind not in {"user", "org"}:
            raise InvalidInput(
                f"namespace: the token belongs to {owner.name!r}, which is no user but of kind {owner.kind!r}; "
                "name the namespace (--namespace, or namespace=…)",
                field="namespace",
            )
        return owner.name

    async def list(
        self, namespace: str | None = None, *, tags: Sequence[str] = (), search: str | None = None
    ) -> Endpoints:
        """All endpoints, every page. `*`: of all namespaces of the token; those without access are left out."""
        params = {"tags": ",".join(tags)} if tags else {}
        if search:
            params["search"] = search
        if (namespace or self._given_namespace) == ALL:
            return await self._list_all(params)
        return await self._list(await self.namespace(namespace), params)

    async def get(self, name: str, namespace: str | None = None) -> Endpoint:
        """One endpoint. Raises EndpointNotFound."""
        where = await self.namespace(namespace)
        return Endpoint.of(await self._json("GET", *self._at(where, name)), where)

    async def create(self, form: DeploymentForm, namespace: str | None = None) -> Endpoint:
        """Raises EndpointExists; InvalidInput, with the nearest that there is for hardware that is not offered."""
        where = await self.namespace(namespace)
        body = form.body()
        try:
            endpoint = await self.create_from(body, where)
        except InvalidInput as refused:
            await self._explain(form, where)
            raise refused from None
        if endpoint.type and endpoint.type != form.type:
            import logging  # noqa: PLC0415

            logging.getLogger(__name__).warning(
                "endpoint %s was asked for as %s and made as %s", form.name, form.type, endpoint.type
            )
        return endpoint

    async def create_from(self, body: Mapping[str, Any], namespace: str | None = None) -> Endpoint:
        """Like `create`, from the body that is sent, with whatever stands in it. Checks nothing but the name."""
        where = await self.namespace(namespace)
        wanted = Endpoint.of(body, where)
        url, _ = self._in("endpoint", where)
        asked = self._asked(name=rules.check_name(wanted.name), namespace=where, creates=True, writes=True)
        question = Question(method="POST", url=url, body=body)
        return await self._made_once(question, asked, lambda found: is_alike(found, wanted))

    async def update_from(self, name: str, body: Mapping[str, Any], namespace: str | None = None) -> Endpoint:
        """Like `update`, with the body that is sent."""
        where = await self.namespace(namespace)
        return Endpoint.of(await self._json("PUT", *self._at(where, name), body=body), where)

    async def update(self, name: str, changes: Changes, namespace: str | None = None) -> Endpoint:
        """Sends only what changes; with nothing to change nothing is sent and the endpoint is read.

        Raises InvalidInput, with the nearest that there is for hardware that is not offered.
        """
        if changes.is_empty:
            return await self.get(name, namespace)
        where = await self.namespace(namespace)
        current = await self.get(name, where) if changes.needs_current else None
        body = changes.body(current)
        try:
            return Endpoint.of(await self._json("PUT", *self._at(where, name), body=body), where)
        except InvalidInput as refused:
            if changes.moves:
                await self._explain(changes.placed(current or await self.get(name, where)), where)
            raise refused from None

    async def delete(self, name: str, namespace: str | None = None) -> None:
        """Order the deletion. The endpoint may still be shown for a moment. Raises EndpointNotFound."""
        where = await self.namespace(namespace)
        url, asked = self._at(where, name)
        question = Question(method="DELETE", url=url)
        answer = await self._calls.wire.ask(question)
        if not answer.is_success and not (answer.status == 404 and answer.repeated):
            raise await self._calls.error(answer, question, asked)

    async def pause(self, name: str, namespace: str | None = None) -> Endpoint:
        """One that is paused already is no error."""
        return await self._verb("pause", name, namespace, already="paused")

    async def resume(self, name: str, namespace: str | None = None) -> Endpoint:
        """An endpoint that runs already is no error."""
        return await self._verb("resume", name, namespace, already=None)

    async def scale_to_zero(self, name: str, namespace: str | None = None) -> Endpoint:
        """One that is scaled to zero already is no error."""
        return await self._verb("scale-to-zero", name, namespace, already="scaledToZero")

    async def replicas(self, name: str, namespace: str | None = None) -> Replicas:
        """The replicas that there are."""
        where = await self.namespace(namespace)
        body = await self._json("GET", *self._at(where, name, "/replica"))
        return [ReplicaInfo.of(item) for item in parts(body, "items")]

    async def logs(
        self,
        name: str,
        namespace: str | None = None,
        *,
        tail: int = 100,
        follow: bool = False,
        replica: str | None = None,
    ) -> AsyncGenerator[str]:
        """Lines of the engine's output; with `follow` as they come, connecting anew when the stream breaks.

        Following ends when the endpoint is gone. Close the generator (`contextlib.aclosing`) when leaving it early.
        """
        from lamplighter.hf.following import LogReader  # noqa: PLC0415

        if tail < 0:
            raise InvalidInput(f"tail: {tail} is less than 0", field="tail")
        where = await self.namespace(namespace)
        url, asked = self._at(where, name, "/logs")
        reader = LogReader(self._calls, url, asked, tail=tail, replica=replica)
        lines = reader.follow() if follow else reader.read()
        try:
            async for line in lines:
                yield line
        finally:
            await lines.aclose()

    async def metrics(self, name: str, namespace: str | None = None, *, start: str, stop: str) -> Mapping[str, Any]:
        """All graphs of a window (RFC 3339), as the API gives them. Raises Forbidden where the plan has none."""
        where = await self.namespace(namespace)
        url, asked = self._at(where, name, "/metrics")
        return _document(await self._json("POST", url, asked, body={"start": start, "stop": stop}))

    async def open_metrics(self, name: str, namespace: str | None = None) -> str:
        """The same as OpenMetrics text, as it is now. Raises Forbidden where the plan has none."""
        where = await self.namespace(namespace)
        url, asked = self._at(where, name, "/open-metrics")
        return (await self._answer("GET", url, asked)).body.decode("utf-8", "replace")

    async def hardware(self, namespace: str | None = None) -> HardwareList:
        """With the namespace's quota."""
        return await self._hardware(await self.namespace(namespace))

    async def quotas(self, namespace: str | None = None) -> Documents:
        """Per vendor and instance type: `{"vendor", "instanceType", "architecture", "maxAccelerators", "used…"}`."""
        where = await self.namespace(namespace)
        body = await self._json("GET", *self._in("provider/quotas", where))
        return [
            {"vendor": vendor.get("name"), **quota}
            for vendor in parts(body, "vendors")
            for quota in parts(vendor, "quotas")
        ]

    async def audit_logs(
        self, namespace: str | None = None, *, endpoint: str | None = None, username: str | None = None, limit: int = 20
    ) -> Documents:
        """The last `limit` entries, as the API gives them. Raises Forbidden where the plan has none."""
        where = await self.namespace(namespace)
        params = {"limit": str(limit), "endpoint": endpoint, "username": username}
        url, asked = self._in("audit-logs", where)
        body = await self._json("GET", url, asked, params={key: value for key, value in params.items() if value})
        return list(parts(body, "items"))[:limit]

    async def catalog(self, **filters: str | int) -> Documents:
        """Models with recipes. Filters: accelerator, engine, license, task, search, limit."""
        for name in filters:
            if name not in CATALOG_FILTERS:
                raise InvalidInput(f"{name}: no filter of the catalog; {rules.near(name, CATALOG_FILTERS)}", field=name)
        params = {name: str(value) for name, value in filters.items()}
        url = f"{self._hosts.catalog}/api/v1/catalog/list"
        body = await self._json("GET", url, self._asked(), params=params, secret_free=True)
        return list(parts(body, "items"))

    async def deploy_from_catalog(
        self, repository: str, *, name: str | None = None, accelerator: str | None = None, namespace: str | None = None
    ) -> Endpoint:
        """Make an endpoint by a recipe. Without a name the catalog makes one up; then nothing is asked twice."""
        where = await self.namespace(namespace)
        repository = rules.check_word_shape(repository, "repository")
        body: dict[str, Any] = {"namespace": where}
        if name is not None:
            body["config"] = {"name": rules.check_name(name)}
        if accelerator is not None:
            body["accelerator"] = rules.check_word(accelerator, rules.ACCELERATORS, "accelerator")
        url = f"{self._hosts.catalog}/api/v1/catalog/model/{quoted(repository, _SLASH)}/deploy"
        asked = self._asked(name=name, namespace=where, creates=True, writes=True)
        return await self._made_once(
            Question(method="POST", url=url, body=body), asked, lambda found: found.model.repository == repository
        )

    async def is_ready(self, endpoint: Endpoint, *, hold: float = 0.0) -> bool:
        """Whether the endpoint's health route answers 200 now.

        With `hold`, the question waits at the provider's proxy for up to that many seconds (`X-Scale-Up-Timeout`).
        Wakes nothing by itself at a Lamplighter. Raises TokenWrong, Forbidden; ProviderError where waiting is of no
        use, because the certificate can't be trusted or the address leads elsewhere.
        """
        from lamplighter.hf import dataplane  # noqa: PLC0415

        return await dataplane.is_ready(self._calls, endpoint, hold=hold)

    async def poke(self, endpoint: Endpoint) -> None:
        """Send the endpoint a request that wakes it if it is scaled to zero; does not wait for the answer's content.

        Raises EndpointPaused, TokenWrong, Forbidden, ProviderUnreachable.
        """
        from lamplighter.hf import dataplane  # noqa: PLC0415

        await dataplane.poke(self._calls, endpoint)

    async def token(self) -> Secret | None:
        """The token, for a process that is to act in this one's place."""
        return await self._find_token()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
        pace: Pace | None = None,
    ) -> Any:
        """Any other route of this API's own host: a path such as `/api/leases`. The answer's JSON, or None.

        What is not `repeatable` is only asked again when it can't have been executed.
        """
        if not path.startswith("/"):
            raise InvalidInput(f"path: {path!r} does not begin with /", field="path")
        question = Question(method=method, url=f"{self._hosts.management}{path}", body=body, params=params)
        asked = self._asked(writes=method != "GET")
        return parsed(await self._calls.answer(question, asked, repeatable=repeatable, pace=pace), self._hosts.name)

    async def post(self, path: str, body: Any, *, params: Mapping[str, str] | None = None, timeout: float) -> Answer:
        """A POST of this API's own host that works for up to `timeout` seconds: the answer as it is, a refusal, too.

        It is only asked again when it can't have been executed.
        """
        question = Question(
            method="POST", url=f"{self._hosts.management}{path}", body=body, params=params, timeout=timeout
        )
        return await self._calls.wire.ask(question, repeatable=False, pace=Pace(attempts=3, deadline=timeout))

    # What the methods above are made of.

    @property
    def _calls(self) -> Calls:
        if self._made is None:
            from lamplighter.hf.calls import Calls  # noqa: PLC0415
            from lamplighter.hf.token import cloud_token_missing  # noqa: PLC0415
            from lamplighter.hf.wire import Wire  # noqa: PLC0415

            missing = cloud_token_missing if self._hosts.is_cloud else None
            wire = Wire(
                self._hosts, self._find_token, missing=missing, timeout=self._timeout, pace=self._pace, **self._own
            )
            self._made = Calls(wire)
        return self._made

    async def _find_token(self) -> Secret | None:
        if isinstance(self._token, Secret):
            return self._token
        if self._token is not None:
            return self._token()
        from lamplighter.hf import token  # noqa: PLC0415

        if not self._hosts.is_cloud:
            return token.find_server_key()
        if found := token.look_in_environment():
            return found.secret
        import asyncio  # noqa: PLC0415

        return await asyncio.to_thread(token.find_cloud_token)  # it reads files, and may renew what is in them

    def _asked(
        self, *, name: str | None = None, namespace: str | None = None, creates: bool = False, writes: bool = False
    ) -> Asked:
        return Asked(host=self._hosts.name, name=name, namespace=namespace, creates=creates, writes=writes)

    def _in(self, kind: str, namespace: str, rest: str = "") -> tuple[str, Asked]:
        url = f"{self._hosts.management}/v2/{kind}/{segment(namespace, 'namespace')}{rest}"
        return url, self._asked(namespace=namespace)

    def _at(self, namespace: str, name: str, rest: str = "") -> tuple[str, Asked]:
        url, _ = self._in("endpoint", namespace, f"/{segment(name, 'name')}{rest}")
        return url, self._asked(name=name, namespace=namespace, writes=True)

    async def _json(self, method: str, url: str, asked: Asked, **more: Any) -> Any:
        return await self._calls.json(Question(method=method, url=url, **more), asked)

    async def _answer(self, method: str, url: str, asked: Asked, **more: Any) -> Answer:
        return await self._calls.answer(Question(method=method, url=url, **more), asked)

    async def _verb(self, verb: str, name: str, namespace: str | None, *, already: str | None) -> Endpoint:
        """`already` is the state in which there was nothing to do; None for the one that the API tells in words."""
        from lamplighter.hf.answers import is_running_already  # noqa: PLC0415

        where = await self.namespace(namespace)
        url, asked = self._at(where, name, f"/{verb}")
        question = Question(method="POST", url=url)
        answer = await self._calls.wire.ask(question)
        if answer.is_success:
            return Endpoint.of(parsed(answer, self._hosts.name), where)
        if answer.status == 400 and already is None and is_running_already(answer):
            return await self.get(name, where)
        if answer.status in {400, 409} and already is not None:
            current = await self.get(name, where)
            if current.state == already:
                return current
        raise await self._calls.error(answer, question, asked)

    async def _list(self, namespace: str, params: Mapping[str, str]) -> Endpoints:
        pages, cursor = Pages("name"), None
        url, asked = self._in("endpoint", namespace)
        while True:
            onward: dict[str, str] = {} if cursor is None else {"cursor": cursor}
            page = await self._json("GET", url, asked, params={**params, "limit": str(PAGE_SIZE), **onward})
            if (cursor := pages.take(page)) is None:
                break
        found = [Endpoint.of(item, namespace) for item in pages.items]
        if not params:
            self._calls.names[namespace] = tuple(endpoint.name for endpoint in found)
        return found

    async def _list_all(self, params: Mapping[str, str]) -> Endpoints:
        import asyncio  # noqa: PLC0415

        owner, room = await self.owner(), asyncio.Semaphore(_AT_ONCE)

        async def one(namespace: str) -> Endpoints:
            async with room:
                try:
                    return await self._list(namespace, params)
                except (NotAllowed, PaymentRequired):
                    if namespace == owner.name:
                        raise
                    return []

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(namespace)) for namespace in dict.fromkeys((owner.name, *owner.orgs))]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the others were cancelled, or say the same
        return [endpoint for task in tasks for endpoint in task.result()]

    async def _made_once(self, question: Question, asked: Asked, is_ours: Callable[[Endpoint], bool]) -> Endpoint:
        """Ask for something new. Where the answer was lost it is looked for by its name, and not made twice."""
        assert asked.namespace is not None
        if asked.name is None:
            answer = await self._calls.answer(question, asked, repeatable=False)
            return _made(parsed(answer, self._hosts.name), asked.namespace)
        url, _ = self._at(asked.namespace, asked.name)
        look = ReadingBack(self._calls.wire, Question(method="GET", url=url))
        answer = await self._calls.wire.ask(question, look_back=look)
        if answer.repeated and 400 <= answer.status < 500:  # perhaps because of itself: its name, its part of a quota
            answer = await look() or answer
        if not answer.is_success:
            raise await self._calls.error(answer, question, asked)
        try:
            endpoint = _made(parsed(answer, self._hosts.name), asked.namespace)
        except ProviderError as error:
            error.in_doubt = True
            raise
        if look.found is answer and not is_ours(endpoint):
            raise EndpointExists(asked.name, where=asked.namespace)
        return endpoint

    async def _hardware(self, namespace: str, pace: Pace | None = None) -> HardwareList:
        url, asked = self._in("provider", namespace)
        return hardware_of(await self._calls.json(Question(method="GET", url=url), asked, pace=pace, exact=True))

    async def _explain(self, wanted: Wanted, namespace: str) -> None:
        """Raise a better InvalidInput for what was refused where the hardware listing tells what is wrong with it."""
        try:
            hardware = await self._hardware(namespace, ONCE)
        except LamplighterError:
            return  # the refusal itself is raised then
        try:
            check_hardware(wanted, hardware)
        except InvalidInput as better:
            raise better from None
        except LamplighterError:
            return


def _made(body: Any, namespace: str) -> Endpoint:
    """The endpoint that a create answers; the catalog wraps it."""
    inner = part(body, "endpoint") if isinstance(body, dict) else {}
    return Endpoint.of(inner or body, namespace)


def _document(body: Any) -> Raw:
    return body if isinstance(body, dict) else {}
