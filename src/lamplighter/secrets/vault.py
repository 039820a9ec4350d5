"""A client of HashiCorp Vault, or of OpenBao: reading KV version 2, tokens, AppRole logins, renewals.

Our own, over httpx2: five routes are all that is needed. The package `hvac` would bring `requests`, has no types,
bounds each read of a socket but not the whole of a question, and puts what a Vault says into its errors as it is.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from lamplighter.domain.secret import Secret
from lamplighter.secrets.places import VaultPlace
from lamplighter.secrets.problems import SecretForbidden, SourceDown, SourceUnfit
from lamplighter.secrets.vault_answers import Answer, grant_of, is_sendable, lease_of, refused, value_of

DEADLINE = 10.0
"""One question, from the first look-up of a name to the last byte of the answer (seconds)."""
_MOST = 1_000_000
_REDIRECTS = 3
_RENEW_AT = 2 / 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """Where the Vault is, and who asks. `token` comes first, then the AppRole login."""

    address: str
    namespace: str | None = None
    token: Secret | None = None
    role_id: str | None = None
    secret_id: Secret | None = None
    approle_mount: str = "approle"
    ca_file: Path | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], secret_of: Callable[[str, str], Secret | None]) -> VaultSettings:
        """What the environment says, in the names that Vault's own tools have. Raises SourceUnfit.

        `secret_of(name, value)` makes a secret of a variable's value, which may be a place as well.
        """

        def said(name: str) -> str | None:
            return environ.get(name, "").strip() or None

        for name in _SENT:
            _check_sent(name, said(name))
        address = said("VAULT_ADDR")
        if address is None:
            raise SourceUnfit("VAULT_ADDR is not set: it says where the Vault is, as in https://vault.example.com:8200")
        ca_file = said("VAULT_CACERT")
        token = secret_of("VAULT_TOKEN", said("VAULT_TOKEN") or "") or (_login(environ) if not said(_ROLE) else None)
        secret_id = secret_of("VAULT_SECRET_ID", said("VAULT_SECRET_ID") or "")
        for name, secret in (("VAULT_TOKEN", token), ("VAULT_SECRET_ID", secret_id)):
            _check_sent(name, secret.reveal() if secret is not None else None)
        return cls(
            address=_checked(address),
            namespace=said("VAULT_NAMESPACE"),
            token=token,
            role_id=said(_ROLE),
            secret_id=secret_id,
            approle_mount=(said("VAULT_APPROLE_MOUNT") or "approle").strip("/"),
            ca_file=Path(ca_file) if ca_file else None,
        )


_ROLE = "VAULT_ROLE_ID"
_SENT = (_ROLE, "VAULT_NAMESPACE", "VAULT_APPROLE_MOUNT")


def _check_sent(name: str, value: str | None) -> None:
    """Raises SourceUnfit for what can't be sent as it is; it does not repeat the value."""
    if value is not None and not is_sendable(value):
        raise SourceUnfit(f"{name} holds what none does: letters, digits and signs of ASCII alone, and no line break")


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise SourceUnfit("VAULT_ADDR should be a URL without user or query, as in https://vault.example.com:8200")
    return address.rstrip("/")


def _login(environ: Mapping[str, str]) -> Secret | None:
    """The token that `vault login` wrote."""
    try:
        text = (Path(environ.get("HOME") or "~").expanduser() / ".vault-token").read_text("utf-8").strip()
    except (OSError, ValueError, RuntimeError):
        return None
    return Secret(text) if text else None


class Vault:
    """One Vault. Every public method but `due` blocks, for two deadlines at most; for use by several threads."""

    def __init__(
        self, settings: VaultSettings, *, deadline: float = DEADLINE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._deadline = deadline
        self._clock = clock
        self._turn = threading.Lock()
        self._token = settings.token
        self._first_lease = 0.0
        self._ends: float | None = None
        self._due: float | None = None
        self._was_used = False
        self._looked_up = False

    @property
    def where(self) -> str:
        """For people."""
        return f"the Vault at {self.settings.address}"

    def read(self, place: VaultPlace) -> Secret:
        """Raises SecretMissing, SecretForbidden, SourceLocked, SourceDown, SourceUnfit."""
        with self._turn:
            secret = self._run(lambda link: self._read(link, place))
            self._was_used = True
            return secret

    def due(self) -> float | None:
        """When `renew` is to be called, on the clock; None: nothing needs it."""
        if not self._was_used:
            return None
        return self._due if self._looked_up or self._logs_in else self._clock()

    def renew(self) -> None:
        """Make the token last longer; where that can't be, log in anew. Raises SecretError: then try again soon."""
        with self._turn:
            self._run(self._renew)

    @property
    def _logs_in(self) -> bool:
        return self.settings.token is None

    async def _read(self, link: _Link, place: VaultPlace) -> Secret:
        token = await self._own_token(link)
        version = f"?version={place.version}" if place.version else ""
        path = f"{quote(place.mount)}/data/{quote(place.path)}{version}"
        answer = await link.ask("GET", path, token=token)
        if answer.status == 403 and self._logs_in and not link.is_fresh:  # it may have been revoked before its time
            answer = await link.ask("GET", path, token=await self._log_in(link))
        if answer.status == 404 and answer.part("data") is None:
            await self._check_engine(link, place)
        return value_of(answer, place, self.where)

    async def _check_engine(self, link: _Link, place: VaultPlace) -> None:
        """What is not found may be in an engine of version 1, or there is none: worth another question."""
        assert self._token is not None
        answer = await link.ask("GET", f"sys/internal/ui/mounts/{quote(place.mount)}", token=self._token)
        version = answer.part("data", "options", "version")
        if answer.status == 200 and answer.part("data", "type") in ("kv", "generic") and version != "2":
            raise SourceUnfit(f"{place.mount} at {self.where} is a KV engine of version 1; version 2 is needed")

    async def _own_token(self, link: _Link) -> Secret:
        expired = self._ends is not None and self._clock() >= self._ends
        if self._token is None or (expired and self._logs_in):
            return await self._log_in(link)
        return self._token

    async def _log_in(self, link: _Link) -> Secret:
        settings = self.settings
        if settings.role_id is None:
            raise SourceUnfit(
                f"there is no token for {self.where}: set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID"
            )
        body = {"role_id": settings.role_id}
        if settings.secret_id is not None:  # a role may do without
            body["secret_id"] = settings.secret_id.reveal()
        answer = await link.ask("POST", f"auth/{quote(settings.approle_mount)}/login", body=body)
        grant = grant_of(answer, self.where)
        link.is_fresh = True
        self._token, self._first_lease = grant.token, grant.lease
        self._lasts(grant.lease, renewable=True)  # where it is not renewable, it is logged in anew
        return grant.token

    async def _renew(self, link: _Link) -> None:
        if not self._logs_in and not self._looked_up:
            await self._look_up(link)
            return
        answer = await link.ask("POST", "auth/token/renew-self", token=await self._own_token(link), body={})
        if link.is_fresh:
            return
        lease = answer.part("auth", "lease_duration") if answer.status == 200 else None
        length = float(lease) if isinstance(lease, int | float) else 0.0
        if length and length * 2 >= self._first_lease:  # less: it nears its longest time
            self._lasts(length, renewable=True)
        elif self._logs_in and answer.status in (200, 400, 403):
            await self._log_in(link)
        elif answer.status != 200:
            raise refused(answer, self.where, "renew itself")
        else:
            self._lasts(length, renewable=False)
            raise SecretForbidden(f"the token for {self.where} nears its longest time: it ends in {length:.0f} s")

    async def _look_up(self, link: _Link) -> None:
        """Ask how long the token lasts that was given to us."""
        assert self._token is not None
        answer = await link.ask("GET", "auth/token/lookup-self", token=self._token)
        self._looked_up = answer.status in (200, 403)  # one that may not look will not later, either
        lease, renewable = lease_of(answer, self.where)
        self._first_lease = lease
        self._lasts(lease, renewable=renewable)

    def _lasts(self, lease: float, *, renewable: bool) -> None:
        now = self._clock()
        self._ends = now + lease if lease else None
        self._due = now + lease * _RENEW_AT if lease and renewable else None

    def _run(self, work: Callable[[_Link], Awaitable[T]]) -> T:
        """Do it in a thread and a loop of its own.

        A deadline for the whole is an event loop's, and callers have none, or one that must not wait.
        """

        async def whole() -> T:
            try:
                async with asyncio.timeout(2 * self._deadline), _Link(self.settings, self._deadline) as link:
                    return await work(link)
            except TimeoutError:
                raise SourceDown(f"{self.where} did not answer within {2 * self._deadline:g} s") from None

        with ThreadPoolExecutor(1, thread_name_prefix="vault") as thread:
            return thread.submit(asyncio.run, whole()).result()


class _Link:
    """Connections to a Vault, for one question and those that follow from it."""

    def __init__(self, settings: VaultSettings, deadline: float) -> None:
        self._settings = settings
        self._deadline = deadline
        self._client: httpx2.AsyncClient
        self.is_fresh = False
        """Whether the token was made within this question."""

    async def __aenter__(self) -> Self:
        self._client = httpx2.AsyncClient(timeout=self._deadline, verify=_tls(self._settings))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask within the deadline. Raises SourceDown."""
        where = f"the Vault at {self._settings.address}"
        try:
            async with asyncio.timeout(self._deadline):
                return await self._follow(method, f"{self._settings.address}/v1/{path}", token, body)
        except (TimeoutError, httpx2.TimeoutException):
            raise SourceDown(f"{where} did not answer within {self._deadline:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SourceDown(f"{where} can't be reached ({type(error).__name__})") from None

    async def _follow(self, method: str, url: str, token: Secret | None, body: Mapping[str, str] | None) -> Answer:
        """A standby sends to the active one (307). The token goes along, but never from https to http."""
        for _ in range(_REDIRECTS):
            async with self._client.stream(method, url, headers=self._headers(token), json=body) as response:
                location = response.headers.get("location", "")
                if response.status_code not in (307, 308) or not location:
                    status = response.status_code
                    return Answer(status, self._read(status, await _text(response), token))
                url = _next(url, location)
        raise SourceDown(f"the Vault at {self._settings.address} sends from one to another without end")

    def _read(self, status: int, text: str, token: Secret | None) -> object:
        """The JSON of an answer; of a refusal without what we know to be secret, because its words are told."""
        if status >= 400:
            for secret in (self._settings.token, self._settings.secret_id, token):
                text = secret.scrub(text) if secret is not None else text
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

    def _headers(self, token: Secret | None) -> dict[str, str]:
        headers = {"X-Vault-Request": "true"}  # an agent before it may want to know that no page sends this
        if self._settings.namespace:
            headers["X-Vault-Namespace"] = self._settings.namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        return headers


def _next(url: str, location: str) -> str:
    following = urljoin(url, location)
    scheme = urlsplit(following).scheme
    if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
        raise SecretForbidden("the Vault sends to an address that a token must not go to")
    return following


async def _text(response: httpx2.Response) -> str:
    """The body, of which no more is read than any Vault sends; what is cut is no JSON any more."""
    text = b""
    async for part in response.aiter_bytes():
        text += part
        if len(text) > _MOST:
            break
    return text.decode("utf-8", "replace")


def _tls(settings: VaultSettings) -> ssl.SSLContext:
    if not settings.address.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, should a redirect lead to https
    if settings.ca_file is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError):
        raise SourceUnfit(f"VAULT_CACERT: {settings.ca_file} can't be read, or holds no certificate") from None
