"""What an endpoint would have cost always on, or at another idle timeout."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.cli.main import root
from lamplighter.domain.breakeven import Basis, Pattern
from lamplighter.domain.what_if import USUAL, Booked, Replay, as_it_was
from tests.unit.test_explaining import world

DAY = 86400.0
SPELLS = st.lists(st.tuples(st.floats(0, DAY), st.floats(0.1, 600)), min_size=1, max_size=40)


def replay(spells: list[tuple[float, float]], own: float | None = 900.0, price: str | None = "3.6") -> Replay:
    return Replay(
        pattern=Pattern(spells, DAY) if spells else None,
        per_hour=None if price is None else Decimal(price),
        replicas=1,
        start=100.0,
        own=own,
    )


@given(SPELLS, st.floats(0, 7200))
def test_a_longer_idle_timeout_never_has_more_cold_starts(spells: list[tuple[float, float]], other: float) -> None:
    found = replay([(begin, begin + length) for begin, length in spells]).each([other])
    assert [one.idle_timeout for one in found] == sorted({*USUAL, other})
    starts = [one.cold_starts for one in found]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] >= 1
    assert [one.more for one in found if one.is_own] == [0]


def test_each_timeout_pays_its_starts_and_its_idling() -> None:
    played = replay([(0.0, 10.0), (210.0, 220.0)])
    short, _, own, *_ = played.each([])
    # Two wakes of 100 s start, 10 s of use and 60 s idle; one of 100 s, 220 s and 900 s.
    assert (short.amount.dollars, short.seconds, short.cold_starts, short.more) == (Decimal("0.34"), 340.0, 2, 1)
    assert (own.amount.dollars, own.is_own, own.cold_starts) == (Decimal("1.22"), True, 1)
    assert {one.amount.basis for one in played.each([])} == {Basis.ESTIMATE}


def test_always_on_is_what_the_ledger_knows_and_else_an_estimate() -> None:
    played = replay([(0.0, 10.0)])
    booked = played.always(Booked(paid=Decimal(1), always=Decimal(80), seconds=60.0), DAY)
    assert (booked.amount.dollars, booked.amount.basis, booked.seconds) == (Decimal(80), Basis.LEDGER, None)
    assert (booked.cold_starts, booked.more, booked.is_own) == (0, -1, False)
    unpriced = played.always(Booked(always=Decimal(80), seconds=60.0, unpriced=1.0), DAY)
    assert (unpriced.amount.dollars, unpriced.amount.basis) == (Decimal("86.4"), Basis.ESTIMATE)
    assert replay([], own=None).always(Booked(), DAY).is_own


def test_without_requests_nothing_is_woken_and_without_a_price_nothing_is_said_of_dollars() -> None:
    assert {(one.amount.dollars, one.cold_starts) for one in replay([]).each([])} == {(Decimal(0), 0)}
    assert {one.amount.dollars for one in replay([(0.0, 1.0)], price=None).each([])} == {None}


@pytest.mark.parametrize(
    ("booked", "basis"),
    [
        (Booked(paid=Decimal(1), seconds=9.0), Basis.LEDGER),
        (Booked(paid=Decimal(1), seconds=9.0, unpriced=3.0), Basis.AT_LEAST),
        (Booked(seconds=9.0, unpriced=9.0), Basis.UNKNOWN),
        (Booked(), Basis.LEDGER),
    ],
)
def test_what_was_paid_says_how_well_it_is_known(booked: Booked, basis: Basis) -> None:
    assert as_it_was(booked).basis is basis


async def test_a_server_tells_it_over_its_route_and_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        query = {"endpoint": "chat", "since": "30d", "idle_timeout": ["120", "400"]}
        answered = await here.http.get("/api/cost/what-if", params=query)
        told = answered.json()
        assert answered.status_code == 200, answered.text
        cost = (await here.http.get("/api/cost", params={"endpoint": "chat", "since": "30d"})).json()["total"]
        arguments = ["cost", "what-if", "chat", "--idle-timeout", "2m", "--server", here.url]
        said = await asyncio.to_thread(CliRunner().invoke, root, arguments)
        refused = await here.http.get("/api/cost/what-if", params={"endpoint": "chaat"})
        misspelt = await here.http.get("/api/cost/what-if", params={"endpoint": "chat", "idle": "5"})
        future = await here.http.get("/api/cost/what-if", params={"endpoint": "chat", "since": "2990-01-01"})
        statuses = (await here.http.get("/api/endpoints/status")).json()["endpoints"]
    assert told["requests"] == 20
    assert told["as_it_was"] | {"why": ""} == {"cost": cost["total"], "basis": "ledger", "why": "", "seconds": 12200.0}
    assert float(told["always_on"]["cost"]) == pytest.approx(float(cost["total"]) + float(cost["saved"]), abs=0.1)
    assert told["always_on"]["more_cold_starts"] == -10
    found = {one["idle_timeout"]: one for one in told["timeouts"]}
    assert sorted(found) == [60, 120, 300, 400, 900, 1800, 3600]
    # 200 s between two requests: below that two starts a day, of 100 s each.
    assert (found[120]["cold_starts"], found[120]["more_cold_starts"], found[120]["basis"]) == (20, 10, "estimate")
    assert float(found[120]["cost"]) == pytest.approx(20 * (100 + 10 + 120) * 3.6 / 3600)
    assert float(found[900]["cost"]) == pytest.approx(float(cost["total"]), rel=1e-3), "as it was, played again"
    assert [one["idle_timeout"] for one in told["timeouts"] if one["is_own"]] == [900]
    assert any("played again" in one for one in told["assumptions"])
    assert said.exit_code == 0, said.output
    assert "as it was" in said.output
    assert "≈ $4.60" in said.output
    assert "15 min (as it is set)" in said.output
    assert (refused.status_code, misspelt.json()["error"]["field"]) == (404, "idle")
    assert future.json()["error"]["field"] == "since"
    assert {name: one["billed"] for name, one in statuses.items()} == {"chat": False, "spare": False, "quiet": False}
