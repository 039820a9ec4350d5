"""In which order a route's targets are tried, and what a request demands of them."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.choosing import (
    BYTES_PER_TOKEN,
    LOOKED_AT,
    MOST_ATTACHMENTS,
    TOKENS_PER_ATTACHMENT,
    Bid,
    Demands,
    Standing,
    by_cost,
    demands_of,
    fits,
    order,
)
from lamplighter.domain.routing import Fit, Route, RouteTarget

FREE = Standing()


def route(*tiers: list[str] | list[tuple[str, float]]) -> Route:
    pairs = [[one if isinstance(one, tuple) else (one, 1.0) for one in tier] for tier in tiers]
    return Route(
        name="r", tiers=tuple(tuple(RouteTarget(name=name, weight=weight) for name, weight in tier) for tier in pairs)
    )


def known(standings: Mapping[str, Standing]) -> Callable[[RouteTarget], Standing]:
    return lambda target: standings.get(target.name, FREE)


def names(
    route: Route, standings: Mapping[str, Standing] | None = None, *, sticky: str | None = None, draw: float = 0.0
) -> list[str]:
    return [target.name for target in order(route, known(standings or {}), sticky=sticky, draw=draw)]


def test_a_single_target_is_given_without_a_look() -> None:
    only = route(["a"])

    def nobody(target: RouteTarget) -> Standing:
        raise AssertionError(target)

    assert order(only, nobody, sticky="x", draw=0.5) is only.tiers[0]


def test_tiers_keep_their_order_asleep_or_not() -> None:
    assert names(route(["a"], ["b"], ["c"]), {"a": Standing(is_awake=False)}) == ["a", "b", "c"]


def test_among_equals_those_that_are_awake_come_first_and_then_the_least_loaded_for_its_weight() -> None:
    equals = route([("a", 1.0), ("b", 1.0), ("c", 4.0)])
    standings = {"a": Standing(is_awake=False), "b": Standing(in_flight=2), "c": Standing(in_flight=4)}
    for draw in (0.0, 0.3, 0.99):
        assert names(equals, standings, draw=draw) == ["c", "b", "a"]


def test_what_is_full_or_not_admitted_is_left_out_unless_that_were_all() -> None:
    chain = route(["a"], ["b"], ["c"])
    assert names(chain, {"a": Standing(admitted=False), "b": Standing(full=True)}) == ["c"]
    nobody = {name: Standing(admitted=False) for name in "abc"}
    assert names(chain, nobody) == ["a", "b", "c"]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 2.0, 5.0), (0.1, 0.1, 9.8)])
def test_idle_equals_are_drawn_as_often_as_their_weights_say(weights: tuple[float, ...]) -> None:
    equals = route([(name, weight) for name, weight in zip("abc", weights, strict=True)])
    draws = [(index + 0.5) / 10_000 for index in range(10_000)]
    orders = Counter(tuple(names(equals, draw=draw)) for draw in draws)
    total = sum(weights)
    for index, first in enumerate("abc"):
        share = sum(count for seen, count in orders.items() if seen[0] == first) / 10_000
        assert share == pytest.approx(weights[index] / total, abs=0.01)
        for later, second in enumerate("abc"):
            if second != first:
                expected = weights[index] / total * weights[later] / (total - weights[index])
                both = sum(count for seen, count in orders.items() if seen[:2] == (first, second)) / 10_000
                assert both == pytest.approx(expected, abs=0.01)


def test_the_same_sticky_value_goes_to_the_same_target_while_others_come_and_go() -> None:
    keys = [f"session-{number}" for number in range(400)]
    every = route(["a", "b", "c", "d"])
    homes = {key: names(every, sticky=key, draw=random.random())[0] for key in keys}
    fewer = {key: names(route(["d", "b", "a"]), sticky=key)[0] for key in keys}
    away = {key: names(every, {"c": Standing(admitted=False)}, sticky=key)[0] for key in keys}
    assert set(homes.values()) == set("abcd")
    assert fewer == away
    assert all(fewer[key] == home for key, home in homes.items() if home != "c")
    moved = Counter(fewer[key] for key, home in homes.items() if home == "c")
    assert set(moved) == set("abd")  # and not all to one


def test_sticky_values_are_spread_by_weight() -> None:
    equals = route([("a", 1.0), ("b", 3.0)])
    share = sum(names(equals, sticky=f"{number}")[0] == "b" for number in range(4000)) / 4000
    assert share == pytest.approx(0.75, abs=0.03)


def test_a_sticky_value_goes_to_one_that_is_awake_rather_than_to_its_home() -> None:
    equals = route(["a", "b"])
    home = names(equals, sticky="x")[0]
    other = "b" if home == "a" else "a"
    assert names(equals, {home: Standing(is_awake=False)}, sticky="x") == [other, home]


def test_a_sticky_value_leads_to_the_same_target_in_every_process() -> None:
    equals = route(["a", "b", "c", "d", "e"])
    assert [names(equals, sticky=key)[0] for key in ("1", "2", "3", "é", "\udc80")] == ["a", "a", "d", "e", "a"]


standings = st.builds(
    Standing, is_awake=st.booleans(), admitted=st.booleans(), in_flight=st.integers(0, 3), full=st.booleans()
)
shapes = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0.1, 9)), min_size=1, max_size=4), min_size=1
)


@given(
    shapes,
    st.dictionaries(st.sampled_from("abcdefgh"), standings),
    st.none() | st.text(max_size=5),
    st.floats(0, 1, exclude_max=True),
)
def test_the_order_holds_each_usable_target_once_tier_by_tier(
    shape: list[list[tuple[str, float]]], known_of: dict[str, Standing], sticky: str | None, draw: float
) -> None:
    wanted = route(*shape)
    given_order = list(order(wanted, known(known_of), sticky=sticky, draw=draw))

    def usable(target: RouteTarget) -> bool:
        standing = known_of.get(target.name, FREE)
        return standing.admitted and not standing.full

    expected = [target for target in wanted.targets if usable(target)] or list(wanted.targets)
    assert Counter(given_order) == Counter(expected) or len(wanted.targets) == 1
    at = 0
    for tier in wanted.tiers:
        members = [target for target in tier if target in expected]
        part = given_order[at : at + len(members)]
        at += len(members)
        assert Counter(part) == Counter(members)
        awake = [known_of.get(target.name, FREE).is_awake for target in part]
        assert awake == sorted(awake, reverse=True)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m"} | fields).encode()


def asks(**parts: Any) -> bytes:
    return body(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}, parts]}])


PIXELS = base64.b64encode(b"\xff" * 30_000).decode()


@pytest.mark.parametrize(
    ("fit", "demands", "why"),
    [
        (Fit(), Demands(tokens=10**9, tools=True, images=True, json_schema=True), None),
        (Fit(context=100), Demands(tokens=100), None),
        (Fit(context=100), Demands(tokens=101), "about 101 tokens are asked of it, and its context holds 100"),
        (Fit(tools=False), Demands(tools=True), "it has no tools"),
        (Fit(images=False), Demands(images=True), "it takes no images"),
        (Fit(json_schema=False), Demands(json_schema=True), "it can't answer by a JSON schema"),
        (Fit(tools=False, images=False, json_schema=False), Demands(tokens=5), None),
    ],
)
def test_a_target_that_cannot_serve_a_request_says_why(fit: Fit, demands: Demands, why: str | None) -> None:
    assert fits(fit, demands) == why


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_tokens_are_a_third_of_the_bytes_and_what_the_answer_may_have(key: str) -> None:
    request = body(messages=[{"role": "user", "content": "x" * 3000}], **{key: 500})
    demands = demands_of(request)
    assert (demands.tokens, demands.answer) == (len(request) // BYTES_PER_TOKEN + 500, 500)


@pytest.mark.parametrize("value", [None, "many", -5, True, 1.5, [3], 10**30])
def test_an_odd_bound_of_the_answer_does_no_harm(value: Any) -> None:
    tokens = demands_of(body(max_tokens=value)).tokens
    assert tokens >= 0
    assert (tokens > 10**6) == (value == 10**30)


@pytest.mark.parametrize(
    ("request_body", "asked"),
    [
        (body(tools=[{"type": "function"}]), {"tools"}),
        (body(functions=[{"name": "f"}]), {"tools"}),
        (body(tools=[], functions=None), set()),
        (b'{"model": "m", "tools": [ ]}', set()),
        (asks(type="image_url", image_url={"url": "https://x/y.png"}), {"images"}),
        (asks(type="image_url", image_url={"url": f"data:image/png;base64,{PIXELS}"}), {"images"}),
        (asks(type="image", source={"type": "base64", "media_type": "image/png", "data": PIXELS}), {"images"}),
        (body(input=[{"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}]), {"images"}),
        (asks(type="input_audio", input_audio={"data": PIXELS, "format": "wav"}), set()),
        (body(messages=[{"role": "user", "content": 'what is {"type": "image_url"}?'}]), set()),
        (body(messages=[{"role": "user", "content": "image_url"}]), set()),
        (body(response_format={"type": "json_schema", "json_schema": {}}), {"json_schema"}),
        (body(text={"format": {"type": "json_schema"}}), {"json_schema"}),
        (body(response_format={"type": "json_object"}), set()),
        (body(input=["a", "b"]), set()),
        (body(input=[[1, 2], [3]]), set()),
        (body(prompt="a", messages=7, input=None, tools="x" * 0), {"tools"}),
        (b"not json", set()),
        (b'{"model": "m"', set()),
        (b"[1]", set()),
        (b'{"model": "\xff"}', set()),
        (b"[" * 100_000, set()),
    ],
)
def test_demands_are_read_from_every_shape_of_request(request_body: bytes, asked: set[str]) -> None:
    demands = demands_of(request_body)
    assert {name for name in ("tools", "images", "json_schema") if getattr(demands, name)} == asked


def test_the_bytes_of_an_attachment_are_not_counted_as_text() -> None:
    for part in (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXELS}},
        {"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXELS}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ):
        assert TOKENS_PER_ATTACHMENT <= demands_of(asks(**part)).tokens < TOKENS_PER_ATTACHMENT + 100


def test_a_large_text_is_not_taken_for_an_attachment() -> None:
    text = "what does ;base64, mean in a data URL? " * 1000
    assert demands_of(body(messages=[{"role": "user", "content": text}])).tokens > 10_000


@pytest.mark.parametrize(
    ("fit", "is_any"),
    [
        (Fit(), True),
        (Fit(context=None, tools=True), True),
        (Fit(context=8), False),
        (Fit(tools=False), False),
        (Fit(images=False), False),
        (Fit(json_schema=False), False),
        (replace(Fit(tools=False), tools=True), True),
        (replace(Fit(), context=8), False),
    ],
)
def test_a_fit_knows_whether_every_request_fits(fit: Fit, is_any: bool) -> None:
    assert fit.is_any is is_any


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def says(*content: Any) -> bytes:
    return body(messages=[{"role": "user", "content": list(content)}])


def test_no_more_than_so_many_images_are_counted() -> None:
    many = says(*[IMAGE] * (MOST_ATTACHMENTS + 500))
    assert demands_of(many).tokens == len(many) // BYTES_PER_TOKEN + MOST_ATTACHMENTS * TOKENS_PER_ATTACHMENT


def test_no_more_than_so_many_attachments_are_counted_and_the_rest_is_text() -> None:
    recording = {"type": "input_audio", "input_audio": {"data": "A" * 1200}}
    many = says(*[recording] * (MOST_ATTACHMENTS + 500))
    text = len(many) - MOST_ATTACHMENTS * 1200
    assert demands_of(many).tokens == text // BYTES_PER_TOKEN + MOST_ATTACHMENTS * TOKENS_PER_ATTACHMENT


@pytest.mark.parametrize("digits", [20, 400, 4300])
def test_no_answer_is_asked_to_be_longer_than_any_can_be(digits: int) -> None:
    asked = demands_of(b'{"max_tokens":' + b"9" * digits + b"}")
    assert asked.answer == 2**40
    assert asked.tokens < 2**41


@pytest.mark.parametrize("field", ["messages", "input"])
def test_images_are_looked_for_in_so_much_text_and_beyond_attachments_of_any_size(field: str) -> None:
    def asks_for_images(text: str) -> bool:
        return demands_of(body(**{field: [{"content": [{"type": "text", "text": text}, IMAGE]}]})).images

    assert asks_for_images("x" * (LOOKED_AT - 1000))
    assert not asks_for_images("x" * LOOKED_AT)
    assert asks_for_images("data:audio/wav;base64," + "A" * (2 * LOOKED_AT))


def test_what_comes_after_so_much_text_is_text() -> None:
    large = says({"type": "text", "text": "x" * LOOKED_AT}, {"type": "input_audio", "input_audio": {"data": PIXELS}})
    assert demands_of(large).tokens == len(large) // BYTES_PER_TOKEN


def test_a_schema_is_looked_for_in_so_much_of_a_format() -> None:
    assert demands_of(body(response_format={"x": "y" * (LOOKED_AT - 1000), "type": "json_schema"})).json_schema
    assert not demands_of(body(response_format={"x": "y" * LOOKED_AT, "type": "json_schema"})).json_schema


@pytest.mark.parametrize("size", [1000, 1001, 16_384, 16_385, 17_000, 300_000])
def test_an_attachment_ends_where_its_base64_does(size: int) -> None:
    inline = body(messages="see data:image/png;base64," + "A" * size + " and then: " + "say it, " * 2000)
    assert demands_of(inline).tokens == (len(inline) - size) // BYTES_PER_TOKEN + TOKENS_PER_ATTACHMENT
    assert demands_of(body(messages="data:image/png;base64," + "A" * 999)).tokens < TOKENS_PER_ATTACHMENT


def test_by_cost_what_is_full_comes_behind_the_dearer_ones_and_what_is_left_alone_nowhere() -> None:
    targets = {name: RouteTarget(name=name) for name in ("busy", "dear", "cheap", "odd", "tripped")}
    costs = {"busy": 0.0, "dear": 2.0, "cheap": 1.0, "odd": None, "tripped": 0.0}
    known = {"busy": Standing(full=True), "tripped": Standing(admitted=False)}
    bids = [Bid(targets[name], cost, "tokens") for name, cost in costs.items()]

    def look(target: RouteTarget) -> Standing:
        return known.get(target.name, Standing())

    ordered = by_cost(bids, look, sticky=None, draw=0.0)
    assert [bid.target.name for bid in ordered] == ["cheap", "dear", "odd", "busy"]
    assert [bid.target.name for bid in by_cost(bids[:1], look, sticky=None, draw=0.0)] == ["busy"]
    assert [bid.target.name for bid in by_cost(bids[-1:], look, sticky=None, draw=0.0)] == ["tripped"]
