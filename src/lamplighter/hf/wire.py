"""One question over HTTP, asked again where that may help. Here every failure of the HTTP library gets our own name."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import httpx2

from lamplighter import __version__
from lamplighter.domain.loopback import is_loopback
from lamplighter.domain.secret import Secret
from lamplighter.errors import ProviderError, ProviderTimeout, ProviderUnreachable, TokenMissing
from lamplighter.hf.answers import speaks_of_capacity
from lamplighter.hf.exchange import MOST_BYTES, Answer, Question
from lamplighter.hf.hosts import Hosts, host_of, is_usable, same_origin
from lamplighter.hf.pace import RETRIED, Pace, told_wait
from lamplighter.hf.token import checked

log = logging.getLogger(__name__)

MOST_REDIRECTS = 3
_CONNECT_TIMEOUT = 10.0
_HEADERS = {
    "User-Agent": f"lamplighter/{__version__}",
    "Accept": "application/json, text/plain;q=0.9, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
}
_REFUSED_HERE = 3
_PATIENCE = 3.0  # seconds that may pass without a word
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)

TokenSource = Callable[[], Awaitable[Secret | None]]
Sleep = Callable[[float], Awaitable[None]]


class Lost(ProviderUnreachable):
    """No whole answer came. `sent`: the question may have been read, and acted on; `lasting`: so it will be again."""

    def __init__(self, message: str, *, sent: bool, lasting: bool = False) -> None:
        super().__init__(message, permanent=lasting)
        self.sent = sent


class Late(Lost, ProviderTimeout):
    """No whole answer came in time."""


LookBack = Callable[[], Awaitable[Answer | None]]
"""Asked before a repetition, when an earlier attempt may have been executed; what it answers ends the asking."""


class Wire:
    """Asks questions of the hosts that it was made for; the token goes to no others.

    `missing` makes the error for a token that is needed and not there; None lets the host say so. `clock` is
    monotonic, `wall` is Unix time, `chance` gives numbers from 0 to 1. Used by one event loop at a time.
    """

    def __init__(
        self,
        hosts: Hosts,
        token: TokenSource,
        *,
        missing: Callable[[], TokenMissing] | None,
        timeout: float,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.hosts = hosts
        self.pace = pace
        self.timeout = timeout
        self.clock = clock
        self.sleep = sleep
        self.chance = chance
        self._wall = wall
        self._token = token
        self._missing = missing
        self._transport = transport
        self._clients: dict[tuple[bool, bool], httpx2.AsyncClient] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close all connections; a question that is asked afterwards opens new ones."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def token_for(self, url: str) -> Secret | None:
        """The token, if there is one and `url` may see it. Raises TokenWrong for a text that can't be a token."""
        if not self.hosts.may_see_token(url):
            return None
        token = await self._token()
        return checked(token.reveal(), "The token that was given") if token is not None else None

    async def ask(
        self,
        question: Question,
        *,
        pace: Pace | None = None,
        look_back: LookBack | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Ask until there is an answer that asking again would not change, or `pace` gives up.

        `look_back`: see LookBack. What is not `repeatable` is only asked again when it can't have been executed.
        Raises ProviderUnreachable when no answer came, ProviderTimeout when it was too late, TokenMissing, TokenWrong.
        """
        patience = self.pace if pace is None else pace
        began, attempt, doubtful = self.clock(), 0, False
        while True:
            attempt += 1
            left = max(1.0, patience.deadline - (self.clock() - began))
            answer, lost = await self._attempt(question, left)
            if answer is not None and _is_final(answer):
                return replace(answer, repeated=doubtful)
            doubtful = doubtful or (lost.sent if lost is not None else answer is not None and answer.status != 429)
            pause = self._pause(patience, attempt, began, answer, lost) if repeatable or not doubtful else None
            if pause is not None:
                self._tell(self.clock() - began, pause, answer, lost)
                await self.sleep(pause)
            if doubtful and look_back is not None and (found := await look_back()) is not None:
                return found
            if pause is None:
                return _last(question, answer, lost, doubtful=doubtful)

    def _tell(self, spent: float, pause: float, answer: Answer | None, lost: Lost | None) -> None:
        """Say why it takes so long, once it does; what a first repetition mends is nobody's concern."""
        if spent + pause >= _PATIENCE:
            said = f"{host_of(self.hosts.management)} answered {answer.status}" if answer is not None else str(lost)
            log.info("%s; asking again in %.0f s", said.rstrip("."), max(1.0, pause))

    def _pause(self, pace: Pace, attempt: int, began: float, answer: Answer | None, lost: Lost | None) -> float | None:
        if lost is not None and (lost.permanent or (attempt >= _REFUSED_HERE and self._nobody_here(lost))):
            return None
        told = answer.wait if answer is not None else None
        return pace.pause(attempt, spent=self.clock() - began, chance=self.chance(), told=told)

    def _nobody_here(self, lost: Lost) -> bool:
        """Whether a connection to this machine was refused: then there is no server, and no use in patience."""
        return not lost.sent and is_loopback(urlsplit(self.hosts.management).hostname or "")

    async def _attempt(self, question: Question, left: float) -> tuple[Answer | None, Lost | None]:
        try:
            return await self.once(question, timeout=min(left, question.timeout or self.timeout)), None
        except Lost as lost:
            return None, lost

    async def once(self, question: Question, *, timeout: float) -> Answer:
        """Ask once, following redirects within the same origin. Raises Lost, TokenMissing, TokenWrong."""
        async with self._sent(question, timeout, body_timeout=timeout) as response:
            body = await _read_all(response, question.most_bytes)
            headers = {name.lower(): value for name, value in response.headers.items()}
            wait = told_wait(headers, self._wall())
            return Answer(status=response.status_code, headers=headers, body=body, wait=wait)

    @asynccontextmanager
    async def stream(self, question: Question, *, timeout: float, silence: float) -> AsyncIterator[Stream]:
        """Ask once and read the body as it comes; `silence` seconds without a byte end it. Raises as `once`."""
        async with self._sent(question, timeout, body_timeout=None, silence=silence) as response:
            yield Stream(response)

    def _sent(
        self, question: Question, timeout: float, *, body_timeout: float | None, silence: float | None = None
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        return _named(host_of(question.url), self._exchange(question, timeout, body_timeout, silence))

    @asynccontextmanager
    async def _exchange(
        self, question: Question, timeout: float, body_timeout: float | None, silence: float | None
    ) -> AsyncIterator[httpx2.Response]:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(timeout):
            response = await self._send(question, timeout if silence is None else silence)
        try:
            left = None if body_timeout is None else began + body_timeout - asyncio.get_running_loop().time()
            async with asyncio.timeout(left):
                yield response
        finally:
            await response.aclose()

    async def _send(self, question: Question, read_timeout: float) -> httpx2.Response:
        url = question.url
        for _ in range(MOST_REDIRECTS + 1):
            request = await self._request(question, url, read_timeout)
            response = await self._client(url).send(request, stream=True, follow_redirects=False)
            onward = _redirect(response, question.method)
            if onward is None:
                return response
            await response.aclose()
            if not same_origin(url, onward):
                raise ProviderError(
                    f"{host_of(url)} sends us on to {host_of(onward)}, where no token goes; "
                    "ask there directly if that is right.",
                    permanent=True,
                )
            url = onward
        raise ProviderError(f"{host_of(url)} sends us in a circle.", permanent=True)

    async def _request(self, question: Question, url: str, read_timeout: float) -> httpx2.Request:
        if not is_usable(url):
            raise ProviderError(f"{host_of(url)!r} is no address that can be asked.", permanent=True)
        headers = _HEADERS | dict(question.headers or {})
        token = await self.token_for(url)
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        elif self._missing is not None and not question.secret_free and self.hosts.may_see_token(url):
            raise self._missing()
        content = None
        if question.body is not None:
            content = json.dumps(question.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        timeout = httpx2.Timeout(read_timeout, connect=min(read_timeout, _CONNECT_TIMEOUT))
        return httpx2.Request(
            question.method,
            url,
            params=question.params if url == question.url else None,
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )

    def _client(self, url: str) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections of a loop that is gone are of no use; nothing can close them any more
            self._loop, self._clients = loop, {}
        parts = urlsplit(url)
        kind = (is_loopback(parts.hostname or ""), parts.scheme == "https")
        if kind not in self._clients:
            self._clients[kind] = self._make_client(here=kind[0], tls=kind[1])
        return self._clients[kind]

    def _make_client(self, *, here: bool, tls: bool) -> httpx2.AsyncClient:
        # Reading the machine's certificates takes longer than a whole question to a server beside us.
        context = httpx2.create_ssl_context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx2.AsyncClient(
            verify=context,
            trust_env=not here,  # a proxy can't know what this machine calls itself
            # Probes that are held by the provider keep a connection each, beside which others must find room.
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=16, keepalive_expiry=30.0),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none is kept, and none sent on
            transport=self._transport,
        )


class Stream:
    """An answer whose body is read as it comes."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    async def read(self, most: int = MOST_BYTES) -> Answer:
        """The whole, as an answer; for errors."""
        body = await _read_all(self._response, most)
        return Answer(status=self.status, headers=self.headers, body=body)

    def pieces(self) -> AsyncIterator[bytes]:
        """Pieces of the body, of any size. Raises Lost when the connection breaks."""
        return self._response.aiter_bytes()


def _last(question: Question, answer: Answer | None, lost: Lost | None, *, doubtful: bool) -> Answer:
    """What it comes to when nothing is asked any more. `doubtful`: one of the attempts may have been executed."""
    if answer is not None:
        return replace(answer, repeated=doubtful)
    assert lost is not None
    lost.in_doubt = doubtful and question.method != "GET"
    raise lost


def _is_final(answer: Answer) -> bool:
    return answer.status not in RETRIED or (answer.status in {429, 503} and speaks_of_capacity(answer))


def _redirect(response: httpx2.Response, method: str) -> str | None:
    """Where a redirect leads; None where this is none, or one that would change what is asked."""
    location = response.headers.get("location")
    keeps = {301, 302, 303, 307, 308} if method == "GET" else {307, 308}
    if response.status_code not in keeps or not location:
        return None
    try:
        return urljoin(str(response.request.url), location)
    except ValueError:
        return location  # which is the address of nothing, and told as such


async def _read_all(response: httpx2.Response, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > most:
            raise ProviderError(f"{host_of(str(response.request.url))} answered with more than {most} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


@asynccontextmanager
async def _named(host: str, exchange: AbstractAsyncContextManager[httpx2.Response]) -> AsyncIterator[httpx2.Response]:
    """Give every failure of the exchange our own name. The library's texts may quote headers: they are left out."""
    try:
        async with exchange as response:
            yield response
    except (httpx2.TimeoutException, TimeoutError) as error:
        sent = not isinstance(error, _NOT_SENT)
        raise Late(f"{host} did not answer in time.", sent=sent) from None
    except httpx2.ConnectError as error:
        raise _unconnected(host, error) from None
    except httpx2.ProxyError:
        raise Lost(f"The proxy on the way to {host} refuses.", sent=False) from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError):
        raise ProviderError(f"{host} can't be asked: the address is not right.", permanent=True) from None
    except (httpx2.TransportError, httpx2.DecodingError, httpx2.StreamError) as error:
        raise Lost(f"The connection to {host} was lost ({type(error).__name__}).", sent=True) from None


def _unconnected(host: str, error: BaseException) -> Lost:
    cause: BaseException | None = error
    for _ in range(10):  # the library wraps what the system said
        if cause is None:
            break
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = f"The certificate of {host} can't be trusted: {cause.verify_message}. SSL_CERT_FILE can name others."
            return Lost(text, sent=False, lasting=True)
        cause = cause.__cause__ or cause.__context__
    return Lost(f"No connection to {host}: {str(error) or type(error).__name__}.", sent=False)
