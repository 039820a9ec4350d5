"""`/api/cost`: what endpoints cost, by whatever it is asked for; bills beside that, and charging anew."""

from __future__ import annotations

import asyncio
import csv
import difflib
import io
import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lamplighter.api.access import Admin, Operator
from lamplighter.api.bodies import read_body
from lamplighter.api.problems import FAILED, INVALID, NAMED, RESPONSES, Problem, Responses
from lamplighter.control.costs import CostLine, CostReport, Dimension
from lamplighter.control.reports import Reconciled, Reports, Wanted
from lamplighter.domain.days import FORMS, NamedDay
from lamplighter.domain.prices import money
from lamplighter.errors import InvalidInput, NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "No such endpoint, or this server keeps no books"}}
_RUNNING: Responses = {409: {"model": Problem, "description": "Costs are being charged anew already"}}
_LARGE: Responses = {
    413: {"model": Problem, "description": "The bill is too large"},
    408: {"model": Problem, "description": "The bill did not come in time"},
}

router = APIRouter(prefix="/api/cost", tags=["costs"], responses=RESPONSES | INVALID | FAILED | NAMED | _ABSENT)

_NANO = Decimal("0.000000001")
_MOST_LINES = 100_000
_MOST_NAMES = 50  # more would not fit into a request's head
_LONGEST_NAME = 100
_LONGEST = 300
_MOST_BILL = 16_000_000  # bytes
_BILL_TIMEOUT = 60.0


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Cost(_Wire):
    """What some of it came to. Amounts are exact decimals in $, and parts sum to their whole."""

    group: dict[str, str]
    """What this line is of: a value for each word of `by`, and `key_name` beside a `key` that has one."""
    cold_start: str
    """Billed before it ran for the first time in its awake period."""
    serving: str
    """Running, with a request in flight."""
    idle: str
    """Running with none, and what rounding adds."""
    by_use: str
    """What upstreams, and models elsewhere, charged for tokens."""
    total: str
    """The four together."""
    saved: str | None
    """What staying awake all the time would have cost, less the first three; null where it is of no whole endpoint."""
    estimated: str
    """The part of `total` that fell in a time in which nobody looked."""
    seconds: float
    """For how long replicas were billed."""
    unpriced_seconds: float
    """For how long of that no price was known: it counts as nothing."""
    requests: int
    """How many were served."""
    tokens_in: int
    """How many were read, as the answers told."""
    tokens_out: int
    """How many were written."""
    per_million_tokens: str | None
    """`total` by a million tokens of both directions, rounded to nanodollars; null where none were served."""
    per_million_tokens_in: str | None
    """The same as if writing were free; not to be added to the next."""
    per_million_tokens_out: str | None
    """The same as if reading were free."""
    per_request: str | None
    """`total` by requests, rounded to nanodollars; null where none were served."""


class CostAnswer(_Wire):
    """A report, up to now."""

    success: Literal[True] = True
    """Always true here."""
    by: list[Dimension]
    """By what lines are told apart."""
    since: date | None
    """The first day; null: of all that is in the books."""
    until: date | None
    """The day before which it ends; null: now."""
    time_zone: str
    """Whose days these are."""
    at: float
    """Up to when it counts, in Unix seconds."""
    currency: Literal["USD"] = "USD"
    """What amounts are in."""
    lines: list[Cost]
    """By day where that was asked for, else the most expensive first."""
    total: Cost
    """All of it in one; its group is empty."""


class BillDifference(_Wire):
    """An endpoint and a day of which bill and ledger say something else. Amounts are decimals in $."""

    endpoint: str
    """Which one."""
    day: date
    """Which day."""
    billed: str
    """What the bill says; 0 where it says nothing."""
    charged: str
    """What was charged here."""
    difference: str
    """By how much more was billed; below 0: less."""


class ReconcileAnswer(_Wire):
    """A bill beside what was charged. Amounts are decimals in $."""

    success: Literal[True] = True
    """Always true here."""
    equal: bool
    """Whether there is no difference of more than the tolerance."""
    differences: list[BillDifference]
    """By endpoint and day."""
    within_tolerance: int
    """How many endpoints and days differ by no more than the tolerance; equal ones are not among them."""
    since: date
    """The first day of the bill."""
    until: date
    """The last day of the bill."""
    billed: str
    """All of the bill."""
    charged: str
    """All that was charged here for these days, to whatever endpoint."""
    time_zone: str
    """Whose days were charged."""


class RebuildAnswer(_Wire):
    """What was charged anew."""

    success: Literal[True] = True
    """Always true here."""
    since: date | None
    """From which day on, where facts have been pruned: what is older stays as it was. Null: everything."""


_BILL: Final = {"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}


def _words(given: Any) -> Any:
    """Lists of lists: `by=endpoint,day&by=kind`."""
    if not isinstance(given, list):
        return given
    return [word.strip() for one in given for word in str(one).split(",") if word.strip()]


def _is_day(given: str) -> str:
    try:
        NamedDay.of(given)
    except ValueError:
        text = f"should be {FORMS}; got {given[:40]!r}"
        raise ValueError(text) from None
    return given


PARAMETERS = ("by", "since", "until", "tag", "endpoint", "key", "provider", "format")
"""What can be asked for."""

By: TypeAlias = Annotated[
    list[Dimension],
    BeforeValidator(_words),
    Query(description="What lines are told apart by; several, repeated or with commas between. Without: one line."),
]
Day: TypeAlias = Annotated[str, AfterValidator(_is_day)]
Name: TypeAlias = Annotated[str, Field(max_length=_LONGEST_NAME)]


async def _only_known(request: Request) -> None:
    """Refuse what there is none of: without it the answer would be another one than was asked for."""
    for name in request.query_params:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name[:80], PARAMETERS, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(PARAMETERS)}."
            raise InvalidInput(f"{name[:80]}: no such parameter; {hint}", field=name[:80])


def _reports(request: Request) -> Reports:
    reports: Reports | None = request.app.state.reports
    if reports is None:
        raise NotFound("This server keeps no books.")
    return reports


Kept: TypeAlias = Annotated[Reports, Depends(_reports)]
_TOLD: Responses = {200: {"model": CostAnswer, "content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("", operation_id="cost", response_class=Response, responses=_TOLD, dependencies=[Depends(_only_known)])
async def cost(
    _: Operator,
    reports: Kept,
    *,
    by: By = [],  # noqa: B006 - FastAPI copies it
    since: Annotated[
        Day | None, Query(description=f"The first day: {FORMS}. By default 30 days before the end.")
    ] = None,
    until: Annotated[
        Day | None, Query(description="The day before which it ends, like `since`. By default now.")
    ] = None,
    tag: Annotated[
        str | None,
        Query(max_length=_LONGEST, description="The tag that `by=tag` shows; or `NAME=VALUE`: only keys with that."),
    ] = None,
    endpoint: Annotated[
        list[Name], Query(max_length=_MOST_NAMES, description="Only these endpoints; repeated for more.")
    ] = [],  # noqa: B006
    key: Annotated[
        list[Name],
        Query(
            max_length=_MOST_NAMES,
            description="Only what these are charged: keys by id or name, `operator:NAME`, `lease:HOLDER`, `nobody`.",
        ),
    ] = [],  # noqa: B006
    provider: Annotated[list[Name], Query(max_length=_MOST_NAMES, description="Only at these providers.")] = [],  # noqa: B006
    format: Annotated[Literal["json", "csv"], Query(description="What the answer is.")] = "json",  # noqa: A002
) -> Response:
    """Tell what endpoints cost: cold start, serving and idle, what was saved, and what a token and a request came to.

    Days are those of the ledger's time zone. What is charged by the hour is told up to this moment.
    """
    wanted = Wanted(
        by=tuple(by),
        since=None if since is None else NamedDay.of(since),
        until=None if until is None else NamedDay.of(until),
        tag=tag,
        endpoints=tuple(endpoint),
        keys=tuple(key),
        providers=tuple(provider),
    )
    report = await reports.report(wanted)
    if len(report.lines) > _MOST_LINES:
        text = f"by: that is {len(report.lines)} lines, and {_MOST_LINES} are the most; ask for fewer days or names."
        raise InvalidInput(text, field="by")
    write = _as_csv if format == "csv" else _as_json
    media = "text/csv; charset=utf-8" if format == "csv" else "application/json"
    body = await asyncio.to_thread(write, report, reports.key_names())  # a year by day and endpoint takes a while
    return Response(body, headers={"content-type": media, "cache-control": "no-store"})


@router.post("/reconcile", operation_id="reconcile_cost", responses=_LARGE, openapi_extra=_BILL)
async def reconcile(
    request: Request,
    actor: Operator,
    reports: Kept,
    *,
    tolerance: Annotated[
        Decimal, Query(ge=0, le=1_000_000, description="Differences of at most so many $ are only counted.")
    ] = Decimal("0.01"),
) -> ReconcileAnswer:
    """Compare a provider's bill with what was charged, by endpoint and day, on record.

    The body is CSV with the columns `endpoint`, `day` and `amount`, in any order and among others.
    """
    return _reconciled(await reports.reconcile(await _bill(request), tolerance=tolerance, actor=actor))


@router.post("/rebuild", operation_id="rebuild_cost", responses=_RUNNING)
async def rebuild(actor: Admin, reports: Kept) -> RebuildAnswer:
    """Charge all hours that have ended anew from the facts, on record. Nothing else is written to the books meanwhile.

    A year of a thousand endpoints takes minutes.
    """
    return RebuildAnswer(since=await reports.rebuild(actor=actor))


# What is answered.


def _as_json(report: CostReport, names: Mapping[str, str]) -> str:
    query = report.query
    answer = {
        "success": True,
        "by": [one.value for one in query.by],
        "since": None if query.since is None else query.since.isoformat(),
        "until": None if query.until is None else query.until.isoformat(),
        "time_zone": report.time_zone,
        "at": report.at,
        "currency": "USD",
        "lines": [_line(line, _group(query.by, line, names)) for line in report.lines],
        "total": _line(report.total, {}),
    }
    return json.dumps(answer, ensure_ascii=False)


def _as_csv(report: CostReport, names: Mapping[str, str]) -> str:
    """A heading, and a row a line. What is null is empty."""
    text = io.StringIO()
    groups = [column for one in report.query.by for column in _columns(one)]
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow([*groups, *_FIGURES])
    for line in report.lines:
        group = {name: _text(value) for name, value in _group(report.query.by, line, names).items()}
        values = {**group, **_line(line, {})}
        writer.writerow([values.get(name, "") for name in (*groups, *_FIGURES)])
    return text.getvalue()


def _text(value: str) -> str:
    """Text that no spreadsheet takes for a formula (owasp.org, "CSV Injection")."""
    return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _columns(dimension: Dimension) -> tuple[str, ...]:
    return ("key", "key_name") if dimension is Dimension.KEY else (dimension.value,)


def _group(by: tuple[Dimension, ...], line: CostLine, names: Mapping[str, str]) -> dict[str, str]:
    group = {one.value: value for one, value in zip(by, line.group, strict=True)}
    if (name := names.get(group.get("key", ""))) is not None:
        group["key_name"] = name
    return group


_FIGURES = tuple(name for name in Cost.model_fields if name != "group")


def _line(line: CostLine, group: Mapping[str, str]) -> dict[str, Any]:
    return {
        "group": group,
        "cold_start": money(line.cold_start),
        "serving": money(line.serving),
        "idle": money(line.idle),
        "by_use": money(line.by_use),
        "total": money(line.total),
        "saved": None if line.saved is None else money(line.saved),
        "estimated": money(line.estimated),
        "seconds": float(line.seconds),
        "unpriced_seconds": float(line.unpriced),
        "requests": line.requests,
        "tokens_in": line.tokens_in,
        "tokens_out": line.tokens_out,
        "per_million_tokens": _ratio(line.per_million_tokens),
        "per_million_tokens_in": _ratio(line.per_million_tokens_in),
        "per_million_tokens_out": _ratio(line.per_million_tokens_out),
        "per_request": _ratio(line.per_request),
    }


def _ratio(amount: Decimal | None) -> str | None:
    return None if amount is None else money(amount.quantize(_NANO))


def _reconciled(found: Reconciled) -> ReconcileAnswer:
    return ReconcileAnswer(
        equal=not found.differences,
        differences=[
            BillDifference(
                endpoint=one.endpoint,
                day=one.day,
                billed=money(one.billed),
                charged=money(one.charged),
                difference=money(one.difference),
            )
            for one in found.differences
        ],
        within_tolerance=found.within,
        since=found.since,
        until=found.until,
        billed=money(found.billed),
        charged=money(found.charged),
        time_zone=found.time_zone,
    )


async def _bill(request: Request) -> str:
    """The whole body as text. Raises TooLarge, TooSlow, InvalidInput."""
    body = await read_body(request, "bill", most=_MOST_BILL, timeout=_BILL_TIMEOUT)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        text = f"bill: it is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}."
        raise InvalidInput(text, field="bill") from None
