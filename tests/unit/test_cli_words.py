"""Words and pictures."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from lamplighter.cli.base.advice import complete
from lamplighter.cli.demo.stage import Prose
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show import picture, portrayal, standing
from lamplighter.cli.show.meaning import status_of
from lamplighter.cli.show.printing import Form, print_outcome
from lamplighter.cli.show.progress import Progress
from lamplighter.cli.show.words import ago, count, one_line, span, whole
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.status import Status
from tests.cli_cloud import endpoint


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


@pytest.mark.parametrize(
    ("said", "completed"),
    [
        ("`lamplighter stop chat` pauses it", "`lamplighter stop chat --cloud` pauses it"),
        ("`lamplighter a` or `lamplighter b c`", "`lamplighter a --cloud` or `lamplighter b c --cloud`"),
        ("`lamplighter pause chat --server http://x -n me`", "`lamplighter pause chat --server http://x -n me`"),
        ("start one with `lamplighter serve`", "start one with `lamplighter serve`"),
        ("`lamplighter stop --help` tells more", "`lamplighter stop --help` tells more"),
        ("run `hf auth login`", "run `hf auth login`"),
    ],
)
def test_a_command_that_is_advised_leads_to_where_the_advice_came_from(said: str, completed: str) -> None:
    assert complete(said, " --cloud") == completed
    assert complete(said, "") == said


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
        (view("running", auto_sleep_in=60.0), "sleeps by itself in 60 s", "lamplighter stop chat"),
        (view("running", held_by=("2 in flight",)), "Kept awake by 2 in flight", "lamplighter stop chat"),
        (view("running"), "never sleeps by itself", "lamplighter stop chat"),
        (view("running", idle_timeout=900.0), "by itself after 15 min without a request", "lamplighter stop chat"),
        (view("sleeping"), "the next request wakes it", "lamplighter start chat"),
        (view("sleeping", state="paused"), "no request wakes it", "lamplighter start chat"),
        (view("starting", starting_for=1.0, expected_start=3.0), "for 1 s (usually 3 s)", "lamplighter wait chat"),
        (view("stopping"), "On its way to sleep", "lamplighter start chat"),
        (view("error", message="no such file"), "Failed: no such file", "lamplighter logs chat"),
        (view("unknown", state="running", state_age=30.0), "may be billed", "lamplighter describe chat"),
        (view("hibernating"), "can't be asked", "lamplighter describe chat"),
    ],
)
def test_every_phase_has_a_meaning_and_a_next_step(shown: EndpointView, means: str, hint: str) -> None:
    meaning = status_of(shown).meaning
    assert means in meaning
    assert hint in meaning


def test_what_is_not_known_now_is_told_as_it_was_last() -> None:
    screen, file = console()
    screen.print(picture.one(screen, view("unknown", state="running", state_age=30.0), 0.0))
    assert "last known  running, 30 s ago" in file.getvalue()


def test_the_two_ways_to_sleep_are_told_apart_at_a_glance() -> None:
    screen, file = console()
    views = [view("sleeping", state="paused"), view("sleeping", state="scaledToZero"), view("running", state="running")]
    screen.print(picture.overview(screen, views, 0.0))
    states = [re.split(r" {2,}", line)[1].partition(" ")[2] for line in file.getvalue().splitlines()[1:]]
    assert states == ["paused", "scaled to zero", "running"]


@pytest.mark.parametrize(
    "beside",
    [
        {"auto_sleep_in": 840.0, "idle_timeout": 900.0, "price_per_hour": 0.8},
        {"idle_timeout": 900.0, "price_per_hour": 0.0},
        {"idle_timeout": None, "price_per_hour": None},
        {"idle_timeout": 900.0, "held_by": ["keep_warm"]},
    ],
)
def test_all_verbs_say_the_same_of_what_an_endpoint_costs_and_when_it_sleeps(
    beside: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    one = Endpoint.of(endpoint("chat") | {"lamplighter": {"phase": "running", **beside}}, "me")
    screen, file = console(200)
    screen.print(portrayal.one(screen, one))
    screen.print(standing.one(screen, Status.of(one)))
    print_outcome(one, Form())  # on standard output
    meaning = Status.of(one).meaning
    assert " ".join(file.getvalue().split()).count(meaning) == 2
    assert meaning in capsys.readouterr().out
    shown = view("running", **{key: value for key, value in beside.items() if key != "price_per_hour"})
    assert _after_the_cost(status_of(shown).meaning) == _after_the_cost(meaning)


def _after_the_cost(meaning: str) -> str:
    return meaning.partition(". ")[2]


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
