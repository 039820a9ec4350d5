"""Asking an endpoint itself, at its own address: is it ready, and wake it."""

from __future__ import annotations

from lamplighter.errors import Forbidden, LamplighterError, NotAllowed, ProviderError
from lamplighter.hf.answers import error_for
from lamplighter.hf.calls import Calls
from lamplighter.hf.exchange import Answer, Asked, Question
from lamplighter.hf.hosts import host_of
from lamplighter.hf.records import Endpoint
from lamplighter.hf.wire import Lost

SCALE_UP_TIMEOUT = "X-Scale-Up-Timeout"
"""How many seconds the provider's proxy holds a request for a sleeping endpoint."""

_ANSWER = 10.0
_MARGIN = 5.0
_MOST_BODY = 1024 * 1024
_WAKING = frozenset({408, 425, 429, 500, 502, 503, 504})
_HARMLESS = frozenset({400, 404, 405, 415, 422, 501})


async def is_ready(calls: Calls, endpoint: Endpoint, *, hold: float) -> bool:
    """See ManagementApi.is_ready."""
    if endpoint.url is None:
        return False
    url = f"{endpoint.url}/{endpoint.health_route.lstrip('/')}"
    try:
        answer = await _ask(calls, url, hold)
    except ProviderError as error:
        if error.permanent:  # a certificate that can't be trusted, a redirect elsewhere: waiting is of no use
            raise
        return False  # its name may not be known yet, or nobody listens there yet
    if answer.status in {401, 403}:
        raise await _refusal(calls, answer, url, endpoint)
    return answer.status == 200


async def poke(calls: Calls, endpoint: Endpoint) -> None:
    """See ManagementApi.poke."""
    if endpoint.url is None:
        raise ProviderError(f"Endpoint {endpoint.name!r} has no address yet, so no request can wake it.")
    # Not the health route, which wakes nothing at a Lamplighter. Any route of the endpoint's own does at both.
    url = f"{endpoint.url}/v1/models"
    try:
        answer = await _ask(calls, url, 1.0)
    except Lost as lost:
        if lost.sent:
            return  # it was asked, and that is all that was wanted
        raise
    if answer.is_success or answer.status in _WAKING:
        return
    error = await _refusal(calls, answer, url, endpoint)
    if answer.status in _HARMLESS and "paused" not in error.code:
        return  # the engine itself answered that it has no such route: it is awake
    raise error


async def _ask(calls: Calls, url: str, hold: float) -> Answer:
    headers = {SCALE_UP_TIMEOUT: str(int(hold))} if hold >= 1 else {}
    question = Question(method="GET", url=url, headers=headers, secret_free=True, most_bytes=_MOST_BODY)
    return await calls.wire.once(question, timeout=hold + (_MARGIN if hold >= 1 else _ANSWER))


async def _refusal(calls: Calls, answer: Answer, url: str, endpoint: Endpoint) -> LamplighterError:
    asked = Asked(host=host_of(url), name=endpoint.name, namespace=endpoint.namespace)
    error = error_for(answer, await calls.informed(asked, url))
    if isinstance(error, NotAllowed) and not calls.hosts.may_see_token(url):
        return Forbidden(
            f"Endpoint {endpoint.name!r} wants a token at {host_of(url)}, which does not belong to {calls.hosts.name}: "
            "it is not sent there."
        )
    return error
