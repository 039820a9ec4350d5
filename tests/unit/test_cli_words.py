"""Words and pictures."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from lamplighter.cli import picture
from lamplighter.cli.answers import EndpointView
from lamplighter.cli.demo.stage import Prose
from lamplighter.cli.meaning import meaning, next_step
from lamplighter.cli.progress import Progress
from lamplighter.cli.words import ago, count, one_line, span, whole


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.934, "0.93 s"),
        (4.21, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
        (-1, "0.00 s"),
    ],
)
def test_a_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (3600, "1 h")])
def test_a_countdown_has_no_decimals(seconds: float, text: str) -> None:
    assert whole(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "just now"), (1, "just now"), (30, "30 s ago"), (200, "3 min ago"), (90_000, "1 d ago")]
)
def test_ago(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_one_thing_is_one_thing() -> None:
    assert [count(number, "endpoint") for number in (0, 1, 2)] == ["0 endpoints", "1 endpoint", "2 endpoints"]


def test_a_message_can_not_command_the_terminal() -> None:
    assert one_line(" a\x1b[31mb\tc\nd") == "a [31mb c"


def console(width: int = 80, **options: Any) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, highlight=False, **options), file


def view(status: str = "sleeping", **more: Any) -> EndpointView:
    return EndpointView(name="chat", status=status, **more)


def test_on_a_narrow_terminal_only_the_models_name_is_cut() -> None:
    screen, file = console(80)
    model = "some-very-long-organisation/some-very-long-model-name-instruct"
    views = [view("running", model=model, in_flight=3, waiting=12, last_activity=100.0, auto_sleep_in=3599.0)]
    screen.print(picture.overview(screen, views, 320.0))
    said = file.getvalue()
    assert all(len(line) <= 80 for line in said.splitlines())
    assert all(word in said for word in ("running", "in flight", "waiting", "3 min ago", "59 min 59 s"))
    assert "…" in said


def test_columns_that_say_nothing_make_room() -> None:
    screen, file = console(80)
    screen.print(picture.overview(screen, [view()], 0.0))
    assert "in flight" not in file.getvalue()


def test_messages_stand_below_the_table() -> None:
    screen, file = console()
    screen.print(picture.overview(screen, [view("starting", message="downloading: 3 of 9 MB")], 0.0))
    assert file.getvalue().splitlines()[-1].strip() == "chat: downloading: 3 of 9 MB"


def test_no_endpoints_is_said_with_what_to_do() -> None:
    screen, file = console()
    screen.print(picture.overview(screen, [], 0.0))
    assert "`lamplighter init`" in file.getvalue()


@pytest.mark.parametrize(
    ("shown", "means", "hint"),
    [
        (view("running", auto_sleep_in=60.0), "put to sleep in 1 min if nothing comes", "lamplighter sleep chat"),
        (view("running", held_by=("2 in flight",)), "held awake by 2 in flight", "send requests"),
        (view("running"), "never put to sleep by itself", "send requests"),
        (view("running", idle_timeout=900.0), "put to sleep after 15 min without a request", "send requests"),
        (view("sleeping"), "nothing runs and nothing costs", "lamplighter wake chat"),
        (view("starting", starting_for=1.0, expected_start=3.0), "1.0 s of the usual 3.0 s so far", "logs chat -f"),
        (view("stopping"), "is being ended", "lamplighter sleep chat"),
        (view("error", message="no such file"), "could not be started: no such file", "lamplighter logs chat"),
        (view("unknown", state="running", state_age=30.0), "last known: running, 30 s ago", "server's log"),
        (view("hibernating"), "can't be asked", "server's log"),
    ],
)
def test_every_phase_has_a_meaning_and_a_next_step(shown: EndpointView, means: str, hint: str) -> None:
    assert means in meaning(shown)
    assert hint in next_step(shown)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_without_a_terminal_is_a_line_per_phase_and_few_messages() -> None:
    screen, file = console()
    clock = Clock()
    with Progress(screen, "running", clock=clock) as progress:
        for second, message in [(0.0, "1 MB"), (1.0, "2 MB"), (2.0, "3 MB"), (6.0, "4 MB"), (6.5, "4 MB")]:
            clock.now = second
            progress.show(view("starting", state="pending", message=message))
        progress.show(view("running"))
    assert file.getvalue().splitlines() == [
        "chat is starting: 1 MB",
        "chat is starting: 4 MB",
        "chat is running",
    ]


def test_progress_on_a_terminal_leaves_no_line_behind_and_shows_both_times() -> None:
    screen, file = console(force_terminal=True)
    with Progress(screen, "running", clock=Clock()) as progress:
        progress.show(view("starting", starting_for=1.0, expected_start=4.0))
    said = file.getvalue()
    assert "1.0 s of about 4.0 s" in said
    assert said.endswith("\x1b[1A\x1b[2K")


def test_an_answer_is_wrapped_at_words_and_keeps_its_lines() -> None:
    screen, file = console(30)
    prose = Prose(screen)
    for piece in ["The lamps a", "re lit one ", "after another.\n", "\n", "Go", "od\x1b night"]:
        prose.add(piece)
    prose.end(cut=True)
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "  │ The lamps are lit one",
        "  │ after another.",
        "  │ Good night…",
    ]
