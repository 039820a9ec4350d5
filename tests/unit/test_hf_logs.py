"""Reading an endpoint's log, whole and as it goes on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.errors import EndpointNotFound, InvalidInput, ProviderUnreachable
from lamplighter.hf.lines import MOST_OF_A_LINE, Lines, Overlap, from_event, missed
from tests.hf_stage import DROPPED, Asked, Reply, Time, client, stage

LOGS = "/v2/endpoint/me/bert/logs"
SSE = f"{LOGS}/sse"
GONE = Reply(404, {"error": "Not Found"})


def events(*lines: str) -> Reply:
    body = b"".join(f"data: {line}\n\n".encode() for line in lines)
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=(body,))


async def test_the_last_lines_are_read_once() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", LOGS, Reply(body="- t1 one\n- t2 two\r\nno end"))
        found = [line async for line in api.logs("bert", tail=3, replica="r1")]
        assert found == ["- t1 one", "- t2 two", "no end"]
        assert cloud.asked[0].query == {"tail": "3", "replica": "r1"}


async def test_the_log_of_what_is_not_there_is_an_error() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        for follow in (False, True):
            with pytest.raises(EndpointNotFound):
                async for _ in api.logs("bert", follow=follow):
                    pass
        assert [asked.path for asked in cloud.asked] == [LOGS, SSE, LOGS]


async def test_a_tail_below_nothing_is_refused() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        with pytest.raises(InvalidInput, match="tail"):
            async for _ in api.logs("bert", tail=-1):
                pass


async def test_a_followed_log_goes_on_over_breaks_without_doubling_lines_and_ends_with_the_endpoint() -> None:
    time = Time()
    async with stage() as cloud, client(cloud.url, time=time, namespace="me") as api:
        cloud.script(
            "GET", SSE, events("a", "b"), DROPPED, Reply(503), events("a", "b", "c"), events("b", "c", "d", "d")
        )
        cloud.script("GET", LOGS, *(Reply(body="old\na\nb\n") for _ in range(3)), Reply(body="a\nb\nc\n"), GONE)
        assert [line async for line in api.logs("bert", tail=7, follow=True)] == ["a", "b", "c", "d", "d"]
        assert [asked.query["tail"] for asked in cloud.questions("GET", SSE)] == ["7", "2", "2", "2", "3"]
        assert all(pause > 0 for pause in time.slept)


async def test_what_is_written_while_there_is_no_connection_is_not_lost() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", SSE, events("a"), events("c", "d", "e"), GONE)
        cloud.script("GET", LOGS, Reply(body="x\na\nb\nc\nd\n"), GONE)
        assert [line async for line in api.logs("bert", tail=1, follow=True)] == ["a", "b", "c", "d", "e"]
        assert [asked.query["tail"] for asked in cloud.asked] == ["1", "500", "4", "500"]


async def test_a_server_without_events_is_followed_as_text() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", LOGS, Reply(pieces=(b"a\nb", b"c\n")), Reply(body="a\nbc\n"), GONE)
        assert [line async for line in api.logs("bert", follow=True)] == ["a", "bc"]
        assert [(asked.path, asked.query.get("follow")) for asked in cloud.asked] == [
            (SSE, None),
            (LOGS, "true"),
            (LOGS, None),
            (LOGS, "true"),
        ]


async def test_lines_come_as_soon_as_they_are_written() -> None:
    more = asyncio.Event()
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", SSE, Reply(pieces=(b"data: first\n\n", more, b"data: second\n\n")))
        async with aclosing(api.logs("bert", follow=True)) as lines:
            assert await anext(lines) == "first"
            more.set()
            assert await anext(lines) == "second"


async def test_a_log_that_can_not_be_reached_is_given_up_in_the_end() -> None:
    time = Time()
    async with stage() as cloud:
        url = cloud.url
    async with client(url, time=time, namespace="me") as api:
        with pytest.raises(ProviderUnreachable):
            async for _ in api.logs("bert", follow=True):
                pass
        assert len(time.slept) == 12
        assert max(time.slept) <= 30.0


async def test_a_quiet_log_is_asked_for_more_and_more_rarely() -> None:
    time, count = Time(), 0

    def answer(_: Asked) -> Reply:
        nonlocal count
        count += 1
        return events() if count < 20 else GONE

    async with stage() as cloud, client(cloud.url, time=time, namespace="me") as api:
        cloud.script("GET", SSE, answer)
        assert [line async for line in api.logs("bert", follow=True)] == []
        assert time.slept[:2] == [0.375, 0.75]
        assert time.slept[-1] == 22.5


def lines_of(*pieces: bytes) -> list[str]:
    reader = Lines()
    return [line for piece in pieces for line in reader.feed(piece)] + list(reader.end())


@given(st.lists(st.text(alphabet="ab\u00e9 \r", max_size=8), max_size=6), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[str], data: st.DataObject) -> None:
    whole = "".join(line + "\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert lines_of(*pieces) == [line.removesuffix("\r") for line in lines]


def test_a_line_without_end_takes_bounded_memory() -> None:
    reader = Lines()
    assert [line for _ in range(10) for line in reader.feed(b"x" * MOST_OF_A_LINE)] == []
    assert len(reader._held) <= MOST_OF_A_LINE
    assert list(reader.feed(b"rest\nnext\n")) == ["x" * MOST_OF_A_LINE, "next"]


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (["data: one", "", "data:two", ""], ["one", "two"]),
        ([": keep-alive", "", "event: log", "id: 3", "data: x", ""], ["x"]),
        (["data: a", "data: b", ""], ["a", "b"]),
        (['data: {"timestamp": "t", "line": "hello"}', ""], ["- t hello"]),
        (['data: {"line": "hello"}', ""], ["hello"]),
        (['data: {"other": 1}', "", "data: {broken", ""], ['{"other": 1}', "{broken"]),
        (["data:  two blanks", ""], [" two blanks"]),
        (["data:", ""], [""]),
    ],
)
def test_events_become_lines(stream: list[str], found: list[str]) -> None:
    assert [line for item in stream if (line := from_event(item)) is not None] == found


@pytest.mark.parametrize(
    ("seen", "comes", "new"),
    [
        ([], ["a"], ["a"]),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "b"], ["x", "y"], ["x", "y"]),
        (["a", "b", "c"], ["a", "x"], ["a", "x"]),
        (["a", "b", "a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "a", "a"], ["a", "a", "a", "a"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["x", "a"], ["a"], []),
    ],
)
def test_what_was_seen_is_left_out(seen: list[str], comes: list[str], new: list[str]) -> None:
    overlap = Overlap(seen)
    assert [line for item in comes for line in overlap.feed(item)] == new


@pytest.mark.parametrize(
    ("seen", "lines", "new"),
    [
        (["a", "b"], ["x", "a", "b", "c"], ["c"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "b"], ["x", "y"], []),
        (["a", "b"], [], []),
        (["a", "b"], ["b", "x", "a", "b", "y"], ["y"]),
        (["a"], ["a", "x", "a", "y"], ["y"]),
        ([], ["a"], []),
    ],
)
def test_what_was_missed_follows_what_was_seen(seen: list[str], lines: list[str], new: list[str]) -> None:
    assert missed(seen, lines) == new


@given(st.lists(st.integers(0, 200), unique=True, min_size=1, max_size=20), st.data())
def test_lines_that_differ_are_never_doubled_nor_lost(numbers: list[int], data: st.DataObject) -> None:
    log = [str(number) for number in numbers]
    seen = data.draw(st.integers(0, len(log)))
    start = data.draw(st.integers(0, seen))
    overlap = Overlap(log[:seen])
    assert [line for item in log[start:] for line in overlap.feed(item)] == log[seen:]
