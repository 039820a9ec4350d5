"""Look at endpoints, wake them, put them to sleep, read their logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from lamplighter.api import verbs
from lamplighter.api.access import Operator
from lamplighter.api.media import TEXT, answers
from lamplighter.api.problems import FAILED, NAMED, RESPONSES, ErrorDetails, Responses, answer, details
from lamplighter.api.verbs import Outcome, Verb
from lamplighter.api.wire import AllBegun, AllStatuses, EndpointStatus, OneBegun, OneStatus, TodayStatus, routes_of
from lamplighter.control.demand import Operations
from lamplighter.control.prices import PriceBook
from lamplighter.control.routebook import RouteBook
from lamplighter.control.spending import Spending
from lamplighter.domain.endpoint import Endpoint
from lamplighter.errors import LamplighterError

_LONGEST_WAIT = 3600.0
_MOST_LINES = 10_000

router = APIRouter(prefix="/api/endpoints", tags=["endpoints"], responses=RESPONSES)


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


Asked: TypeAlias = Annotated[Operations, Depends(_operations)]
Wait: TypeAlias = Annotated[
    float | None,
    Query(
        ge=0,
        le=_LONGEST_WAIT,
        description="Answer when it is done, but after this many seconds at the latest. Without it: at once.",
    ),
]
_DONE = "Done, within the time that was given to wait"
_ALL_BEGUN: Responses = {200: {"model": AllBegun, "description": _DONE}, **FAILED}
_ONE_BEGUN: Responses = {200: {"model": OneBegun, "description": _DONE}, **FAILED, **NAMED}


@router.get("/status", operation_id="status_of_all")
async def status_of_all(request: Request, operations: Asked, _: Operator) -> AllStatuses:
    """Tell how all endpoints are, and where the configured routes lead. Wakes nothing."""
    book = _book(request)
    breakers = book.breakers.breakers
    return AllStatuses(
        endpoints={e.spec.name: _status(e, request, breakers) for e in operations.endpoints()},
        routes=routes_of(book.routes, book, breakers),
        today=TodayStatus.of(spending.today if (spending := _spending(request)) is not None else None),
    )


@router.get("/status/{name}", operation_id="status", responses=NAMED)
async def status(name: str, request: Request, operations: Asked, _: Operator) -> OneStatus:
    """Tell how one endpoint is, and which routes lead to it. Wakes nothing."""
    endpoint, book = operations.endpoint(name), _book(request)
    breakers = book.breakers.breakers
    routes = routes_of(book.about(endpoint.spec.name), book, breakers)
    return OneStatus(endpoint=_status(endpoint, request, breakers), routes=routes)


@router.post("/wake", operation_id="wake_all", status_code=202, response_model=AllBegun, responses=_ALL_BEGUN)
async def wake_all(request: Request, operations: Asked, actor: Operator, wait: Wait = None) -> Response:
    """Begin to wake all endpoints. One that fails does not keep the others from it: `errors` tells which."""
    return _all(await verbs.all_of_them(operations, Verb.WAKE, actor, wait), Verb.WAKE, request)


@router.post("/wake/{name}", operation_id="wake", status_code=202, response_model=OneBegun, responses=_ONE_BEGUN)
async def wake(name: str, request: Request, operations: Asked, actor: Operator, wait: Wait = None) -> Response:
    """Begin to wake an endpoint, or join a wake under way.

    Answers 202 at once, or with `wait` 200 when it is running. When the time to wait is over first: 202 with
    `done: false`, and the wake goes on. A start that failed: 503 with the reason.
    """
    return _one(await verbs.one_of_them(operations, Verb.WAKE, name, actor, wait), Verb.WAKE, request)


@router.post("/sleep", operation_id="sleep_all", status_code=202, response_model=AllBegun, responses=_ALL_BEGUN)
async def sleep_all(request: Request, operations: Asked, actor: Operator, wait: Wait = None) -> Response:
    """Begin to put all endpoints to sleep, each when nothing is in flight or waits."""
    return _all(await verbs.all_of_them(operations, Verb.SLEEP, actor, wait), Verb.SLEEP, request)


@router.post("/sleep/{name}", operation_id="sleep", status_code=202, response_model=OneBegun, responses=_ONE_BEGUN)
async def sleep(name: str, request: Request, operations: Asked, actor: Operator, wait: Wait = None) -> Response:
    """Begin to put an endpoint to sleep, as soon as nothing is in flight and nothing waits. The next request wakes it.

    Answers 202 at once, or with `wait` 200 when its provider has confirmed it. When the time to wait is over first:
    202 with `done: false`, and the operation goes on.
    """
    return _one(await verbs.one_of_them(operations, Verb.SLEEP, name, actor, wait), Verb.SLEEP, request)


@router.get("/{name}/logs", operation_id="logs", response_class=Response, responses=answers(TEXT) | NAMED)
async def logs(
    name: str,
    operations: Asked,
    _: Operator,
    tail: Annotated[int, Query(ge=0, le=_MOST_LINES, description="How many of the last lines.")] = 100,
    follow: Annotated[bool, Query(description="Go on with each further line as it comes.")] = False,
) -> StreamingResponse:
    """Read the output of the endpoint's engine. Wakes nothing."""
    operations.endpoint(name)  # a wrong name must be told before the answer has begun
    lines = _lines(operations, name, tail, follow=follow)
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


async def _lines(operations: Operations, name: str, tail: int, *, follow: bool) -> AsyncGenerator[str]:
    lines = operations.logs(name, tail=tail, follow=follow)
    try:
        async for line in lines:
            yield f"{line.rstrip()}\n"
    except LamplighterError as error:
        yield f"lamplighter: {error.message}\n"  # the status has been sent: this is the only place left
    finally:
        # The client may have gone in the middle: what reads the log must not wait for the garbage collector.
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


def _status(endpoint: Endpoint, request: Request, breakers: Mapping[str, str]) -> EndpointStatus:
    name, prices = endpoint.spec.name, _prices(request)
    price = prices.priced(name) if prices is not None else None
    spending = _spending(request)
    spent = spending.of(name, is_priced=price is not None) if spending is not None else None
    operations: Operations = request.app.state.operations
    billed = operations.is_billed(endpoint)
    return EndpointStatus.of(endpoint, str(request.base_url), breakers.get(name), price, spent, billed=billed)


def _spending(request: Request) -> Spending | None:
    spending: Spending | None = request.app.state.spending
    return spending


def _prices(request: Request) -> PriceBook | None:
    book: PriceBook | None = request.app.state.prices
    return book


def _book(request: Request) -> RouteBook:
    book: RouteBook = request.app.state.routes
    return book


def _one(outcome: Outcome, verb: Verb, request: Request) -> Response:
    if outcome.error:
        raise outcome.error
    assert outcome.endpoint
    status = _status(outcome.endpoint, request, _book(request).breakers.breakers)
    body = OneBegun(endpoint=status, operation=verb.value, done=outcome.done)
    return JSONResponse(body.model_dump(mode="json"), status_code=_code([outcome]))


def _all(outcomes: dict[str, Outcome], verb: Verb, request: Request) -> Response:
    breakers = _book(request).breakers.breakers
    statuses = {
        name: _status(outcome.endpoint, request, breakers) for name, outcome in outcomes.items() if outcome.endpoint
    }
    body = AllBegun(endpoints=statuses, operation=verb.value, done=all(outcome.done for outcome in outcomes.values()))
    failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    if not failed:
        return JSONResponse(body.model_dump(mode="json"), status_code=_code(list(outcomes.values())))
    return _partly(failed, body)


def _partly(failed: dict[str, LamplighterError], body: AllBegun) -> Response:
    """The status is that of the worst failure; what went well stands beside it."""
    worst = max(failed.values(), key=lambda error: error.status)
    message = f"{len(failed)} failed: " + "; ".join(f"{name}: {error.message}" for name, error in failed.items())
    errors = {name: details(error).model_dump(exclude_none=True) for name, error in failed.items()}
    summary = ErrorDetails(status=worst.status, code=worst.code, message=message)
    return answer(summary, **(body.model_dump(mode="json", exclude={"success"}) | {"errors": errors}))


def _code(outcomes: list[Outcome]) -> int:
    return 200 if all(outcome.waited and outcome.done for outcome in outcomes) else 202
