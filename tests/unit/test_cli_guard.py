"""`lamplighter guard`: what is billed, what keeps it, and pausing what nobody wants."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamplighter.cli.guard.bill import describe
from lamplighter.cli.guard.schedule import Schedule
from lamplighter.cli.guard.verdict import Rules, kept_by
from lamplighter.cli.show.facts import is_billed
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.folders import session_folder
from tests.cli_cloud import TOKEN, ScriptedCloud, endpoint, graphs, rfc3339, scripted_cloud
from tests.cli_world import clean_environment, world
from tests.hf_cloud import NAMESPACE

NOW = 1_800_000_000.0
RULES = Rules(idle=1800.0)


def record(**more: Any) -> Endpoint:
    return Endpoint.of(endpoint("chat", **more), "me")


def judged(one: Endpoint, rules: Rules = RULES, sessions: int = 0, since: float | None = NOW - 86400) -> str | None:
    running = describe(one, {}, lambda _, __: sessions)
    return kept_by(replace(running, since=since), rules, NOW)


@pytest.mark.parametrize(
    ("state", "billed"),
    [
        ("running", True),
        ("initializing", True),
        ("pending", True),
        ("updating", True),
        ("updateFailed", True),  # the old replicas go on
        ("hibernating", True),  # never heard of: better to be looked at
        ("failed", False),
        ("paused", False),
        ("scaledToZero", False),
    ],
)
def test_what_is_billed(state: str, billed: bool) -> None:
    assert is_billed(record(state=state)) is billed


def test_a_server_that_can_not_ask_bills_by_the_last_known_state() -> None:
    for state, billed in (("running", True), ("paused", False)):
        raw = endpoint("chat", state) | {"lamplighter": {"phase": "unknown"}}
        assert is_billed(Endpoint.of(raw, "me")) is billed


@pytest.mark.parametrize(
    ("one", "rules", "reason"),
    [
        (record(), RULES, None),
        (record(lastUsedAt=rfc3339(NOW - 1799)), RULES, "used 29 min ago"),
        (record(lastUsedAt=rfc3339(NOW - 1801)), RULES, None),
        (record(updatedAt=rfc3339(NOW - 60)), RULES, "changed 1 min ago"),
        (record(tags=("keep",)), RULES, "its tag keep"),
        (record(tags=("keeper",)), RULES, None),
        (record(), Rules(idle=1800.0, keep=("ch*",)), "--keep ch*"),
        (record(), Rules(idle=1800.0, keep=("me/chat",)), "--keep me/chat"),
        (record(), Rules(idle=1800.0, keep=("you/*",)), None),
        (record(), Rules(idle=1800.0, schedules=(Schedule.of("daily 00:00-24:00"),)), "daily"),
        (record(tags=("keep:daily@00:00-24:00",)), RULES, "its tag keep:daily"),
        (record(tags=("keep:whenever",)), RULES, "can't be read"),
        (record(lastUsedAt="yesterday"), RULES, None),
    ],
)
def test_what_keeps_an_endpoint(one: Endpoint, rules: Rules, reason: str | None) -> None:
    told = judged(one, rules)
    assert (told is None) if reason is None else (told is not None and reason in told)


def test_a_session_a_lease_and_requests_keep_it() -> None:
    assert judged(record(), sessions=2) == "held by 2 sessions on this machine"
    raw = endpoint("chat") | {"lamplighter": {"leases": [{"id": "1", "holder": "me@here"}], "in_flight": 0}}
    assert judged(Endpoint.of(raw, "me")) == "held by me@here"
    raw = endpoint("chat") | {"lamplighter": {"held_by": ["1 lease", "keep_warm"]}}
    assert judged(Endpoint.of(raw, "me")) == "held by 1 lease, keep_warm"
    raw = endpoint("chat") | {"lamplighter": {"in_flight": 2, "waiting": 1, "held_by": ["2 in flight", "1 waiting"]}}
    assert judged(Endpoint.of(raw, "me")) == "3 in flight"


def test_what_was_started_a_moment_ago_is_kept_and_so_is_what_nobody_can_tell_of() -> None:
    assert judged(record(), since=NOW - 1801) is None
    assert judged(record(), since=NOW - 60) == "up since 1 min ago"
    told = judged(record(), since=None)
    assert told is not None
    assert "since when it runs is not known" in told
    assert judged(record(), Rules(idle=1800.0, unknown_too=True), since=None) is None


@pytest.mark.parametrize(
    ("phase", "beside", "since"),
    [
        ("running", {"wake_time": 1000.0}, 1000.0),
        ("running", {"idle_timeout": 900.0, "auto_sleep_in": 300.0}, "10 min ago"),
        ("starting", {"starting_for": 600.0, "wake_time": 1000.0}, "10 min ago"),
        ("starting", {"wake_time": 1000.0}, None),  # that was the time before
        ("running", {}, None),
    ],
)
def test_a_lamplighter_tells_since_when_it_is_up(phase: str, beside: dict[str, Any], since: object) -> None:
    raw = endpoint("chat") | {"lamplighter": {"phase": phase, **beside}}
    told = describe(Endpoint.of(raw, "me"), {}, lambda _, __: 0).since
    expected = time.time() - 600 if since == "10 min ago" else since
    assert told == (expected if expected is None else pytest.approx(expected, abs=30))


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        yield one


def two_namespaces(cloud: ScriptedCloud) -> None:
    cloud.have(
        {
            "me": [endpoint("chat"), endpoint("off", "paused"), endpoint("idle", "scaledToZero")],
            "org": [
                endpoint("busy", lastUsedAt=rfc3339(time.time() - 60)),
                endpoint("prod", targetReplica=3, readyReplica=2),
            ],
        }
    )


def test_it_lists_what_is_billed_in_all_namespaces_with_what_it_costs(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    said = cloud("guard")
    assert said.code == 0, said.err
    assert "3 endpoints billed at Hugging Face: $4.00 an hour" in said.out
    assert "2 endpoints used by nobody: $3.20 an hour" in said.out
    assert "me/chat" in said.out
    assert "org/prod" in said.out
    assert "kept: used 1 min ago" in said.out
    assert "off" not in said.out
    assert cloud.asked("pause") == []
    assert TOKEN not in said.out + said.err


def test_it_pauses_what_nothing_keeps_and_nothing_else(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    said = cloud("guard", "--pause", "--keep", "prod*")
    assert said.code == 0, said.err
    assert cloud.asked("pause") == ["POST /v2/endpoint/me/chat/pause"]
    assert "1 endpoint paused, and billed no longer: $0.80 an hour" in said.out
    assert "used by nobody" not in said.out


def test_a_dry_run_pauses_nothing(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    said = cloud("guard", "--pause", "--dry-run")
    assert said.code == 0
    assert "Would be paused: chat, prod" in said.out
    assert cloud.asked("pause") == []


def test_json_tells_everything(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    told = cloud("guard", "--json").json
    assert told["price_per_hour"] == pytest.approx(4.0)
    assert (told["unused_per_hour"], told["paused_per_hour"]) == (pytest.approx(3.2), 0)
    assert {(one["namespace"], one["name"], one["done"]) for one in told["running"]} == {
        ("me", "chat", "unwanted"),
        ("org", "busy", "kept"),
        ("org", "prod", "unwanted"),
    }


def test_a_pause_that_fails_is_loud_and_the_others_are_paused(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    refusal = {"error": "Forbidden: missing permissions: inference.endpoints.write", "code": "FORBIDDEN"}
    cloud.script.put("/v2/endpoint/org/prod/pause", refusal, status=403)
    said = cloud("guard", "--pause")
    assert said.code == 1
    assert "org/prod COULD NOT BE PAUSED and goes on costing" in said.err
    assert "lamplighter pause prod -n org" in said.err
    assert "POST /v2/endpoint/me/chat/pause" in cloud.asked("pause")


def test_an_endpoint_that_stays_up_after_a_pause_is_loud(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    cloud.script.put("/v2/endpoint/me/chat/pause", endpoint("chat"))
    said = cloud("guard", "--pause")
    assert said.code == 1
    assert "is running still" in said.err


def test_one_that_is_used_in_the_meantime_is_left_alone(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    cloud.script.put("/v2/endpoint/me/chat", endpoint("chat"), endpoint("chat", lastUsedAt=rfc3339(time.time())))
    said = cloud("guard", "--pause")
    assert said.code == 0
    assert "kept after all: used just now" in said.out
    assert cloud.asked("pause") == []


def test_one_that_is_gone_by_then_is_no_failure(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    there, gone = (200, endpoint("chat")), (404, {"error": "Not Found", "code": "NOT_FOUND"})
    cloud.script.answers["/v2/endpoint/me/chat"] = [there, gone]  # its graphs are asked for in between
    said = cloud("guard", "--pause")
    assert said.code == 0, said.err
    assert "gone" in said.out


def test_ci_can_fail_on_what_is_left_running(cloud: ScriptedCloud) -> None:
    two_namespaces(cloud)
    assert cloud("guard", "--fail-if-running").code == 1
    assert cloud("guard", "--fail-if-running", "--keep", "*").code == 0
    assert cloud("guard", "--fail-if-running", "--pause").code == 0


def test_nothing_running_says_so(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("off", "paused")]})
    said = cloud("guard", "--pause", "--fail-if-running")
    assert (said.code, said.out) == (0, "Nothing runs at Hugging Face, and nothing is billed.\n")


def test_where_nobody_tells_a_price_the_published_one_is_shown_as_an_estimate(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    cloud.script.put("/v2/provider/me", {"vendors": []})
    said = cloud("guard")
    assert "~$0.80" in said.out
    assert "about $0.80 an hour" in said.out
    found = cloud("guard", "--json").json["running"][0]
    assert (found["price_per_hour"], found["price_source"]) == (0.8, "snapshot 2026-08-20")


def test_an_unknown_price_is_said_so(cloud: ScriptedCloud) -> None:
    nowhere = {**endpoint("chat"), "provider": {"vendor": "nobody", "region": "us-east-1"}}
    cloud.have({"me": [nowhere]})
    refusal = {"error": "Forbidden: missing permissions: inference.endpoints.read", "code": "FORBIDDEN"}
    cloud.script.put("/v2/provider/me", refusal, status=403)
    said = cloud("guard")
    assert said.code == 0
    assert "unknown" in said.out
    assert "1 endpoint of unknown price" in said.out
    assert "warning: the prices of me could not be asked for" in said.err


def test_a_session_of_this_machine_is_seen(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    folder = session_folder(cloud.script.url, "me", "chat")
    folder.mkdir(parents=True)
    file = os.open(folder / "1-x.session", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # as its watchdog does, for as long as it lives
        assert "1 session on this machine" in cloud("guard", "--pause").out
        assert cloud.asked("pause") == []
    finally:
        os.close(file)
    cloud("guard", "--pause")
    assert len(cloud.asked("pause")) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep-during", "weekdays"], "schedule"),
        (["--idle", "soon"], "a number of seconds, or a duration"),
        (["--json", "--quiet"], "exclude each other"),
    ],
)
def test_what_can_not_be_read_exits_2(options: list[str], said: str, cloud: ScriptedCloud) -> None:
    done = cloud("guard", *options)
    assert done.code == 2
    assert said in done.err
    assert cloud.script.asked == []


@pytest.mark.parametrize(
    ("graph_of_now", "said"),
    [
        # its settings are months old, its start is not
        (lambda: graphs(*[0.0] * 50, *[1.0] * 10), "up since 9 min ago"),
        (lambda: graphs(*[1.0] * 50, 0.0, *[1.0] * 10), "up since 9 min ago"),
        (lambda: graphs(*[1.0] * 60, requests=[0.0] * 50 + [3.0] + [0.0] * 9), "used 9 min ago"),
        (graphs, "since when it runs is not known"),
        (dict, "since when it runs is not known"),
        (lambda: "not JSON", "since when it runs is not known"),
    ],
)
def test_without_evidence_that_it_is_idle_nothing_is_paused(
    graph_of_now: Callable[[], Any], said: str, cloud: ScriptedCloud
) -> None:
    cloud.have({"me": [endpoint("chat")]})
    cloud.script.put("/v2/endpoint/me/chat/metrics", graph_of_now())
    done = cloud("guard", "--pause")
    assert done.code == 0, done.err
    assert said in done.out
    assert cloud.asked("pause") == []


def test_who_asks_for_it_gets_the_unknown_paused_too(cloud: ScriptedCloud) -> None:
    cloud.have({"me": [endpoint("chat")]})
    cloud.script.put("/v2/endpoint/me/chat/metrics", {"error": "Forbidden", "code": "FORBIDDEN"}, status=403)
    assert cloud("guard", "--pause", "--unknown-too").code == 0
    assert cloud.asked("pause") == ["POST /v2/endpoint/me/chat/pause"]


@pytest.mark.parametrize("idle", [[], ["--idle", "1m"]])
def test_what_was_started_seconds_ago_is_not_paused(idle: list[str], cloud: ScriptedCloud) -> None:
    beside = {"phase": "running", "wake_time": time.time() - 20}
    cloud.have({"me": [endpoint("chat") | {"lamplighter": beside}]})  # it was last changed months ago
    said = cloud("guard", "--pause", *idle)
    assert said.code == 0, said.err
    assert "kept: up since 20 s ago" in said.out
    assert cloud.asked("pause") == []


def test_at_a_server_leases_keep_and_the_rest_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with world(tmp_path / "world") as lamplighter:
        clean_environment(monkeypatch, tmp_path)
        monkeypatch.setenv("LAMPLIGHTER_URL", lamplighter.url)
        lamplighter.capsys = capsys
        lamplighter.only("held", "left")
        lamplighter.wire("POST", "/api/endpoints/held/leases", {"holder": "me@here", "ttl": 60, "pause_at_end": True})
        assert lamplighter("start", "held").code == 0
        assert lamplighter("start", "left").code == 0
        told = lamplighter.wire("GET", f"/v2/endpoint/{NAMESPACE}/left")["lamplighter"]
        assert told["wake_time"] == pytest.approx(time.time(), abs=30)
        said = lamplighter("guard", "--pause", "--idle", "0")
        assert said.code == 0, said.err
        assert "held by me@here" in said.out
        assert lamplighter.state("held") == "running"
        assert lamplighter.state("left") == "paused"
