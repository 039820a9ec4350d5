"""Where people are told of alarms: a webhook that takes JSON, and the services that apprise knows.

Addresses are secret (whoever has one can write there): a place has a name for logs and people, and shows nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import httpx2

from lamplighter.config.checks import is_web_url
from lamplighter.domain.bulletin import Notice
from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, LamplighterError

if TYPE_CHECKING:
    import apprise

_CONNECT_TIMEOUT = 5.0
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})


class NotDelivered(LamplighterError):
    """A notice did not arrive. `final` says that it would be refused again. Its text names no address."""

    code = "not_delivered"

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Place(Protocol):
    """Somewhere to send notices to."""

    @property
    def name(self) -> str:
        """For logs and people."""

    async def send(self, notice: Notice) -> None:
        """Send one, however long that takes; the caller sets the deadline. Raises NotDelivered."""

    async def close(self) -> None:
        """Let go of connections."""


class Webhook:
    """POSTs `{alarm, endpoint, since, text, resolved}` as JSON; any 2xx is a receipt. Follows no redirects."""

    name = "webhook"

    def __init__(self, url: Secret) -> None:
        """Raises InvalidInput, without the URL in it."""
        if not is_web_url(url.reveal()):
            raise InvalidInput("alarms.webhook: what it names is no http:// or https:// URL.", field="alarms.webhook")
        self._url = url
        self._client: httpx2.AsyncClient | None = None

    async def send(self, notice: Notice) -> None:
        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT))
        try:
            answer = await self._client.post(self._url.reveal(), json=document_of(notice))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NotDelivered(f"no answer ({type(error).__name__})") from None  # its text may hold the URL
        if not answer.is_success:
            final = answer.status_code < 500 and answer.status_code not in _WORTH_ANOTHER_TRY
            raise NotDelivered(f"it answered {answer.status_code}", final=final)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def document_of(notice: Notice) -> dict[str, Any]:
    """What a webhook gets. `since` is Unix time."""
    return {
        "alarm": notice.alarm.kind.value,
        "endpoint": notice.alarm.endpoint,
        "since": notice.alarm.since,
        "text": notice.text,
        "resolved": notice.resolved,
    }


class AppriseService:
    """One of the services that apprise knows.

    It blocks, for as long as it likes: each send has a thread of its own, which nobody waits for when its time is over.
    While one goes on, no other is begun.
    """

    def __init__(self, service: apprise.NotifyBase, name: str) -> None:
        """Use `places_of`."""
        self._service = service
        self._busy = False
        self.name = name

    async def send(self, notice: Notice) -> None:
        if self._busy:
            raise NotDelivered("the attempt before this one has not ended yet")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def tell(sent: bool) -> None:
            if not done.done():
                done.set_result(sent)

        def work() -> None:
            sent = self._notify(notice)
            self._busy = False
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, sent)

        # A daemon: a service that never answers must not keep this program from ending.
        self._busy = True
        threading.Thread(target=work, name=f"alarms: {self.name}", daemon=True).start()
        if not await done:
            raise NotDelivered("it was not taken")

    def _notify(self, notice: Notice) -> bool:
        import apprise  # noqa: PLC0415 - an extra

        kind = apprise.NotifyType.SUCCESS if notice.resolved else apprise.NotifyType.FAILURE
        try:
            return bool(self._service.notify(body=notice.text, title=f"Lamplighter: {notice.title}", notify_type=kind))
        except Exception:  # noqa: BLE001 - plug-ins of any make; their words may hold the URL
            return False

    async def close(self) -> None:
        """Nothing is kept."""


def places_of(urls: Sequence[Secret], webhook: Secret | None) -> list[Place]:
    """Make a place of each address. Raises InvalidInput that tells which one is none, without the address in it."""
    return [*([Webhook(webhook)] if webhook is not None else []), *_services_of(urls)]


def _services_of(urls: Sequence[Secret]) -> list[AppriseService]:
    """Imports apprise, where there are any: half a second."""
    if not urls:
        return []
    import apprise  # noqa: PLC0415 - an extra

    # Below that it logs addresses: those of apprise's own logger, and paths with tokens in urllib3's.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return [_service(apprise.Apprise.instantiate(url.reveal()), index) for index, url in enumerate(urls)]


def _service(made: Any, index: int) -> AppriseService:
    field = f"alarms.urls[{index}]"
    if made is None:
        text = f"{field}: what it names is no URL of a service that apprise knows (slack://…, mailto://…, ntfy://…)."
        raise InvalidInput(text, field=field)
    return AppriseService(made, f"{made.service_name or 'service'} ({field})")
