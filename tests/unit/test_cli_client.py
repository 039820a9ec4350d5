"""The commands that talk to a server, against one that says what the test wants."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from lamplighter.cli.logs import whole_lines
from lamplighter.cli.main import main
from lamplighter.cli.options import complete_name
from lamplighter.cli.reach.connection import Reply, normal_url
from lamplighter.cli.reach.waiting import SLEEP, WAKE, Goal, follow
from lamplighter.cli.show.watch import lines
from lamplighter.errors import InvalidInput, LamplighterError
from tests.cli_stage import Script, endpoint, everything, one, problem, scripted_server

STATUS = "/api/endpoints/status"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.delenv("LAMPLIGHTER_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with scripted_server() as script:
        monkeypatch.setenv("LAMPLIGHTER_URL", script.url)
        yield script


def test_status_shows_all_endpoints_in_words(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(STATUS, everything(endpoint("chat", "running", auto_sleep_in=42.0), endpoint("embed")))
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "running" in said
    assert "42 s" in said
    assert "sleeping" in said
    assert "\x1b" not in said  # no terminal: no colours


def test_status_as_json_is_the_servers_answer_unchanged(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    text = '{"success": true,   "endpoints": {"chat": {"status": "running", "new_field": 1.50}}}'
    server.put(STATUS, text)
    assert main(["status", "--json"]) == 0
    assert capsys.readouterr().out == text + "\n"


def test_quiet_status_is_names_alone(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(STATUS, everything(endpoint("embed"), endpoint("chat")))
    assert main(["status", "-q"]) == 0
    assert capsys.readouterr().out == "chat\nembed\n"


def test_status_of_one_says_what_it_means_and_what_to_do(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(f"{STATUS}/chat", one(expected_start=2.0))
    assert main(["status", "chat"]) == 0
    said = capsys.readouterr().out
    assert "chat is sleeping" in said
    assert "the next request wakes it" in said
    assert "usually takes  2.0 s" in said
    assert "`lamplighter start chat` wakes it now" in said


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (404, 3, "model_not_found"),
        (401, 4, "invalid_api_key"),
        (422, 2, "invalid_request"),
        (503, 5, "wake_timeout"),
        (503, 1, "wake_failed"),
        (502, 1, "provider_error"),
        (403, 4, "forbidden"),
        (500, 1, "internal_error"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(
    status: int, code: int, word: str, server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put(f"{STATUS}/x", problem(word, "That is not possible."), status=status)
    assert main(["status", "x"]) == code
    assert capsys.readouterr().err.startswith("error: That is not possible.")


def test_a_wrong_key_tells_where_the_right_one_belongs(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(STATUS, problem("invalid_api_key", "This key is not known here."), status=401)
    assert main(["status"]) == 4
    assert "LAMPLIGHTER_KEY" in capsys.readouterr().err


def test_the_key_comes_from_the_environment_or_a_file(
    server: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.put(STATUS, everything())
    monkeypatch.setenv("LAMPLIGHTER_KEY", "secret-1")
    (tmp_path / "key").write_text("secret-2\n")
    assert main(["status", "-q"]) == 0
    assert main(["status", "-q", "--key-file", str(tmp_path / "key")]) == 0
    assert server.keys == ["Bearer secret-1", "Bearer secret-2"]


@pytest.mark.parametrize("content", [None, ""])
def test_a_key_file_that_does_not_help_exits_4(
    content: str | None, server: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    assert main(["status", "--key-file", str(tmp_path / "key")]) == 4
    assert "key file" in capsys.readouterr().err


def test_no_server_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main(["status", "--server", url]) == 1
    assert capsys.readouterr().err == (
        f"error: no Lamplighter server answers at {url}; "
        "start one with `lamplighter serve`, or name another with --server\n"
    )


@pytest.mark.parametrize("answer", ["<html>hello</html>", "[]", '{"endpoints": {"chat": {"status": 7}}}'])
def test_another_kind_of_server_is_noticed(answer: str, server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put(STATUS, answer)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:8470", "http://localhost:8470"),
        ("https://a.b/", "https://a.b"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_an_address_may_be_short(given: str, url: str) -> None:
    assert normal_url(given) == url


@pytest.mark.parametrize("given", ["", "http://", "http://x:99999", "unix:///x"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput):
        normal_url(given)


def test_names_are_quoted_in_paths(server: Script) -> None:
    assert main(["status", "a b#?c"]) == 3
    assert server.asked[0] == f"GET {STATUS}/a%20b%23%3Fc"


def route(name: str = "assistant", **breakers: str | None) -> dict[str, Any]:
    targets = [
        {"name": target, "kind": "upstream" if target == "far" else "endpoint", "tier": tier, "breaker": state}
        for tier, (target, state) in enumerate(breakers.items())
    ]
    return {"name": name, "aliases": ["org/gpt"], "targets": targets}


@pytest.mark.parametrize("name", ["assistant", "org/gpt", "far"])
def test_the_status_of_a_route_or_an_upstream_tells_where_requests_go(
    server: Script, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.put(STATUS, everything(endpoint("big")) | {"routes": [route(big="closed", far="open")]})
    assert main(["status", name]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "assistant is a route to big, far (upstream); also called org/gpt",
        "  far: its breaker is open: it goes on failing, and gets no requests",
    ]
    assert main(["status", name, "--quiet"]) == 0
    assert capsys.readouterr().out == "assistant\n"
    assert main(["status", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["routes"][0]["targets"][1]["breaker"] == "open"


def test_a_breaker_that_is_not_closed_is_told_wherever_endpoints_are_shown(
    server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = route("calm", big="closed")
    shown = {"routes": [calm, route(big="half-open")]}
    server.put(STATUS, everything(endpoint("big", breaker="half-open"), endpoint("small", breaker="closed")) | shown)
    server.put(f"{STATUS}/big", one("big", breaker="half-open") | shown)
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert "big: its breaker is half-open" in told
    assert "assistant is a route to big" in told
    assert "small: its breaker" not in told
    assert "calm" not in told
    assert main(["status", "big"]) == 0
    told = capsys.readouterr().out
    assert "half-open: it has failed, and single requests try it out" in told
    assert "calm is a route to big" in told


def test_what_is_neither_endpoint_nor_route_is_told_as_the_server_told_it(
    server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put(STATUS, everything(endpoint("big")) | {"routes": [route(big=None)]})
    assert main(["status", "nobody"]) == 3
    assert "nothing there" in capsys.readouterr().err


def test_wake_waits_until_it_runs(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/wake/chat", one(status="starting"), status=202)
    server.put(f"{STATUS}/chat", one(status="starting", expected_start=9.0), one(status="running"))
    assert main(["wake", "chat"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("chat is running after ")
    assert "http://here/endpoints/chat" in told.out
    assert told.err.splitlines() == ["chat is starting, which takes about 9.0 s", "chat is running"]


def test_wake_without_waiting_tells_what_was_begun(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/wake/chat", one(status="starting"), status=202)
    assert main(["wake", "chat", "--no-wait"]) == 0
    assert capsys.readouterr().out == "chat is starting\n"
    assert server.asked == ["POST /api/endpoints/wake/chat"]


def test_waking_what_is_awake_is_done_at_once(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/wake/chat", one(status="running"), status=202)
    assert main(["wake", "chat"]) == 0
    assert capsys.readouterr().out == "chat is running already: http://here/endpoints/chat\n"


def test_wake_as_json_prints_the_last_answer(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/wake/chat", one(status="starting"), status=202)
    server.put(f"{STATUS}/chat", one(status="running"))
    assert main(["wake", "chat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["endpoint"]["status"] == "running"


def test_a_wake_that_fails_gives_the_reason(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/wake/chat", one(status="starting"), status=202)
    server.put(f"{STATUS}/chat", one(status="error", message="no such file\nin line 2"))
    assert main(["wake", "chat"]) == 1
    assert "error: chat could not be started: no such file\nin line 2" in capsys.readouterr().err


def test_a_wake_that_takes_too_long_exits_5_with_the_last_state(
    server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put("/api/endpoints/wake/chat", one(status="starting"), status=202)
    server.put(f"{STATUS}/chat", one(status="starting", message="downloading: 3 of 9 MB"))
    assert main(["wake", "chat", "--timeout", "0"]) == 5
    told = capsys.readouterr().err
    assert "chat is still starting after 0 s (downloading: 3 of 9 MB)" in told


def test_sleep_tells_what_holds_it_awake(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/sleep/chat", one(status="running"), status=202)
    server.put(f"{STATUS}/chat", one(status="running", held_by=["2 in flight"]), one(status="sleeping"))
    assert main(["sleep", "chat"]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[0] == "chat is running: held awake by 2 in flight"
    assert told.out.startswith("chat is sleeping after ")


def test_sleep_that_takes_too_long_exits_5(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/sleep/chat", one(status="running"), status=202)
    server.put(f"{STATUS}/chat", one(status="running", held_by=["1 in flight"]))
    assert main(["sleep", "chat", "--timeout", "0"]) == 5
    assert "held awake by 1 in flight" in capsys.readouterr().err


def test_logs_are_printed_as_they_are(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/chat/logs", "one\ntwo\n")
    assert main(["logs", "chat", "--tail", "2"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    assert server.asked == ["GET /api/endpoints/chat/logs?tail=2&follow=false"]


def test_logs_for_programs_are_an_object_a_line(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/chat/logs", 'one "1"\n\nlast')
    assert main(["logs", "chat", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [{"line": 'one "1"'}, {"line": ""}, {"line": "last"}]


def test_a_line_of_a_log_that_comes_in_pieces_is_one_line() -> None:
    assert list(whole_lines(["on", "e\ntw", "o\n", "three"])) == ["one", "two", "three"]


def test_logs_of_nobody_exit_3(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/endpoints/x/logs", problem("model_not_found", "There is no 'x'."), status=404)
    assert main(["logs", "x"]) == 3
    assert capsys.readouterr().err == "error: There is no 'x'.\n"


def test_names_are_completed_from_the_server(server: Script) -> None:
    server.put(STATUS, everything(endpoint("chat"), endpoint("embed")))
    items = complete_name(click.Context(click.Command("wake")), click.Argument(["name"]), "e")
    assert [item.value for item in items] == ["embed"]


def test_without_a_server_nothing_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPLIGHTER_URL", "http://127.0.0.1:1")
    assert complete_name(click.Context(click.Command("wake")), click.Argument(["name"]), "") == []


class Clock:
    """Seconds that pass only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def look_at(*bodies: dict[str, Any]) -> Iterator[Reply]:
    yield from (Reply(json.dumps(body), body) for body in bodies)
    while True:
        yield Reply(json.dumps(bodies[-1]), bodies[-1])


def run(goal: Goal, *bodies: dict[str, Any], timeout: float = 10) -> tuple[list[str], Clock]:
    clock, replies = Clock(), look_at(*bodies)
    looks = follow(lambda: next(replies), goal, timeout, clock=clock, pause=clock.pause)
    return [reply.endpoint().status for reply in looks], clock


def test_waiting_ends_when_the_goal_is_seen() -> None:
    seen, _ = run(SLEEP, one(status="running"), one(status="stopping"), one(status="sleeping"))
    assert seen == ["running", "stopping", "sleeping"]


def test_waiting_for_a_wake_ends_when_somebody_puts_it_to_sleep() -> None:
    with pytest.raises(LamplighterError, match="was put to sleep again before it was ready"):
        run(WAKE, one(status="starting"), one(status="sleeping"))


def test_waiting_for_sleep_outlasts_an_error() -> None:
    seen, _ = run(SLEEP, one(status="error"), one(status="sleeping"))
    assert seen == ["error", "sleeping"]


def test_waiting_ends_at_the_deadline_and_not_long_after() -> None:
    clock, replies = Clock(), look_at(one(status="starting"))
    with pytest.raises(LamplighterError) as raised:
        list(follow(lambda: next(replies), WAKE, 10, clock=clock, pause=clock.pause))
    assert raised.value.exit_code == 5
    assert clock.now == pytest.approx(10)


def replies_of(*bodies: dict[str, Any]) -> Iterator[Reply]:
    return iter([Reply(json.dumps(body), body) for body in bodies])


def test_watching_without_a_terminal_prints_a_line_per_change() -> None:
    asleep, awake = (
        everything(endpoint("chat"), endpoint("embed")),
        everything(endpoint("chat", "running", in_flight=1), endpoint("embed")),
    )
    said = list(lines(replies_of(asleep, asleep, awake, awake), None, as_json=False))
    assert [line.split("  ")[1:3] for line in said] == [
        ["chat", "sleeping"],
        ["embed", "sleeping"],
        ["chat", "running"],
    ]


def test_watching_for_programs_prints_the_answer_at_each_change() -> None:
    first, second = one(auto_sleep_in=3.0), one(auto_sleep_in=2.0)
    awake = one(status="running")
    said = list(lines(replies_of(first, second, awake), "chat", as_json=True))
    assert [json.loads(line) for line in said] == [first, awake]  # a countdown is no change
