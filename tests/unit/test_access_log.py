"""A line for each request, off the hot path, sampled when busy, and never in the way of a request."""

import datetime as dt
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lamplighter.control.sources import Sources
from lamplighter.domain.keys import ANYBODY
from lamplighter.domain.usage import Outcome
from lamplighter.errors import InvalidInput
from lamplighter.gateway.access_log import AccessLog
from tests.gateway_stage import SOON, StageDemand, always, answer, endpoint, stage, until


def ended(**different: Any) -> Any:
    """A request that has ended."""
    told = {
        "request": SimpleNamespace(id=b"r1", method="POST", scope={"client": ("10.0.0.1", 4711)}),
        "key": ANYBODY,
        "way": SimpleNamespace(name="chat"),
        "endpoint": "lamp",
        "route": "/v1/chat/completions",
        "status": 200,
        "outcome": Outcome.SERVED,
        "error": "",
        "waited": 0.25,
        "first_byte_at": 100.5,
        "started": 100.0,
        "bytes_in": 10,
        "bytes_out": 20,
        "tokens_in": 3,
        "tokens_out": 4,
        "attempts": 1,
    }
    return SimpleNamespace(**(told | different))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def written(path: Path, *requests: Any, **options: Any) -> list[dict[str, Any]]:
    log = AccessLog(path, every=0.001, **options)
    log.start()
    for one in requests:
        log.note(one)
    await log.close()
    return lines_of(path)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        ([], [b"9.8.7.6"], "10.0.0.1"),
        (["10.0.0.0/8"], [b"9.8.7.6"], "9.8.7.6"),
        (["10.0.0.0/8"], [b"6.6.6.6, 9.8.7.6", b"10.0.0.3"], "9.8.7.6"),
        (["10.0.0.0/8"], [b"nonsense"], "10.0.0.1"),
        (["10.0.0.0/8"], [], "10.0.0.1"),
        (["192.168.0.0/16"], [b"9.8.7.6"], "10.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_is_believed_who_the_client_is(tmp_path, trusted, forwarded, client):
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    scope = {"client": ("10.0.0.1", 4711), "headers": headers}
    request = SimpleNamespace(id=b"r1", method="POST", scope=scope)
    (line,) = await written(tmp_path / "access.log", ended(request=request), sources=Sources(trusted))
    assert line["client"] == client


async def test_a_request_is_one_line_of_json(tmp_path):
    before = time.time()
    (line,) = await written(tmp_path / "access.log", ended())
    assert line.pop("duration") > 0
    moment = dt.datetime.fromisoformat(line.pop("time"))
    assert moment.tzinfo is dt.UTC
    assert before - 0.001 <= moment.timestamp() <= time.time()
    assert line == {
        "request_id": "r1",
        "key": "anybody",
        "method": "POST",
        "route": "/v1/chat/completions",
        "model": "chat",
        "target": "lamp",
        "status": 200,
        "outcome": "served",
        "waited": 0.25,
        "first_byte": 0.5,
        "bytes_in": 10,
        "bytes_out": 20,
        "tokens_in": 3,
        "tokens_out": 4,
        "attempts": 1,
        "client": "10.0.0.1",
    }


async def test_a_request_that_was_refused_at_the_door_has_no_model(tmp_path):
    refused = ended(outcome=Outcome.REFUSED, status=401, error="invalid_api_key", endpoint="", first_byte_at=None)
    del refused.way
    (line,) = await written(tmp_path / "access.log", refused)
    assert (line["model"], line["target"], line["error"], line["first_byte"]) == ("", "", "invalid_api_key", None)


async def test_of_many_successes_every_kth_is_written_and_says_for_how_many_it_stands(tmp_path):
    good = [ended(status=200 + number % 2) for number in range(5000)]
    lines = await written(tmp_path / "access.log", *good, busy=100)
    assert 100 <= len(lines) <= 600
    assert sum(line.get("sampled", 1) for line in lines) == pytest.approx(5000, rel=0.2)
    assert "sampled" not in lines[0]


async def test_the_next_second_begins_as_sparsely_as_the_last_one_asked_for(tmp_path):
    log = AccessLog(tmp_path / "access.log", busy=10)
    assert [log._sample(100.0) for _ in range(10)] == [1] * 10
    for _ in range(90):
        log._sample(100.5)
    second = [log._sample(101.0) for _ in range(100)]
    assert [k for k in second if k] == [10] * 10
    assert [log._sample(102.5) for _ in range(10)] == [0] * 9 + [10]
    assert log._sample(200.0) == 1
    await log.close()


async def test_every_failure_is_written_however_busy(tmp_path):
    failures = [ended(outcome=Outcome.FAILED, status=502), ended(status=404), ended(outcome=Outcome.CUT)] * 100
    lines = await written(tmp_path / "access.log", *failures, busy=1)
    assert len(lines) == 300
    assert all("sampled" not in line for line in lines)


async def test_more_than_can_wait_is_dropped_and_counted(tmp_path):
    log = AccessLog(tmp_path / "access.log", bound=5)
    for _ in range(8):
        log.note(ended())
    assert log.dropped == 3
    log.start()
    await log.close()
    assert len(lines_of(tmp_path / "access.log")) == 5


async def test_it_goes_on_in_a_new_file_when_the_old_one_was_moved_away(tmp_path):
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(path, every=0.001)
    log.start()
    log.note(ended(route="/v1/first"))
    await until(path.read_text)
    path.rename(old)
    log.note(ended(route="/v1/second"))
    await until(lambda: "second" in old.read_text())
    log.reopen()
    log.note(ended(route="/v1/third"))
    await log.close()
    assert [line["route"] for line in lines_of(old)] == ["/v1/first", "/v1/second"]
    assert [line["route"] for line in lines_of(path)] == ["/v1/third"]


async def test_a_file_that_can_not_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(InvalidInput, match=r"server\.access_log: .*nowhere.* No such file"):
        AccessLog(tmp_path / "nowhere" / "access.log")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
async def test_a_full_disk_costs_lines_and_nothing_else(tmp_path):
    log = AccessLog(Path("/dev/full"), every=0.001)
    log.start()
    log.note(ended())
    await until(lambda: log.dropped == 1)
    log._path = tmp_path / "access.log"  # the disk has room again
    log.reopen()
    log.note(ended(route="/v1/later"))
    await log.close()
    assert [line["route"] for line in lines_of(tmp_path / "access.log")] == ["/v1/later"]


async def test_standard_error_is_a_place_too(capsys):
    log = AccessLog(None)
    log.start()
    log.note(ended())
    await log.close()
    assert json.loads(capsys.readouterr().err)["request_id"] == "r1"


async def test_the_gateway_notes_every_request_and_nothing_of_headers_or_bodies(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(path, every=0.001)
    log.start()
    async with (
        endpoint(always(answer(b'{"answer":"hush"}'))) as there,
        stage(StageDemand(there.url), SOON, access_log=log) as here,
    ):
        await here.ask(body={"model": "lamp", "prompt": "hush"}, x_secret="hush", x_request_id="mine")
        await here.ask(body={"model": "nobody"})
    await log.close()
    served, unknown = lines_of(path)
    assert (served["request_id"], served["target"], served["status"], served["outcome"]) == (
        "mine",
        "lamp",
        200,
        "served",
    )
    assert (served["model"], served["client"], served["bytes_out"]) == ("lamp", "127.0.0.1", 17)
    assert (unknown["status"], unknown["outcome"]) == (404, "refused")
    assert "hush" not in path.read_text()
