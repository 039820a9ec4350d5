"""`lamplighter cost`: tables, charts, bills; and what status, guard and metrics tell of costs."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import re
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.console import Console

from lamplighter.cli.cost.chart import chart, lengths
from lamplighter.cli.main import main
from lamplighter.cli.show.amounts import KINDS, shown
from tests.cli_stage import Script, problem, scripted_server
from tests.cli_world import NAMESPACE, Said, World, clean_environment, world

D = Decimal
FIRST = date(2026, 11, 1)


def console(width: int = 60, *, colours: bool = False, ascii_only: bool = False) -> Console:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii" if ascii_only else "utf-8")
    return Console(file=stream, width=width, force_terminal=colours, color_system="standard" if colours else None)


def drawn(days: dict[date, tuple[str, ...]], last: date, where: Console) -> list[str]:
    amounts = {
        day: {kind: D(part) for kind, part in zip_longest(KINDS, parts, fillvalue="0")} for day, parts in days.items()
    }
    return [line.plain for line in chart(where, amounts, FIRST, last)]


# Charts.


def test_a_chart_tells_the_kinds_apart_without_colours() -> None:
    rows = drawn({FIRST: ("1", "2", "1"), FIRST + timedelta(days=2): ("0", "1", "0")}, date(2026, 11, 3), console(40))
    assert [row[:12] for row in rows] == ["Sun 01 Nov  ", "Mon 02 Nov  ", "Tue 03 Nov  ", "            "]
    assert rows[1].strip() == "Mon 02 Nov", "a day without costs has its place"
    assert rows[3].split() == ["▒▒", "cold", "start", "██", "serving", "░░", "idle"]
    cells = [rows[0].count(sign) for sign in "▒█░"]
    assert cells[1] == pytest.approx(2 * cells[0], abs=1)
    assert cells[0] == pytest.approx(cells[2], abs=1)
    assert rows[0].endswith(" $4.00")
    assert rows[2].count("█") == pytest.approx(sum(cells) / 4, abs=1)


def test_what_is_paid_by_use_has_its_part_and_its_word_where_there_is_any() -> None:
    row, legend = drawn({FIRST: ("1", "1", "1", "3")}, FIRST, console(60))
    assert row.count("▓") == pytest.approx(3 * row.count("█"), abs=2)
    assert legend.split()[-3:] == ["▓▓", "by", "use"]


def test_a_terminal_that_knows_ascii_alone_gets_other_signs() -> None:
    rows = drawn({FIRST: ("1", "2", "1")}, FIRST, console(60, ascii_only=True))
    assert all(line.isascii() for line in rows)
    assert "+" in rows[0]
    assert "#" in rows[0]
    assert "." in rows[0].partition("$")[0]


@pytest.mark.parametrize("width", [20, 40, 80, 500])
def test_bars_fit_the_terminal(width: int) -> None:
    rows = drawn(
        {FIRST: ("100", "2000", "1.5"), date(2026, 11, 9): ("0", "0.01", "0")}, date(2026, 11, 9), console(width)
    )
    assert max(map(len, rows[:-1])) <= max(width, 40)


@pytest.mark.parametrize(
    ("days", "rows", "label"),
    [(31, 31, "Sun 01 Nov"), (32, 6, "week of 26 Oct"), (189, 28, "week of"), (190, 7, "Nov 2026")],
)
def test_longer_times_are_drawn_by_week_and_by_month(days: int, rows: int, label: str) -> None:
    last = FIRST + timedelta(days=days - 1)
    found = drawn({FIRST: ("1", "1", "1"), last: ("1", "0", "0")}, last, console())
    assert len(found) == rows + 1
    assert found[0].startswith(label)
    assert "$3.00" in found[0]
    assert "$1.00" in found[-2]


def test_nothing_spent_is_no_chart() -> None:
    assert drawn({FIRST: ("0", "0", "0")}, FIRST, console()) == []


def test_parts_of_a_bar_add_up_to_it_and_what_is_little_is_seen() -> None:
    numbers = random.Random(1)
    for _ in range(500):
        parts = [D(numbers.randrange(0, 10_000)) / 100 for _ in KINDS]
        most, width = sum(parts) + D(numbers.randrange(0, 10_000)), numbers.randrange(8, 60)
        if most:
            cells = lengths(parts, most, width)
            assert all(one >= 0 for one in cells)
            assert sum(cells) <= width
            assert abs(sum(cells) - sum(parts) * width / most) <= 1
            assert bool(sum(cells)) == bool(sum(parts))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.00001", "<$0.0001"),
        ("-0.00001", "-<$0.0001"),
        ("0.12345", "$0.1234"),
        ("1.005", "$1.00"),
        ("-12.3", "-$12.30"),
        ("1234567.891", "$1,234,567.89"),
    ],
)
def test_amounts_are_shown_with_as_many_figures_as_they_need(amount: str, text: str) -> None:
    assert shown(D(amount)) == text


# Against a server whose answers are put down.


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Script]:
    clean_environment(monkeypatch, tmp_path)
    with scripted_server() as one:
        monkeypatch.setenv("LAMPLIGHTER_URL", one.url)
        yield one


def line(total: str = "3.00", **more: Any) -> dict[str, Any]:
    third = str(D(total) / 3)
    return {
        "group": {},
        "cold_start": third,
        "serving": third,
        "idle": third,
        "total": total,
        "saved": "20.00",
        "estimated": "0.00",
        "seconds": 3600.0,
        "unpriced_seconds": 0.0,
        "requests": 12,
        "tokens_in": 0,
        "tokens_out": 0,
        "per_million_tokens": None,
        "per_million_tokens_in": None,
        "per_million_tokens_out": None,
        "per_request": "0.25",
    } | more


def answer(*lines: dict[str, Any], by: tuple[str, ...] = ("endpoint",), **more: Any) -> dict[str, Any]:
    total = line(str(sum((D(one["total"]) for one in lines), D(0))))
    times = {"since": "2026-10-23", "until": None, "time_zone": "Europe/Berlin", "at": 1795303886.5}
    return {"success": True, "by": list(by), "currency": "USD", "lines": list(lines), "total": total} | times | more


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> Said:
    capsys.readouterr()
    code = main(argv)
    told = capsys.readouterr()
    return Said(code, told.out, told.err)


def test_the_table_is_by_endpoint_and_sums_up(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer(line(group={"endpoint": "chat"})))
    said = run(capsys, "cost", "--no-chart")
    assert said.code == 0, said.err
    assert script.asked == ["GET /api/cost?by=endpoint"]
    head, chat, total = said.out.splitlines()[:3]
    titles = ["endpoint", "cold start", "serving", "idle", "total", "saved", "requests", "per request", "billed for"]
    assert re.split(r"\s{2,}", head.strip()) == titles
    assert chat.split() == ["chat", "$1.00", "$1.00", "$1.00", "$3.00", "$20.00", "12", "$0.2500", "1", "h"]
    assert total.startswith("in all")
    assert "up to 2026-11-22 00:31; days of Europe/Berlin" in said.out


def test_what_is_asked_is_what_is_typed(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer(line(group={"key": "k1", "key_name": "ann", "tag": ""}), by=("key", "tag")))
    said = run(
        capsys,
        *("cost", "--by", "key,tag", "--tag", "team", "--since", "month", "--until", "today"),
        *("--key", "ann", "chat", "embed", "--no-chart"),
    )
    assert said.code == 0, said.err
    asked = dict.fromkeys(script.asked[0].partition("?")[2].split("&"))
    assert list(asked) == [
        *("since=month", "until=today", "tag=team", "endpoint=chat", "endpoint=embed", "key=ann", "by=key", "by=tag"),
    ]
    assert said.out.splitlines()[1].split()[:2] == ["ann", "untagged"]


def test_a_tag_alone_groups_by_it_and_a_value_selects(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer(line(group={"tag": "research"}), by=("tag",)))
    run(capsys, "cost", "--tag", "team", "--no-chart")
    run(capsys, "cost", "--tag", "team=research", "--no-chart")
    assert [one.partition("?")[2] for one in script.asked] == ["tag=team&by=tag", "tag=team%3Dresearch&by=endpoint"]


def test_the_chart_is_of_the_same_costs_by_day(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    day = line(group={"day": "2026-11-20"})
    script.put("/api/cost", answer(line(group={"endpoint": "chat"})), answer(day, by=("day",)))
    said = run(capsys, "cost", "chat")
    assert script.asked == ["GET /api/cost?endpoint=chat&by=endpoint", "GET /api/cost?endpoint=chat&by=day"]
    rows = [row for row in said.out.splitlines() if " Nov  " in row]
    assert [row[:10] for row in rows] == ["Fri 20 Nov", "Sat 21 Nov", "Sun 22 Nov"], "up to now, in the ledger's zone"
    assert "▒" in rows[0]
    assert "\x1b" not in said.out


def test_nothing_in_the_books_says_what_to_do(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer(until="2026-11-01"))
    said = run(capsys, "cost", "--until", "2026-11-01")
    assert said.code == 0
    assert "Nothing is in the books from 2026-10-23 on, before 2026-11-01 (Europe/Berlin)" in said.out
    assert "--since all" in said.out
    assert len(script.asked) == 1, "no chart of nothing"


def test_an_estimate_and_time_without_a_price_are_told(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(line(group={"endpoint": "chat"}))
    told["total"] |= {"estimated": "0.5", "unpriced_seconds": 7200.0}
    script.put("/api/cost", told)
    said = run(capsys, "cost", "--no-chart")
    assert "$0.5000 of it is an estimate" in said.out
    assert "For 2 h no price was known" in said.out


def test_json_and_csv_are_passed_on_as_they_come(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer(line(group={"endpoint": "chat"})), "endpoint,total\r\nchat,3.00\r\n")
    assert run(capsys, "cost", "--json").json == answer(line(group={"endpoint": "chat"}))
    assert run(capsys, "cost", "--csv").out.splitlines() == ["endpoint,total", "chat,3.00"]
    assert script.asked[1].endswith("format=csv")
    assert run(capsys, "cost", "--json", "--csv").code == 2


def test_what_the_server_refuses_is_told_in_its_words(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.answers["/api/cost"] = [(422, problem("invalid_request", "since: should be a day such as 2026-11-01"))]
    for form in ([], ["--csv"], ["--json"]):
        said = run(capsys, "cost", "--since", "soon", *form)
        assert (said.code, said.out) == (2, "")
        assert "since: should be a day" in said.err


def test_without_a_server_it_says_how_to_get_one(
    script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMPLIGHTER_URL", "http://127.0.0.1:9")
    for argv in (["cost"], ["cost", "--csv"], ["cost", "rebuild"], ["cost", "reconcile", str(bill_of("2026-11-20"))]):
        said = run(capsys, *argv)
        assert said.code == 1
        assert "lamplighter serve" in said.err


def test_a_word_that_nothing_is_told_apart_by_is_refused(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "cost", "--by", "endpoint,colour")
    assert said.code == 2
    assert "'colour' should be one of endpoint, key, tag" in said.err
    assert script.asked == []


def test_an_endpoint_called_like_a_verb_can_be_asked_for(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/cost", answer())
    run(capsys, "cost", "report", "rebuild")
    assert script.asked == ["GET /api/cost?endpoint=rebuild&by=endpoint"]


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "cost", "--help")
    assert said.code == 0
    assert "Usage: lamplighter cost [OPTIONS] [NAME]..." in said.out
    assert "lamplighter cost --by day --since month chat" in said.out
    assert "cost reconcile BILL.csv" in said.out


def bill_of(*days: str) -> Path:
    path = Path("bill.csv").absolute()
    path.write_text("endpoint,day,amount\n" + "".join(f"chat,{day},1.00\n" for day in days))
    return path


# Against a server that runs.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as one:
        one.make("chat")
        yield one


@pytest.fixture
def lamplighter(
    served: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> World:
    """The commands, with one endpoint `chat` that has a price and has been awake."""
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("LAMPLIGHTER_URL", served.url)
    served.capsys = capsys
    return served


def test_costs_by_any_words_sum_to_the_total(lamplighter: World) -> None:
    for by in ("endpoint", "key", "tag", "provider", "day", "kind", "route", "endpoint,day,key"):
        told = lamplighter("cost", "--by", by, "--json").json
        sums = {kind: sum(D(one[kind]) for one in told["lines"]) for kind in (*KINDS, "total")}
        assert sums == {kind: D(told["total"][kind]) for kind in sums}
        assert sum(sums[kind] for kind in KINDS) == sums["total"] > 0
        assert [list(one["group"]) for one in told["lines"]] == [by.split(",")] * len(told["lines"])
        assert told["time_zone"] == "UTC"
        assert told["at"] == pytest.approx(time.time(), abs=60)


def test_csv_has_a_row_for_each_line_of_json(lamplighter: World) -> None:
    rows = list(csv.DictReader(io.StringIO(lamplighter("cost", "--by", "endpoint,kind", "--csv").out)))
    lines = lamplighter("cost", "--by", "endpoint,kind", "--json").json["lines"]
    assert [(row["endpoint"], row["kind"], row["total"]) for row in rows] == [
        (one["group"]["endpoint"], one["group"]["kind"], one["total"]) for one in lines
    ]
    assert {row["saved"] for row in rows} == {""}


def test_a_bill_that_is_equal_exits_0_and_one_that_differs_1(lamplighter: World, tmp_path: Path) -> None:
    told = lamplighter("cost", "--by", "endpoint,day", "--json").json["lines"]
    rows = [f"{one['group']['day']};{one['group']['endpoint']};x;{one['total']}" for one in told]
    bill = tmp_path / "bill.csv"
    bill.write_text("\ufeffDay;Endpoint;Note;Amount\n" + "\n".join(rows) + "\n")
    equal = lamplighter("cost", "reconcile", str(bill))
    assert (equal.code, equal.err) == (0, "")
    assert "Bill and ledger are equal." in equal.out
    bill.write_text(f"endpoint,day,amount\nchat,{told[0]['group']['day']},1000\n")
    differs = lamplighter("cost", "reconcile", str(bill), "--json")
    assert differs.code == 1
    assert D(differs.json["differences"][0]["difference"]) == 1000 - D(told[0]["total"])
    assert "$1000.00" in lamplighter("cost", "reconcile", str(bill)).out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,day,cost\nchat,2026-11-20,1\n", "the columns endpoint, amount are missing"),
        (b"endpoint,day,amount\n", "no line below it"),
        (b"endpoint,day,amount\nchat,20.11.2026,1\n", "line 2: day: '20.11.2026' should be a date"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_bill_that_can_not_be_read_says_what_is_wrong(
    content: bytes, said: str, lamplighter: World, tmp_path: Path
) -> None:
    (tmp_path / "bill.csv").write_bytes(content)
    told = lamplighter("cost", "reconcile", str(tmp_path / "bill.csv"))
    assert told.code == 2
    assert said in told.err
    assert "no such file" in lamplighter("cost", "reconcile", "nowhere.csv").err.lower()


def test_a_tolerance_that_is_none_is_refused(lamplighter: World, tmp_path: Path) -> None:
    for tolerance in ("-1", "much", "NaN"):
        said = lamplighter("cost", "reconcile", str(bill_of("2026-11-20")), f"--tolerance={tolerance}")
        assert said.code == 2
        assert "tolerance" in said.err


def test_charging_anew_changes_nothing_and_is_on_record(lamplighter: World) -> None:
    before = lamplighter("cost", "--by", "day", "--json").json["lines"]
    said = lamplighter("cost", "rebuild")
    assert said.code == 0, said.err
    assert "were charged anew" in said.out
    assert lamplighter("cost", "--by", "day", "--json").json["lines"][0]["total"] >= before[0]["total"]
    entries = lamplighter.wire("GET", "/api/audit?operation=rebuild%20costs")["entries"]
    assert [one["success"] for one in entries] == [True]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("by=colour", 422, "by[0]"),
        ("since=soon", 422, "since"),
        ("until=2026-13-01", 422, "until"),
        ("format=xml", 422, "format"),
        ("since=today&until=today", 400, "until"),
        ("by=day,day", 400, "by"),
        ("tag=team", 400, "tag"),
        ("key=nobody-known", 400, "key"),
        ("provider=mars", 400, "provider"),
        ("endpiont=chat", 400, "endpiont"),
    ],
)
def test_what_can_not_be_asked_names_the_field(lamplighter: World, query: str, status: int, field: str) -> None:
    told = httpx2.get(f"{lamplighter.url}/api/cost?{query}")
    assert told.status_code == status
    assert told.json()["error"]["field"] == field


def look(lamplighter: World) -> None:
    """Have the server look at its books now, as it does every few seconds."""
    looking = lamplighter.cloud.server.spending.look()
    asyncio.run_coroutine_threadsafe(looking, lamplighter.loop).result(10)


def test_status_list_and_the_sdk_tell_what_today_came_to(lamplighter: World) -> None:
    look(lamplighter)
    told = lamplighter("status", "--json").json
    assert D(told["today"]["cost"]) == D(told["endpoints"]["chat"]["cost_today"]) > 0
    one = lamplighter.wire("GET", f"/v2/endpoint/{NAMESPACE}/chat")["lamplighter"]
    alone = lamplighter("status", "chat", "--json").json["endpoint"]
    assert one["cost_today"] == alone["cost_today"] == told["today"]["cost"]
    assert one["saved_today"] == alone["saved_today"] == told["today"]["saved"]
    assert "Today (UTC): " in lamplighter("status").out
    assert "saved by sleeping" in lamplighter("status", "chat").out
    assert "today" in lamplighter("list").out.splitlines()[0]


def test_metrics_tell_what_the_ledger_charged_for_the_window(lamplighter: World) -> None:
    told = lamplighter("metrics", "chat", "--window", "1d", "--json").json
    charged = lamplighter("cost", "chat", "--since", "2d", "--json").json["total"]["total"]
    assert told["cost_source"] == "ledger"
    assert told["cost"] == pytest.approx(float(charged), abs=1e-6)
    assert "charged by the server's ledger" in lamplighter("metrics", "chat").out


def test_a_scrape_tells_what_was_spent(lamplighter: World) -> None:
    look(lamplighter)
    text = httpx2.get(f"{lamplighter.url}/metrics").text
    for kind in KINDS:
        assert f'lamplighter_cost_dollars_total{{endpoint="chat",kind="{kind}",provider="memory"}}' in text
    cost = re.search(r'^lamplighter_today_cost_dollars{endpoint="chat"} (\S+)$', text, re.MULTILINE)
    assert cost is not None
    assert float(cost[1]) == pytest.approx(float(lamplighter("status", "--json").json["today"]["cost"]))
    assert 'lamplighter_today_saved_dollars{endpoint="chat"}' in text
