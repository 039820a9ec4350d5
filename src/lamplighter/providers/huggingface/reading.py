"""What the management API says of an endpoint, in the words of controllers. Pure."""

from __future__ import annotations

from itertools import pairwise

from lamplighter.domain.endpoint import ASLEEP, BROKEN, Phase, Replica, State, Status
from lamplighter.hf.records import Endpoint

ANSWERS = frozenset({State.RUNNING, State.UPDATING, State.UPDATE_FAILED})
"""States in which a replica may be there to be asked whether it is ready."""

COMES_UP = frozenset({State.PENDING, State.INITIALIZING, State.UPDATING})

_SERVED_AS = "--served-model-name"

_STATES = {state.value: state for state in State}


def state_of(endpoint: Endpoint) -> State | None:
    """The state; None for a word that was never seen before."""
    return _STATES.get(endpoint.state)


def may_answer(endpoint: Endpoint) -> bool:
    """Whether it is worth asking the endpoint itself. A Lamplighter tells of one that is being put to sleep."""
    state = state_of(endpoint)
    if endpoint.phase is Phase.STOPPING:
        return False
    if state is State.UPDATING or state is State.UPDATE_FAILED:
        return endpoint.url is not None and endpoint.status.ready_replica > 0
    return state in ANSWERS and endpoint.url is not None


def status_of(endpoint: Endpoint, replicas: tuple[Replica, ...], note: str | None = None) -> Status:
    """The status as controllers know it. `note` goes before what the provider says."""
    state = state_of(endpoint)
    if state is None:
        return Status(state=None, message=endpoint.state, document=endpoint.raw)
    message = note or _message(endpoint, state, up=bool(replicas))
    billed = max(endpoint.status.target_replica, endpoint.status.ready_replica) or None
    return Status(state=state, replicas=replicas, message=message, billed=billed, document=endpoint.raw)


def _message(endpoint: Endpoint, state: State, *, up: bool) -> str | None:
    said = endpoint.status
    if state in BROKEN:
        return said.error_message or said.message
    if state in ASLEEP or (state is State.RUNNING and up):
        return None
    if state is State.RUNNING:
        return f"runs, and {endpoint.health_route} does not answer yet"
    return said.message


def replicas_of(endpoint: Endpoint, count: int, headers: tuple[tuple[str, str], ...]) -> tuple[Replica, ...]:
    """Its replicas as requests see them: all behind one address, at which the provider's proxy chooses."""
    url = endpoint.url
    if url is None:
        return ()
    name, model = f"{endpoint.namespace}/{endpoint.name}", model_of(endpoint)
    return tuple(
        Replica(id=f"{name}#{index}", url=url, headers=headers, proxied=True, model=model) for index in range(count)
    )


def model_of(endpoint: Endpoint) -> str | None:
    """The name under which its engine knows its model: vLLM refuses every other one.

    That is the repository, unless its arguments say another. At a Lamplighter it is the endpoint's own name.
    """
    if "lamplighter" in endpoint.raw:
        return endpoint.name
    for word, following in pairwise((*endpoint.model.command, *endpoint.model.args, "")):
        if word == _SERVED_AS and following:
            return following
        if word.startswith(f"{_SERVED_AS}="):
            return word.partition("=")[2]
    return endpoint.model.repository or None
