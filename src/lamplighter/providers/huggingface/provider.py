"""The verbs of a provider, over the management API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from time import monotonic

import structlog

from lamplighter.domain.endpoint import ASLEEP, BROKEN, Making, Replica, Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.money import BillingRule
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    Conflict,
    EndpointNotFound,
    InvalidInput,
    LamplighterError,
    NotAllowed,
    ProviderError,
    ProviderUnreachable,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.creating import is_alike
from lamplighter.hf.records import Endpoint
from lamplighter.providers.base import Capabilities, OnChange
from lamplighter.providers.huggingface import documents, reading
from lamplighter.providers.huggingface.backstop import LEAST_IS_ZERO, needed_changes
from lamplighter.providers.huggingface.known import Known
from lamplighter.providers.huggingface.options import Options
from lamplighter.providers.huggingface.places import Place, Places, is_own, may_make
from lamplighter.providers.huggingface.vigil import Vigils

log = structlog.get_logger("lamplighter.providers.huggingface")

OPENING = 10.0
"""How long a start of the server waits for the management API; what is not known then is found by looking (seconds)."""

GONE = 20.0
"""How long a deleted endpoint may still be shown before the delete counts as failed (seconds)."""

DOUBT = 60.0
"""After a create without an answer, how long an endpoint that is not shown may still come (seconds)."""

_GONE_LOOK = 1.0
_UP_FROM = ASLEEP | BROKEN
_BILLING = BillingRule(billed=frozenset({State.INITIALIZING, State.RUNNING}), step=60.0)
"""Replicas are billed by the minute while the endpoint is initializing or running (Hugging Face: pricing)."""


class SameEndpoint(InvalidInput):
    """Two names for one endpoint: nobody but who wrote them can mend that."""


class NotShownYet(ProviderUnreachable):
    """No answer came to its making, and it is not there; it is too early to say that it will not come."""


class HuggingFaceProvider:
    """Endpoints that stand at Hugging Face are adopted: they are woken, put to sleep, and left there.

    Only what was made over our own management API is deleted there. Nothing ends with `close`: the provider's own timer
    covers a server that is gone. `token` is asked at each call; the API's hosts tell where it may go.
    """

    def __init__(
        self,
        api: ManagementApi,
        *,
        token: Callable[[], Secret | None],
        options: Options,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self._api = api
        self._token = token
        self._options = options
        self._capabilities = Capabilities(
            resources=dict(resources or {}),
            deploys=True,
            pauses=True,
            keeps=True,
            look_every=options.look_every,
            billing=_BILLING,
        )
        self._places = Places(api, options.namespace)
        self._known: dict[str, Known] = {}
        self._on_change: OnChange = lambda _name: None
        self._vigils = Vigils(api, self._tell)
        self._opening = False
        self._unreachable = False
        self._asking = asyncio.Lock()
        self._listed: tuple[float, Sequence[Hardware]] | None = None  # with the monotonic moment of the answer

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def open(self, on_change: OnChange) -> None:
        """Look for the token, and ask nobody. Raises TokenMissing, TokenWrong."""
        await asyncio.to_thread(self._token)
        self._on_change = on_change
        self._opening, self._unreachable = True, False

    async def close(self, *, leave_running: bool = False) -> None:
        """End our own work; the endpoints go on, whatever is asked."""
        del leave_running
        await self._vigils.close()
        await self._api.close()
        self._known.clear()

    async def create(self, spec: Spec) -> Status:
        """Adopt the endpoint that is there. What was asked for over our own management API is made.

        One that is missing and may be made (`create: if-missing`) is made by its first wake. While the API can't be
        asked, the state is unknown. Raises InvalidInput for one that is missing, EndpointExists for one that is not
        new, and what the API raises. While the server starts, only a mistake of the configuration is raised.
        """
        if spec.name in self._known:
            return await self.update(spec)
        known = Known(spec)
        if is_own(spec) and not self._opening and spec.making is not Making.DOUBTFUL:
            return await (self._make_new(known) if spec.making is Making.NEW else self._bring_back(known))
        if spec.making is Making.DOUBTFUL:
            self._begin_doubt(known)
        status = await self._adopt(known)
        self._known[spec.name] = known
        return status

    async def end_orphans(self) -> list[str]:
        """Nothing here is an orphan; says that the server's start is over."""
        self._opening = False
        return []

    async def update(self, spec: Spec) -> Status:
        """Take another spec: a policy at once, another endpoint when this one is asleep.

        What was made over our own management API is changed where it is. Raises Conflict, InvalidInput, and what the
        API raises.
        """
        known = self._find(spec.name)
        if is_own(known.spec) and is_own(spec):
            return await self._change_own(known, spec)
        if not spec.same_place(known.spec):
            await self._move(known, spec)
        else:
            known.take(spec)
        return await self._look(known)

    async def delete(self, name: str) -> None:
        """Forget an endpoint. Only one that was made over our own management API is deleted at the provider, too."""
        known = self._find(name)
        self._vigils.end(name)
        if is_own(known.spec) and await self._is_ours(known):
            await self._delete_there(known)
        self._known.pop(name, None)

    async def observe(self, name: str) -> Status:
        return await self._look(self._find(name))

    async def wake(self, name: str) -> None:
        known = self._find(name)
        endpoint = await self._read_if_there(known)
        if endpoint is None:
            endpoint = await self._make(known)
        if reading.state_of(endpoint) in _UP_FROM:
            endpoint = await self._set_backstop(known, endpoint)
        if reading.state_of(endpoint) in _UP_FROM:
            endpoint = await self._bring_up(endpoint)
        if not known.known_ready(endpoint):
            self._watch(known, endpoint)
            if endpoint.url is not None:
                self._vigils.begin(name, endpoint)

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        known = self._find(name)
        self._vigils.end(name)
        endpoint = await self._read_if_there(known)
        if endpoint is None:
            known.unmade = into
        if endpoint is None or reading.state_of(endpoint) is into:
            return
        if into is State.PAUSED:
            await self._api.pause(endpoint.name, endpoint.namespace)
        else:
            await self._scale_to_zero(known, endpoint)

    async def hardware(self) -> Sequence[Hardware]:
        """What there is. Who comes while somebody else asks, as at the start of a server, is given the same answer."""
        came = monotonic()
        async with self._asking:
            if self._listed is None or self._listed[0] < came:
                self._listed = None
                found = await self._api.hardware(self._options.namespace)
                self._listed = monotonic(), found
            return self._listed[1]

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        """Yield lines as the provider keeps them; it has none of an endpoint that is asleep."""
        place = await self._place(self._find(name))
        async with aclosing(self._api.logs(place.name, place.namespace, tail=tail, follow=follow)) as lines:
            async for line in lines:
                yield line

    def _tell(self, name: str) -> None:
        self._on_change(name)

    # Finding and making.

    def _find(self, name: str) -> Known:
        try:
            return self._known[name]
        except KeyError:
            raise EndpointNotFound(name, self._known) from None

    async def _adopt(self, known: Known) -> Status:
        """Find what is there; that the API can't be asked now keeps no server from starting."""
        if self._opening and self._unreachable:
            return _not_asked("the management API could not be asked")
        try:
            async with asyncio.timeout(OPENING if self._opening else None):
                return await self._first_look(known)
        except SameEndpoint:
            raise
        except (LamplighterError, TimeoutError) as error:
            if not self._opening:
                raise
            self._unreachable = isinstance(error, ProviderError | TimeoutError) and not isinstance(error, NotShownYet)
            text = str(error) or f"no answer in {OPENING:g} s"
            log.warning("state unknown: the management API can't be asked", endpoint=known.spec.name, error=text)
            return _not_asked(text)

    async def _first_look(self, known: Known) -> Status:
        try:
            return await self._look(known)
        except EndpointNotFound:
            if self._opening and is_own(known.spec):
                return _not_asked("it is not there any more")  # the controller will say so: it was deleted elsewhere
            missing = await self._places.missing(known.spec, known.place)
            if not self._opening:
                raise missing from None
            # Somebody may have deleted it since: the other endpoints of this server must not wait for that.
            log.error("missing", endpoint=known.spec.name, error=missing.message)  # noqa: TRY400 - a user's mistake
            return _not_asked(missing.message)

    async def _place(self, known: Known) -> Place:
        if known.place is None:
            place = await self._places.place_of(known.spec)
            for other in self._known.values():
                if other.spec.name != known.spec.name and other.place == place:
                    names = f"endpoints.{known.spec.name} and endpoints.{other.spec.name}"
                    raise SameEndpoint(f"{names} are the same endpoint, {place}; give one of them an alias instead.")
            known.place = place
        return known.place

    async def _read(self, known: Known) -> Endpoint:
        place = await self._place(known)
        try:
            endpoint = await self._api.get(place.name, place.namespace)
        except EndpointNotFound:
            if _now() < (known.doubted_until or 0.0):
                raise NotShownYet(
                    f"no answer came to the making of {place}; it is looked for, and not there yet"
                ) from None
            raise
        if known.doubted_until is not None:
            self._recognise(known, place, endpoint)
        return endpoint

    async def _read_if_there(self, known: Known) -> Endpoint | None:
        """None where it is missing, and may be made. Raises EndpointNotFound where it is only missing."""
        try:
            return await self._read(known)
        except EndpointNotFound:
            if may_make(known.spec):
                return None
            raise

    async def _make_new(self, known: Known) -> Status:
        """Make it. Where no answer comes it may be there all the same: it is known from before the question."""
        await self._place(known)
        self._known[known.spec.name] = known
        try:
            endpoint = await self._make(known)
        except LamplighterError as error:
            if error.in_doubt:
                self._begin_doubt(known)
            else:
                del self._known[known.spec.name]
            raise
        except asyncio.CancelledError:
            self._begin_doubt(known)
            raise
        return await self._first_status(known, endpoint)

    async def _bring_back(self, known: Known) -> Status:
        """Adopt what was made earlier, and make it be as it is to be now; make it where it is gone."""
        place, spec = await self._place(known), known.spec
        try:
            await self._api.get(place.name, place.namespace)
        except EndpointNotFound:
            return await self._make_new(known)
        assert spec.deployment is not None
        body = documents.body_of(spec.deployment, name=place.name, policy=spec.policy)
        endpoint = await self._api.update_from(place.name, documents.change_between({}, body), place.namespace)
        self._known[spec.name] = known
        return await self._first_status(known, endpoint)

    async def _first_status(self, known: Known, endpoint: Endpoint) -> Status:
        """How it is. What is made is made, whatever its health route is asked in vain."""
        try:
            return await self._status(known, endpoint)
        except LamplighterError as error:
            return _not_asked(error.message)

    def _begin_doubt(self, known: Known) -> None:
        known.doubted_until = _now() + DOUBT

    def _recognise(self, known: Known, place: Place, endpoint: Endpoint) -> None:
        """End a doubt. Raises EndpointNotFound where another endpoint has the name: that one is not ours to touch."""
        assert known.spec.deployment is not None
        body = documents.body_of(known.spec.deployment, name=place.name, policy=known.spec.policy)
        if not is_alike(endpoint, Endpoint.of(body, place.namespace)):
            log.warning("another endpoint has the name", endpoint=known.spec.name, place=str(place))
            raise EndpointNotFound(place.name, (), where=f"namespace {place.namespace!r}")
        log.info("found: its making worked", endpoint=known.spec.name, place=str(place))
        known.doubted_until = None

    async def _is_ours(self, known: Known) -> bool:
        """Whether it may be deleted: one whose making got no answer has to be found first."""
        if known.doubted_until is None:
            return True
        try:
            await self._read(known)
        except EndpointNotFound:
            return False
        return True

    async def _make(self, known: Known) -> Endpoint:
        place, spec = await self._place(known), known.spec
        assert spec.deployment is not None
        body = documents.body_of(spec.deployment, name=place.name, policy=spec.policy)
        log.info("making endpoint", endpoint=spec.name, place=str(place))
        return await self._api.create_from(body, place.namespace)

    async def _change_own(self, known: Known, spec: Spec) -> Status:
        place = await self._place(known)
        assert known.spec.deployment is not None
        assert spec.deployment is not None
        after = documents.body_of(spec.deployment, name=place.name, policy=spec.policy)
        if known.unsure:
            found = await self._api.get(place.name, place.namespace)
            change = documents.whole_change(found.raw, after)
        else:
            before = documents.body_of(known.spec.deployment, name=place.name, policy=known.spec.policy)
            change = documents.change_between(before, after)
        if change:
            await self._send_change(known, place, change)
        known.take(spec)
        try:
            return await self._look(known)
        except LamplighterError as error:  # what was taken is taken; how it is now, the next look tells
            return _not_asked(error.message)

    async def _send_change(self, known: Known, place: Place, change: Mapping[str, object]) -> None:
        """Anything but a clear no leaves open whether it was done: the next change takes nothing for known."""
        try:
            await self._api.update_from(place.name, change, place.namespace)
        except BaseException as error:
            refused = isinstance(error, LamplighterError) and not isinstance(error, ProviderError)
            known.unsure = known.unsure or not refused or (isinstance(error, LamplighterError) and error.in_doubt)
            raise
        known.unsure = False

    async def _move(self, known: Known, spec: Spec) -> None:
        """Turn from one endpoint to another one. The old one must not be left running with nobody to look after it."""
        if await self._is_same(known, spec):
            known.take(spec)
            return
        try:
            endpoint: Endpoint | None = await self._read(known)
        except EndpointNotFound:
            endpoint = None
        if endpoint is not None and reading.state_of(endpoint) not in ASLEEP:
            raise Conflict(f"Endpoint {known.place} is {endpoint.state}; it has to be asleep to be left for another.")
        following = Known(spec)
        try:
            await self._read(following)
        except EndpointNotFound:
            if not may_make(spec):
                raise await self._places.missing(spec, following.place) from None
        self._vigils.end(spec.name)
        known.take(spec)

    async def _is_same(self, known: Known, spec: Spec) -> bool:
        """Whether other words lead to the endpoint that we have."""
        try:
            return await self._places.place_of(spec) == await self._place(known)
        except EndpointNotFound:
            return False

    async def _delete_there(self, known: Known) -> None:
        """Delete, and wait until it is gone: a name that is still there can't be used again."""
        place = await self._place(known)
        try:
            await self._api.delete(place.name, place.namespace)
            async with asyncio.timeout(GONE):
                while True:
                    await self._api.get(place.name, place.namespace)
                    await asyncio.sleep(_GONE_LOOK)
        except EndpointNotFound:
            return
        except TimeoutError:
            raise ProviderError(f"{place} was deleted, and is still shown {GONE:g} s later.") from None

    # Looking.

    async def _look(self, known: Known) -> Status:
        known.begin_look(asyncio.get_running_loop().time(), self._options.look_every)
        try:
            endpoint = await self._read_if_there(known)
        except EndpointNotFound:
            self._vigils.end(known.spec.name)
            raise
        if endpoint is None:
            self._vigils.end(known.spec.name)
            how = "a request makes it" if known.unmade is State.SCALED_TO_ZERO else "it is made when it is resumed"
            return Status(state=known.unmade, message=f"{known.place} is not there; {how}")
        return await self._status(known, endpoint)

    async def _status(self, known: Known, endpoint: Endpoint) -> Status:
        ready, note = await self._is_ready(known, endpoint)
        starting = reading.state_of(endpoint) in reading.COMES_UP or reading.may_answer(endpoint)
        if starting and not ready:
            self._watch(known, endpoint)
        else:
            self._vigils.end(known.spec.name)
        replicas = self._replicas(known, endpoint) if ready else ()
        if replicas:
            self._warn_without_backstop(known, endpoint)
        return reading.status_of(endpoint, replicas, note)

    def _watch(self, known: Known, endpoint: Endpoint) -> None:
        """Wait at a starting endpoint for the end of its start, once it has an address."""
        if endpoint.url is not None:
            self._vigils.begin(known.spec.name, endpoint)

    async def _is_ready(self, known: Known, endpoint: Endpoint) -> tuple[bool, str | None]:
        """Whether it answers, and what is to be said of that. It is asked as seldom as can be: asking counts as use."""
        if not reading.may_answer(endpoint):
            known.note_ready(endpoint, ready=False)
            return False, None
        if known.known_ready(endpoint):
            return True, None
        try:
            ready = await self._api.is_ready(endpoint)
        except NotAllowed as error:  # the proxy speaks for it; requests are let through, and told the same
            if known.is_news_refusal(error.message):
                log.warning("the token may not call the endpoint", endpoint=known.spec.name, error=error.message)
            return True, f"requests are refused: {error.message}"
        known.note_ready(endpoint, ready=ready)
        return ready, None

    def _replicas(self, known: Known, endpoint: Endpoint) -> tuple[Replica, ...]:
        """Where requests go; the token goes with them only where it may be seen."""
        own = tuple(known.spec.engine.headers.items())
        if endpoint.url is not None and self._api.hosts.may_see_token(endpoint.url) and (token := self._token()):
            own = (("authorization", f"Bearer {token.reveal()}"), *own)
        return reading.replicas_of(endpoint, known.spec.replicas, own)

    # Waking and sleeping.

    async def _bring_up(self, endpoint: Endpoint) -> Endpoint:
        if reading.state_of(endpoint) is not State.SCALED_TO_ZERO:
            return await self._api.resume(endpoint.name, endpoint.namespace)
        try:
            endpoint = await self._api.resume(endpoint.name, endpoint.namespace)
        except (InvalidInput, Conflict) as error:
            log.debug("not resumed from zero; a request will do it", endpoint=endpoint.name, error=error.message)
        if reading.state_of(endpoint) is State.SCALED_TO_ZERO:
            await self._api.poke(endpoint)
        return endpoint

    async def _scale_to_zero(self, known: Known, endpoint: Endpoint) -> None:
        """It can be at zero only where none is the least; its own timer is set when it can't disturb any more."""
        if endpoint.compute.scaling.min_replica > 0:
            changes = needed_changes(endpoint.compute.scaling, known.spec.policy) or LEAST_IS_ZERO
            await self._api.update(endpoint.name, changes, endpoint.namespace)
        endpoint = await self._api.scale_to_zero(endpoint.name, endpoint.namespace)
        if reading.state_of(endpoint) in ASLEEP:
            await self._set_backstop(known, endpoint)

    async def _set_backstop(self, known: Known, endpoint: Endpoint) -> Endpoint:
        """Set the provider's own timer where it differs. That it can't be set keeps nobody from waking or sleeping."""
        changes = needed_changes(endpoint.compute.scaling, known.spec.policy)
        if changes is None:
            return endpoint
        try:
            return await self._api.update(endpoint.name, changes, endpoint.namespace)
        except LamplighterError as error:
            log.warning("the provider's own timer was not set", endpoint=known.spec.name, error=error.message)
            return endpoint

    def _warn_without_backstop(self, known: Known, endpoint: Endpoint) -> None:
        changes = needed_changes(endpoint.compute.scaling, known.spec.policy)
        if known.is_news(changes):
            log.warning(
                "it runs without the provider's own timer behind it; that is set at the next sleep",
                endpoint=known.spec.name,
                minutes=endpoint.compute.scaling.scale_to_zero_timeout,
            )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _not_asked(text: str) -> Status:
    return Status(state=None, message=text)
