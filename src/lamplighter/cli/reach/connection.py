"""How a command talks to a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit

import msgspec

from lamplighter.cli.base.refusals import Refused, ServerSilent, ServerUnreachable, refusal
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.domain.loopback import is_loopback
from lamplighter.errors import InvalidInput

if TYPE_CHECKING:  # imported by those who connect: a tenth of a second
    import httpx2

DEFAULT_URL = "http://127.0.0.1:8470"

_CONNECT_TIMEOUT = 5.0
_ANSWER_TIMEOUT = 30.0
_COST = "/api/cost"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its text as it came, and what it says."""

    text: str
    body: dict[str, Any]

    def endpoints(self) -> list[EndpointView]:
        """The endpoints in it, by name."""
        shown = self.body.get("endpoints") or {}
        return [self._view(name, shown[name]) for name in sorted(shown)]

    def endpoint(self) -> EndpointView:
        """The one endpoint in it."""
        shown = self.body.get("endpoint") or {}
        return self._view(str(shown.get("name", "")), shown)

    def _view(self, name: str, shown: dict[str, Any]) -> EndpointView:
        try:
            return EndpointView.of(name, shown)
        except msgspec.ValidationError as error:
            raise Refused(f"the server's answer can't be read: {error}") from error


class Connection(AbstractContextManager["Connection"]):
    """A server at `url`. `key` opens it, where it wants one. Timeouts are in seconds.

    Every method raises ServerUnreachable, ServerSilent, or Refused with the server's own words.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = _ANSWER_TIMEOUT) -> None:
        import httpx2  # noqa: PLC0415

        self.url = normal_url(url)
        self._client = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
            trust_env=not is_loopback(
                urlsplit(self.url).hostname or ""
            ),  # a proxy can't know what this machine calls itself
        )

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def statuses(self) -> Reply:
        """All endpoints."""
        return self._ask("GET", "/api/endpoints/status")

    def status(self, name: str) -> Reply:
        """One endpoint."""
        return self._ask("GET", f"/api/endpoints/status/{_part(name, 'an endpoint')}")

    def begin(self, verb: Literal["wake", "sleep"], name: str) -> Reply:
        """Begin to wake or to put to sleep; answers at once."""
        return self._ask("POST", f"/api/endpoints/{verb}/{_part(name, 'an endpoint')}")

    def alarms(self) -> Reply:
        """The alarms that stand, and where they are told."""
        return self._ask("GET", "/api/alarms")

    def test_alarms(self) -> Reply:
        """Have a test message sent to every place; tells which of them took it."""
        return self._ask("POST", "/api/alarms/test")

    def create_key(self, form: Mapping[str, Any]) -> Reply:
        """Make a key; its secret is in the answer."""
        return self._ask("POST", "/api/keys", content=form)

    def keys(self) -> Reply:
        """All keys."""
        return self._ask("GET", "/api/keys")

    def revoke_key(self, name: str) -> Reply:
        """Take a key back."""
        return self._ask("DELETE", f"/api/keys/{_part(name, 'a key')}")

    def audit(self, query: Mapping[str, str]) -> Reply:
        """A page of the audit log; see `/api/audit` for the query."""
        return self._ask("GET", "/api/audit", query)

    def prices(self, query: Mapping[str, str]) -> Reply:
        """A page of the prices; see `/api/pricing` for the query."""
        return self._ask("GET", "/api/pricing", query)

    def explain_offers(self, query: Mapping[str, str]) -> Reply:
        """What requests have cost, and would have cost elsewhere; see `/api/offers/explain` for the query."""
        return self._ask("GET", "/api/offers/explain", query)

    def refresh_prices(self) -> Reply:
        """Have every source of prices asked anew; answers when each has told, or failed."""
        return self._ask("POST", "/api/pricing/refresh")

    def cost(self, query: Mapping[str, Any]) -> Reply:
        """What endpoints cost; see `/api/cost` for the query."""
        return self._ask("GET", _COST, query)

    def cost_table(self, query: Mapping[str, Any]) -> str:
        """The same as CSV."""
        with self._told():
            response = self._client.get(_COST, params={**query, "format": "csv"})
        if not response.is_success:
            raise refusal(self.url, response.status_code, response.text)
        return response.text

    def what_if(self, query: Mapping[str, Any]) -> Reply:
        """What an endpoint would have cost otherwise; see `/api/cost/what-if` for the query."""
        return self._ask("GET", f"{_COST}/what-if", query)

    def budgets(self, names: Sequence[str]) -> Reply:
        """How budgets are used: those of these names, or all."""
        return self._ask("GET", "/api/budgets", {"name": list(names)} if names else None)

    def reconcile_cost(self, bill: bytes, tolerance: str) -> Reply:
        """Compare a bill, CSV, with what was charged."""
        headers, query = {"content-type": "text/csv"}, {"tolerance": tolerance}
        with self._told():
            response = self._client.post(f"{_COST}/reconcile", params=query, content=bill, headers=headers)
        return self._read(response)

    def rebuild_cost(self, *, timeout: float) -> Reply:
        """Have everything charged anew; answers when that is done, or after `timeout` seconds not at all."""
        with self._told():
            response = self._client.post(f"{_COST}/rebuild", timeout=timeout)
        return self._read(response)

    def logs(self, name: str, *, tail: int, follow: bool) -> Iterator[str]:
        """Pieces of the engine's output, as they come; for ever with `follow`."""
        import httpx2  # noqa: PLC0415

        query = {"tail": str(tail), "follow": "true" if follow else "false"}
        timeout = httpx2.Timeout(None if follow else _ANSWER_TIMEOUT, connect=_CONNECT_TIMEOUT)
        path = f"/api/endpoints/{_part(name, 'an endpoint')}/logs"
        with self._told(), self._client.stream("GET", path, params=query, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise refusal(self.url, response.status_code, response.text)
            yield from response.iter_text()

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        content: Mapping[str, Any] | None = None,
    ) -> Reply:
        with self._told():
            response = self._client.request(method, path, params=query, json=content)
        return self._read(response)

    def _read(self, response: httpx2.Response) -> Reply:
        if not response.is_success:
            raise refusal(self.url, response.status_code, response.text)
        try:
            body = json.loads(response.text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(f"what answers at {self.url} is not a Lamplighter server")
        return Reply(response.text, body)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Word what can go wrong on the way."""
        import httpx2  # noqa: PLC0415

        try:
            yield
        except httpx2.ConnectError as error:
            raise ServerUnreachable(self.url) from error
        except httpx2.TimeoutException as error:
            raise ServerSilent(self.url) from error
        except httpx2.TransportError as error:
            raise Refused(f"the connection to {self.url} was lost: {error}") from error


def _part(name: str, whose: str) -> str:
    """A name as a part of a path. Raises InvalidInput for what would lead to another path."""
    if not name.strip():
        raise InvalidInput(f"name: it is empty; give the name of {whose}.", field="name")
    if "/" in name or "\\" in name or name.strip(".") == "":
        text = f"name: {name[:80]!r} is not the name of {whose}: none has a slash (an alias may), or dots alone."
        raise InvalidInput(text, field="name")
    return quote(name, safe="")


def normal_url(url: str) -> str:
    """Complete and check a server's address. Raises InvalidInput."""
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(f"--server: {url!r} is no address of a server; one looks like {DEFAULT_URL}", field="server")
    if parts.username or parts.password:
        raise InvalidInput("--server: a key has no place in an address; put it into LAMPLIGHTER_KEY", field="server")
    return whole.rstrip("/")
