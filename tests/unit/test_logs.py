"""Logging is never in the way of work, and prints no local variables."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.logs import Flood, StderrLines, configure_logging
from tests.gateway_stage import stage


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_behind_standard_error_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("json")
    monkeypatch.setattr(sys, "stderr", FullDisk())
    before = StderrLines.dropped
    structlog.get_logger("test").error("something")
    assert StderrLines.dropped == before + 1


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_a_traceback_is_logged_without_local_variables(fmt: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(fmt)
    token = "hf_" + "secret"
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("test").exception("failed", have=len(token))
    printed = capsys.readouterr().err
    assert "ValueError: invalid literal" in printed
    assert token not in printed


def test_each_json_line_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    structlog.get_logger("test").info("state", endpoint="chat\nforged")
    logging.getLogger("other").warning("from a library")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["state", "from a library"]


@pytest.mark.parametrize(("level", "seen"), [("info", ["an attempt failed"]), ("warning", [])])
def test_our_own_lines_follow_the_level_and_those_of_libraries_begin_with_warnings(
    level: str, seen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json", level)
    logging.getLogger("lamplighter.gateway.attempts").info("an attempt failed")
    logging.getLogger("other").info("small talk")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == seen


# Floods.


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_flood_of_one_kind_is_cut_and_how_many_were_left_out_is_told_with_the_next_line_of_any_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Time()
    configure_logging("json", flood=Flood(5), clock=clock)
    library, own = logging.getLogger("uvicorn.error"), structlog.get_logger("test")
    for number in range(100):
        library.warning("Invalid HTTP request received from %s.", number)
        own.warning("role missing", path=f"/{number}")
    library.warning("something else")
    assert [line["event"] for line in lines_of(capsys)] == [
        *(text for number in range(5) for text in (f"Invalid HTTP request received from {number}.", "role missing")),
        "something else",
    ]
    clock.now += 60
    own.error("another thing")
    own.error("another thing")
    told, other, *rest, last = lines_of(capsys)
    assert {(one["event"], one["like"], one["count"], one["level"]) for one in (told, other)} == {
        ("lines left out", "Invalid HTTP request received from %s.", 95, "warning"),
        ("lines left out", "role missing", 95, "warning"),
    }
    assert [one["event"] for one in (*rest, last)] == ["another thing"] * 2
    library.warning("Invalid HTTP request received from %s.", 100)
    assert len(lines_of(capsys)) == 1


def test_each_endpoint_has_its_own_bound_and_what_is_no_warning_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", flood=Flood(2), clock=Time())
    log = structlog.get_logger("test")
    for number in range(10):
        log.info("state", endpoint="a")
        log.error("failed", endpoint="ab"[number % 2])
    lines = lines_of(capsys)
    assert sum(line["event"] == "state" for line in lines) == 10
    assert [line["endpoint"] for line in lines if line["event"] == "failed"] == ["a", "b", "a", "b"]


def test_a_calm_trickle_is_logged_whole() -> None:
    flood = Flood(60)
    assert all(flood.lets_through("x", "x", moment * 1.01) for moment in range(1000))
    assert flood.over(1e9) == []


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("abc")), max_size=300), st.integers(1, 5))
def test_every_line_is_written_or_counted_and_no_minute_has_more_than_its_bound(
    steps: list[tuple[float, str]], most: int
) -> None:
    flood, now, told = Flood(most), 0.0, 0
    written: list[tuple[float, str]] = []
    for pause, kind in steps:
        now += pause
        told += sum(count for _, count in flood.over(now))
        if flood.lets_through(kind, kind, now):
            written.append((now, kind))
    told += sum(count for _, count in flood.over(now + 60))
    assert len(written) + told == len(steps)
    for moment, kind in written:
        assert sum(one == kind and moment <= when < moment + 60 for when, one in written) <= 2 * most


def test_made_up_kinds_take_no_memory() -> None:
    flood = Flood(1)
    for number in range(5000):
        flood.lets_through(number, "x", 0.0)
        flood.lets_through(number, "x", 0.0)
    assert len(flood._minutes) <= 1000
    assert len(flood._flooded) <= 1000


async def test_bad_requests_to_a_server_do_not_fill_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", flood=Flood(5))
    async with stage() as s:
        for _ in range(50):
            async with s.client() as client:
                client.send(b"\x00 this is no HTTP\r\n\r\n")
                await client.reader.read()
    assert len([line for line in lines_of(capsys) if "Invalid HTTP" in line["event"]]) == 5
