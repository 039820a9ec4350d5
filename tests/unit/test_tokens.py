"""Tokens are read from the answers, and streams come out as they would have without our asking."""

import itertools
import json
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.gateway.tokens import (
    KEPT_OF_ANSWER,
    LONGEST_EVENT,
    AnswerTokens,
    StreamTokens,
    of_answer,
    refuses_usage,
    wants_usage,
)

ANSWERS = {
    "chat": ({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}}, (12, 34)),
    "details": (
        {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}},
        (3, 4),
    ),
    "embeddings": ({"data": [], "usage": {"prompt_tokens": 7, "total_tokens": 7}}, (7, 0)),
    "responses": (
        {"output": [], "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 6}},
        (5, 6),
    ),
    "messages": (
        {
            "content": [],
            "usage": {
                "input_tokens": 5,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": None,
                "output_tokens": 6,
            },
        },
        (105, 6),
    ),
    "rerank": ({"results": [], "usage": {"total_tokens": 9}}, (9, 0)),
    "llama.cpp": ({"content": "x", "tokens_predicted": 8, "tokens_evaluated": 2}, (2, 8)),
    "transcription in seconds": ({"text": "x", "usage": {"type": "duration", "seconds": 4}}, (0, 0)),
}


@pytest.mark.parametrize(("answer", "counts"), ANSWERS.values(), ids=ANSWERS)
def test_every_shape_is_read(answer, counts):
    assert of_answer(json.dumps(answer).encode()) == counts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"usage":null}',
        b'{"usage":7}',
        b'{"usage":{"prompt_tokens":-1,"completion_tokens":2}}',
        b'{"usage":{"prompt_tokens":1e300}}',
        b'{"usage":{"prompt_tokens":"many"}}',
        b'["usage"]',
        b'"usage"',
        b'{"usage":{"prompt_tokens":1',
        b'\xff"usage"\xff',
        b'{"a":' * 5000 + b'"usage"',
        rb'{"content":"say \"usage\": {\"prompt_tokens\": 5}"}',
        json.dumps({"text": '"usage": {"prompt_tokens": 5}' + "x" * KEPT_OF_ANSWER}).encode(),
        b"x" * KEPT_OF_ANSWER + b'"usage":{"prompt_tokens":{{{{',
    ],
)
def test_what_tells_no_usage_counts_nothing(body):
    assert of_answer(body) is None


def long_answer(after: str = "") -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}
    told = {"data": [{"embedding": [0.5] * 8192}] * 4, "usage": usage, "system_fingerprint": after}
    return json.dumps(told).encode()


def test_of_a_long_answer_the_end_is_read():
    assert len(long_answer()) > 4 * KEPT_OF_ANSWER
    assert of_answer(long_answer("x" * 1000)) == (7, 2)
    assert of_answer(long_answer("x" * KEPT_OF_ANSWER)) is None


@pytest.mark.parametrize("body", [long_answer(), b'{"usage":{"prompt_tokens":1,"completion_tokens":2}}'])
@pytest.mark.parametrize("size", [7, 4096, KEPT_OF_ANSWER + 1, 1 << 20])
def test_an_answer_in_pieces_counts_as_the_whole(body, size):
    tokens = AnswerTokens()
    for start in range(0, len(body), size):
        tokens.feed(body[start : start + size])
    assert tokens.count() == of_answer(body)


def asked(body: bytes) -> Any:
    changed = wants_usage(body)
    assert changed is not None
    return json.loads(changed)


def test_a_stream_is_asked_for_its_usage_and_all_else_stays_as_it_came():
    body = b' {"model" : "m","stream": true, "temperature":1.0e0,\n"messages":[{"content":"\\u00e9 \xc3\xa9"}]}'
    changed = wants_usage(body)
    assert changed == b' {"stream_options":{"include_usage":true},' + body[2:]
    assert json.loads(changed) == {**json.loads(body), "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("value", [b"true", b"1", b"1.0", b'"true"', b'"True"', b'"1"', b'"yes"', b'"on"'])
def test_what_lax_engines_take_for_a_stream_is_asked_as_well(value):
    body = b'{"model":"m","stream":%b}' % value
    assert wants_usage(body) == b'{"stream_options":{"include_usage":true},' + body[1:]


def test_options_that_are_there_are_kept():
    body = b'{"stream":true,"top_p":1.00,"stream_options":{"include_usage":false,"continuous_usage_stats":true}}'
    assert asked(body)["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert b'"top_p":1.00' in (wants_usage(body) or b"")
    assert asked(b'{"stream":true,"stream_options":null}')["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"stream":false}',
        b'{"stream":null}',
        b'{"stream":0}',
        b'{"stream":0.0}',
        b'{"stream":""}',
        b'{"stream":"False"}',
        b'{"stream":"off"}',
        b'{"stream":[1]}',
        b'{"stream":{}}',
        b'{"stream":true,"stream_options":{"include_usage":1}}',
        b'{"stream":true,"stream_options":{"include_usage":"True"}}',
        b'{"messages":[{"content":"\\"stream\\": true"}]}',
        b'{"tools":[{"stream":true}]}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":7}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true',
        b'["stream"]',
        b'{"stream":true,"a":"\xff"}' + b"{" * 3000,
    ],
)
def test_nothing_is_asked_for_where_it_would_be_wrong(body):
    assert wants_usage(body) is None


def test_a_refusal_to_be_asked_is_known_by_its_name():
    refusal = b'{"object":"error","message":"Extra inputs are not permitted: stream_options"}'
    assert refuses_usage(400, refusal)
    assert refuses_usage(422, b'{"detail":[{"loc":["body","stream_options","include_usage"]}]}')
    assert not refuses_usage(200, refusal)
    assert not refuses_usage(500, refusal)
    assert not refuses_usage(400, b'{"error":{"message":"context too long"}}')


def event(told: object, end: str = "\n\n", **style: Any) -> bytes:
    text = told if isinstance(told, str) else json.dumps(told, **{"separators": (",", ":"), **style})
    return f"data: {text}{end}".encode()


def chunk(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}], **more}


USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
EXTRA: dict[str, Any] = {"id": "c", "choices": [], "usage": USAGE}
TALKS_OF_IT = chunk('the member "usage": null, or ,"usage":null')


def streams(end: str = "\n\n", **style: Any) -> tuple[bytes, bytes]:
    """A stream as it comes when its usage was asked for, and as it would have come without."""
    plain: list[dict[str, Any]] = [
        chunk("one"),
        TALKS_OF_IT,
        chunk("é\u2028"),
        {"choices": [], "prompt_filter_results": []},
    ]
    comment = f": ping{end}".encode()
    asked = b"".join(event({**one, "usage": None}, end, **style) for one in plain)
    unasked = b"".join(event(one, end, **style) for one in plain)
    done = event("[DONE]", end)
    return comment + asked + event(EXTRA, end, **style) + done, comment + unasked + done


STYLES: list[dict[str, Any]] = [
    {"end": "\n\n"},
    {"end": "\r\n\r\n"},
    {"end": "\n\n", "separators": (", ", ": ")},
    {"end": "\n\n", "ensure_ascii": False},
]


def through(stream: StreamTokens, data: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    return b"".join(stream.feed(data[a:b]) for a, b in itertools.pairwise(edges)) + stream.end()


@pytest.mark.parametrize("style", STYLES)
@given(cuts=st.lists(st.integers(0, 600), max_size=30))
def test_wherever_a_stream_is_cut_what_was_asked_for_is_counted_and_taken_out(style, cuts):
    came, wanted = streams(**style)
    stream = StreamTokens(strip=True)
    assert through(stream, came, cuts) == wanted
    assert (stream.tokens_in, stream.tokens_out) == (12, 34)
    assert stream.events == 6


@pytest.mark.parametrize("style", STYLES)
@given(cuts=st.lists(st.integers(0, 600), max_size=30))
def test_a_client_that_asked_gets_every_byte_at_once(style, cuts):
    came, _ = streams(**style)
    stream = StreamTokens(strip=False)
    edges = [0, *sorted(cut for cut in cuts if cut < len(came)), len(came)]
    for start, end in itertools.pairwise(edges):
        assert stream.feed(came[start:end]) == came[start:end]
    assert stream.end() == b""
    assert (stream.tokens_in, stream.tokens_out) == (12, 34)
    assert stream.events == 6


def test_usage_beside_a_choice_is_counted_and_stays():
    last = event(chunk("end", usage=USAGE))
    stream = StreamTokens(strip=True)
    assert stream.feed(last) == last
    assert (stream.tokens_in, stream.tokens_out) == (12, 34)


def test_messages_tell_it_at_the_start_and_at_the_end():
    start = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 25, "output_tokens": 1}}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
    came = b"event: message_start\n" + event(start) + b"event: message_delta\n" + event(delta)
    stream = StreamTokens(strip=False)
    assert through(stream, came, [3, 60, 61]) == came
    assert (stream.tokens_in, stream.tokens_out) == (25, 15)


def test_responses_tell_it_inside_of_the_response():
    created = {"type": "response.created", "response": {"id": "r", "usage": None}}
    completed = {"type": "response.completed", "response": {"usage": {"input_tokens": 4, "output_tokens": 2}}}
    came = b"event: response.created\n" + event(created) + b"event: response.completed\n" + event(completed)
    stream = StreamTokens(strip=False)
    assert stream.feed(came) == came
    assert (stream.tokens_in, stream.tokens_out) == (4, 2)


def test_llama_cpps_own_streams_count_without_any_usage():
    stream = StreamTokens(strip=False)
    stream.feed(event({"content": "x", "stop": True, "tokens_predicted": 8, "tokens_evaluated": 2}))
    assert (stream.tokens_in, stream.tokens_out) == (2, 8)


def test_numbers_that_grow_on_the_way_count_once():
    stream = StreamTokens(strip=False)
    for done in (1, 2, 3):
        stream.feed(event(chunk("x", usage={"prompt_tokens": 5, "completion_tokens": done})))
    assert (stream.tokens_in, stream.tokens_out) == (5, 3)


def test_half_an_event_waits_for_its_end_and_a_comment_does_not():
    stream = StreamTokens(strip=True)
    assert stream.feed(b": pi") == b": pi"
    assert stream.feed(b"ng\n\n" + event("1") + b"data: {") == b"ng\n\n" + event("1")
    assert stream.feed(b'"a":1}\n') == b""
    assert stream.feed(b"\n") == b'data: {"a":1}\n\n'


@pytest.mark.parametrize("size", [1 << 10, 1 << 15, 1 << 17])
@pytest.mark.parametrize("strip", [True, False])
def test_a_long_event_passes_unseen_and_what_follows_is_seen(strip, size):
    long = event(chunk("x" * 3 * LONGEST_EVENT, usage={"prompt_tokens": 99}))
    came = long + event(EXTRA)
    stream = StreamTokens(strip)
    out = b""
    for start in range(0, len(came), size):
        out += stream.feed(came[start : start + size])
        assert len(stream._tail) <= LONGEST_EVENT
        assert not strip or len(came[: start + size]) - len(out) <= LONGEST_EVENT + len(event(EXTRA))
    assert out + stream.end() == (long if strip else came)
    assert (stream.tokens_in, stream.tokens_out) == (12, 34)
    assert stream.events == 2


def test_a_stream_that_is_cut_off_gives_what_came():
    stream = StreamTokens(strip=True)
    assert stream.feed(b"data: [DONE]\n") == b""
    assert stream.end() == b"data: [DONE]\n"
    assert stream.end() == b""


@given(
    st.lists(st.sampled_from([b"data:", b"\n", b"\r\n", b'{"usage":', b"{}", b"null", b"}", b"\xff", b":", b'"usage"']))
)
def test_garbage_passes_as_it_came(pieces):
    plain, stripping = StreamTokens(strip=False), StreamTokens(strip=True)
    came = b"".join(pieces)
    assert b"".join(map(plain.feed, pieces)) + plain.end() == came
    b"".join(map(stripping.feed, pieces))
    assert stripping.end() in came


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@given(cuts=st.lists(st.integers(0, 300), max_size=20))
def test_events_are_counted_where_a_stream_tells_no_usage(end, cuts):
    named = f"event: delta{end[: len(end) // 2]}".encode() + event({"delta": "\ndata: x"}, end)
    came = f": ping{end}".encode() + named + event(chunk("b"), end) + event("[DONE]", end)
    stream = StreamTokens(strip=False)
    assert through(stream, came, cuts) == came
    assert (stream.tokens_in, stream.tokens_out, stream.events) == (0, 0, 3)


def test_an_event_without_an_end_counts_when_the_stream_ends():
    stream = StreamTokens(strip=True)
    stream.feed(event("1") + b"data: [DONE]\n")
    assert stream.events == 1
    stream.end()
    stream.end()
    assert stream.events == 2


@pytest.mark.parametrize("strip", [True, False])
@pytest.mark.parametrize("end", ["\n\n\n", "\n\n\n\n\n", "\r\n\r\n\n", "\n\r\n\n"])
def test_more_empty_lines_than_needed_pass_on(strip, end):
    last = event(chunk("end", usage=USAGE), end)
    assert through(StreamTokens(strip), last + event("[DONE]"), []) == last + event("[DONE]")


def seconds(work: Callable[[], object]) -> float:
    """Of processor time, at its best."""
    took = []
    for _ in range(5):
        began = process_time()
        work()
        took.append(process_time() - began)
    return min(took)


def fed(stream: StreamTokens | AnswerTokens, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        stream.feed(data[start : start + size])


WORK: dict[str, Callable[[int], object]] = {
    "spaces": lambda size: StreamTokens(True).feed(event(chunk(" " * size, usage=USAGE))),
    "commas and spaces": lambda size: StreamTokens(True).feed(event(chunk(" , " * (size // 3), usage=USAGE))),
    "an event in small pieces": lambda size: fed(StreamTokens(True), event(chunk("x" * size)), 16),
    "a client's own in small pieces": lambda size: fed(StreamTokens(False), event(chunk("x" * size)), 16),
    "events that end within pieces": lambda size: fed(StreamTokens(True), event(chunk("x")) * (size // 70), 11),
    "an answer in small pieces": lambda size: fed(AnswerTokens(), b"x" * size, 16),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_eight_times_the_bytes_are_about_eight_times_the_work(work):
    small, large = seconds(lambda: work(7_500)), seconds(lambda: work(60_000))
    assert large < 24 * max(small, 0.0001)  # 64 times, where each byte were looked at once for each other
