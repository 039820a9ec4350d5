"""Routes and upstreams are read whole, checked whole, and told of in the words of the file."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest

from lamplighter.config import Settings, diff, parse
from lamplighter.domain.routing import (
    BreakerPolicy,
    Fit,
    Repeat,
    RetryPolicy,
    Route,
    RouteTarget,
    TokenPrice,
    Upstream,
    WhileWaking,
)
from lamplighter.errors import ConfigError


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def read(text: str, **environ: str) -> Settings:
    return parse(dedent(text), "/etc/lamplighter.yaml", environ)


def problem(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)
    return raised.value.message.replace("/etc/lamplighter.yaml:", "line ")


MODELS = """
endpoints:
  big: {engine: x, aliases: [org/big], price_per_hour: 4.5}
  small: {engine: x}
upstreams:
  rented: {base_url: https://api.example.com/v1, price: {input: 0.1, output: 0.4}}
"""


def with_route(line: str) -> str:
    return MODELS + f"routes:\n  best:\n    {line}\n"


def test_a_route_gets_everything_it_was_given() -> None:
    settings = read(
        MODELS
        + """
routes:
  best:
    targets:
      - big
      - [{endpoint: small, weight: 2}, {name: small, model: other}]
      - {upstream: rented, model: org/m, context: 4096, tools: false, images: false, json_schema: false}
    aliases: [gpt, org/Best]
    while_waking: bridge
    bridge_after: 1500ms
    deadline: 2m
    first_byte_timeout: 30s
    max_attempts: 5
    repeat: always
    sticky: X-Session-Id
    feedback: true
"""
    )
    assert settings.routes() == {
        "best": Route(
            name="best",
            tiers=(
                (RouteTarget(name="big"),),
                (RouteTarget(name="small", weight=2.0), RouteTarget(name="small", model="other")),
                (
                    RouteTarget(
                        name="rented",
                        model="org/m",
                        fit=Fit(context=4096, tools=False, images=False, json_schema=False),
                    ),
                ),
            ),
            aliases=("gpt", "org/Best"),
            while_waking=WhileWaking.BRIDGE,
            bridge_after=1.5,
            deadline=120.0,
            first_byte_timeout=30.0,
            max_attempts=5,
            repeat=Repeat.ALWAYS,
            sticky="x-session-id",
            feedback=True,
        )
    }
    assert settings.tariff().endpoints == {"big": Decimal("4.5")}


def test_a_route_that_says_nothing_is_the_domains() -> None:
    route = read(with_route("targets: [big]")).routes()["best"]
    assert route == Route(name="best", tiers=((RouteTarget(name="big"),),))


def test_an_upstream_gets_everything_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    text = f"""
        upstreams:
          a:
            base_url: ${{HOST}}/v1/
            key: file:{tmp_path}/key
            headers: {{X-Org: "of ${{ORG}}"}}
            model: m
            max_in_flight: 7
            price: {{input: 0.15, output: 0.6}}
          b: {{base_url: http://127.0.0.1:9000}}
        """
    settings = read(text, HOST="https://api.example.com", ORG="mine")
    assert settings.upstreams() == {
        "a": Upstream(
            name="a",
            url="https://api.example.com/v1",
            headers={"X-Org": "of mine", "Authorization": "Bearer hush"},
            model="m",
            max_in_flight=7,
            price=TokenPrice(input=0.15, output=0.6),
        ),
        "b": Upstream(name="b", url="http://127.0.0.1:9000"),
    }
    assert "hush" not in repr(settings)
    assert "hush" not in repr(settings.upstreams())
    assert "mine" not in repr(settings)


def test_the_router_of_hugging_face_needs_a_token_alone() -> None:
    router = read("upstreams: {router: {type: huggingface-router}}", HF_TOKEN="hf_x").upstreams()["router"]
    assert router.url == "https://router.huggingface.co/v1"
    assert router.headers == {"Authorization": "Bearer hf_x"}
    named = read("upstreams: {router: {type: huggingface-router, key: env:K}}", HF_TOKEN="hf_x", K="k").upstreams()
    assert named["router"].headers == {"Authorization": "Bearer k"}
    own = 'upstreams: {router: {type: huggingface-router, headers: {authorization: "Bearer ${K}"}}}'
    assert read(own, HF_TOKEN="hf_x", K="k").upstreams()["router"].headers == {"authorization": "Bearer k"}


def test_the_token_of_hugging_face_goes_nowhere_else_by_itself() -> None:
    text = "upstreams: {router: {type: huggingface-router, base_url: https://elsewhere.example/v1}}"
    assert read(text, HF_TOKEN="hf_x").upstreams()["router"].headers == {}


def test_a_router_without_a_token_tells_what_to_do() -> None:
    told = problem("upstreams: {router: {type: huggingface-router}}")
    assert told.startswith("line 1: upstreams.router: needs a Hugging Face token: set HF_TOKEN, log in with")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{}", "upstreams.a: needs a `base_url`, such as https://api.example.com/v1"),
        ("{base_url: 5}", "upstreams.a.base_url: 5 should be a URL that begins with http"),
        ("{base_url: api.example.com/v1}", "'api.example.com/v1' should be a URL that begins with http:// or https://"),
        ("{base_url: 'ftp://x'}", "should be a URL that begins with"),
        ("{base_url: 'http://'}", "should be a URL that begins with"),
        ("{base_url: 'http://x y/v1'}", "should be a URL that begins with"),
        ("{base_url: 'http://x:99999/v1'}", "should be a URL that begins with"),
        ("{base_url: 'http://[x/v1'}", "should be a URL that begins with"),
        ("{base_url: 'https://me:hush@x/v1'}", "upstreams.a.base_url: must not hold a user or a password"),
        ("{base_url: 'https://hush@x/v1'}", "upstreams.a.base_url: must not hold a user or a password"),
        ("{base_url: 'https://x/v1?key=hush'}", "upstreams.a.base_url: must end with its path"),
        ("{base_url: 'https://x/v1#hush'}", "upstreams.a.base_url: must end with its path"),
        ("{base_url: '${NOWHERE}/v1'}", "names the environment variable NOWHERE, which is not set"),
        ("{base_url: http://x, key: hush}", "upstreams.a.key: is not a key's place"),
        ("{base_url: http://x, key: [hush]}", "upstreams.a.key: is not a key's place"),
        ("{base_url: http://x, key: 'env:NOWHERE'}", "names the environment variable NOWHERE, which is not set"),
        ("{base_url: http://x, key: 'file:/nope'}", "names the file /nope, which can't be read"),
        ("{base_url: http://x, key: 'env:ODD'}", "upstreams.a.key: names a key with blanks, line ends"),
        ("{base_url: http://x, key: env:K, headers: {AUTHORIZATION: x}}", "has a `key` and an Authorization header"),
        ("{base_url: http://x, headers: {X Y: hush}}", "should be the name of a header"),
        ("{base_url: http://x, headers: {Host: y}}", "is a header that belongs to each connection"),
        ("{base_url: http://x, headers: {A: '${ODD}'}}", "headers.A: has line ends or other characters"),
        ("{base_url: http://x, max_in_flight: 0}", "max_in_flight: 0 should be greater than or equal to 1"),
        ("{base_url: http://x, price: 3}", "upstreams.a.price: 3 should be a mapping"),
        ("{base_url: http://x, price: {input: 1}}", "upstreams.a.price.output: is required"),
        ("{base_url: http://x, price: {input: 1, outptu: 1, output: 1}}", "unknown key; did you mean output?"),
        ("{base_url: http://x, price: {input: -1, output: 1}}", "-1 should be greater than or equal to 0"),
        ("{base_ulr: http://x}", "upstreams.a.base_ulr: unknown key; did you mean base_url?"),
        ("{type: openay}", "upstreams.a.type: 'openay' should be 'openai' or 'huggingface-router'"),
    ],
)
def test_an_error_in_an_upstream_names_line_key_and_what_is_right_and_no_secret(line: str, told: str) -> None:
    text = problem(f"upstreams:\n  a: {line}", K="k", ODD="a\r\nhush: b")
    assert "line 2: " in text
    assert told in text
    assert "hush" not in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("targets: []", "line 9: routes.best.targets: [] needs at least one"),
        ("targets: [[]]", "routes.best.targets[0]: [] needs at least one"),
        ("aliases: [a]", "routes.best.targets: is required"),
        ("targets: big", "routes.best.targets: 'big' should be a list"),
        ("targets: [bgi]", "routes.best.targets[0]: there is no endpoint or upstream 'bgi'; did you mean big?"),
        ("targets: [big, {endpoint: rented}]", "targets[1]: there is no endpoint 'rented'; known are big, small"),
        ("targets: [{upstream: big}]", "targets[0]: there is no upstream 'big'; known are rented"),
        ("targets: [[small, {name: smal}]]", "targets[0][1]: there is no endpoint or upstream 'smal'; did you mean"),
        ("targets: [best]", "targets[0]: leads to itself; a route leads to endpoints and upstreams alone"),
        ("targets: [other]\n  other: {targets: [big]}", "targets[0]: leads to the route 'other'; a route leads to"),
        ("targets: [org/big]", "targets[0]: 'org/big' is an alias; write big"),
        ("targets: [120]", "targets[0]: 120 should be text; put it in quotes"),
        ("targets: [{}]", "targets[0]: needs exactly one of `name`, `endpoint` and `upstream`"),
        ("targets: [{name: big, endpoint: big}]", "targets[0]: needs exactly one of"),
        ("targets: [{name: big, wieght: 2}]", "targets[0].wieght: unknown key; did you mean weight?"),
        ("targets: [{name: big, weight: 0}]", "targets[0].weight: 0 should be greater than 0"),
        ("targets: [[big, {name: small, weight: -1}]]", "targets[0][1].weight: -1 should be greater than 0"),
        ("targets: [{name: big, context: 0}]", "targets[0].context: 0 should be greater than or equal to 1"),
        ("targets: [{name: big, tools: 2}]", "targets[0].tools: 2 should be true or false"),
        ("targets: [big, small, big]", "targets[2]: 'big' stands in targets[0] already"),
        ("targets: [[big, {endpoint: big}]]", "targets[0][1]: 'big' stands in targets[0][0] already"),
        ("targets: [{name: big, model: x}, {name: big, model: x}]", "'big' stands in targets[0] already"),
        ("{targets: [big], aliases: [small]}", "aliases[0]: 'small' is taken by endpoints.small"),
        ("{targets: [big], aliases: [org/big]}", "aliases[0]: 'org/big' is taken by endpoints.big.aliases[0]"),
        ("{targets: [big], aliases: [best]}", "aliases[0]: 'best' is taken by routes.best"),
        ("{targets: [big], aliases: [a, a]}", "aliases[1]: 'a' is taken by routes.best.aliases[0]"),
        ("{targets: [big, small], while_waking: brige}", "'brige' should be 'hold', 'bridge' or 'fail'"),
        ("{targets: [big], while_waking: bridge}", "while_waking: needs a second target that answers meanwhile"),
        ("{targets: [big], bridge_after: 1s}", "bridge_after: does nothing without `while_waking: bridge`"),
        (
            "{targets: [big, small], while_waking: bridge, bridge_after: 2m, deadline: 1m}",
            "bridge_after: is not shorter than the deadline, 60 s",
        ),
        ("{targets: [big], deadline: 0}", "deadline: 0.0 should be greater than 0"),
        ("{targets: [big], max_attempts: 0}", "max_attempts: 0 should be greater than or equal to 1"),
        ("{targets: [big], repeat: never}", "repeat: 'never' should be 'not-executed' or 'always'"),
        ("{targets: [big], sticky: a b}", "sticky: 'a b' should be the name of a header"),
        ("{targets: [big, rented], rent: ja}", "rent: 'ja' should be true or false"),
        ("{targets: [big], rent: true}", "rent: needs an endpoint to wake and an upstream to rent among the targets"),
        ("{targets: [small, rented], rent: true}", "rent: needs endpoints.small.price_per_hour"),
        ("{targets: [big, rented], choose: best}", "choose: 'best'"),
        ("{targets: [big], choose: cheapest}", "choose: needs a second target to choose from"),
        ("{targets: [big, rented], choose: cheapest, rent: true}", "choose: decides about every wake already"),
        ("{targets: [small, rented], choose: cheapest}", "choose: needs endpoints.small.price_per_hour"),
    ],
)
def test_an_error_in_a_route_names_line_key_and_what_is_right(line: str, told: str) -> None:
    text = with_route(line) if not line.startswith("{") else MODELS + f"routes:\n  best: {line}\n"
    assert told in problem(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tools: no", "targets[0].tools: 'no' should be true or false"),
        ("images: 1", "targets[0].images: 1 should be true or false"),
        ("json_schema: 'true'", "targets[0].json_schema: 'true' should be true or false"),
        ("weight: '2'", "targets[0].weight: '2' should be a number"),
        ("context: 1e3", "targets[0].context: 1000.0 should be a whole number"),
    ],
)
def test_a_target_takes_values_of_the_type_that_is_documented(line: str, told: str) -> None:
    assert told in problem(with_route(f"targets: [{{name: big, {line}}}]"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("feedback: 1", "feedback: 1 should be true or false"),
        ("rent: yes", "rent: 'yes' should be true or false"),
        ("max_attempts: '3'", "max_attempts: '3' should be a whole number"),
        ("max_attempts: true", "max_attempts: true should be a whole number"),
    ],
)
def test_a_route_takes_values_of_the_type_that_is_documented(line: str, told: str) -> None:
    assert told in problem(with_route(f"targets: [big]\n    {line}"))


def test_a_mistake_in_a_target_is_told_once_and_without_pythons_words() -> None:
    assert problem(with_route("targets: [{name: big, tools: 3}]")).count("routes.best") == 1
    assert problem(with_route("targets: [[{nmae: big}]]")).count("routes.best") == 1
    assert "targets: [] needs at least one" in problem(with_route("targets: []"))
    assert "{" not in problem(with_route("targets: {name: big}"))


def test_each_target_is_found_by_its_own_line() -> None:
    told = problem(
        MODELS + "routes:\n  best:\n    targets:\n      - big\n      -\n        - small\n        - {name: bgi}\n"
    )
    assert told.startswith("line 13: routes.best.targets[1][1]: ")


def test_renting_needs_both_prices() -> None:
    text = with_route("targets: [big, rented]\n    rent: true")
    assert read(text).routes()["best"].rent
    assert "rent: needs upstreams.rented.price" in problem(text.replace(", price: {input: 0.1, output: 0.4}", ""))


def test_a_route_may_take_the_place_of_the_endpoint_of_its_name() -> None:
    settings = read(MODELS + "routes: {big: {targets: [big, small]}}")
    assert [target.name for target in settings.routes()["big"].targets] == ["big", "small"]


def test_a_route_is_not_called_as_somebodys_alias_nor_an_upstream_as_an_endpoint() -> None:
    text = MODELS.replace("org/big", "best") + "routes: {best: {targets: [big]}}"
    assert "routes.best: 'best' is taken by endpoints.big.aliases[0]" in problem(text)
    assert "upstreams.big: 'big' is the name of an endpoint, too" in problem(MODELS + "  big: {base_url: http://x}")


def test_what_is_wrong_with_a_target_is_not_blamed_on_the_route() -> None:
    text = "upstreams: {a: {base_url: x}}\nendpoints: {b: {engin: x}}\nroutes: {r: {targets: [a, b]}}"
    assert "routes" not in problem(text)


def test_a_breaker_can_be_tuned_or_switched_off() -> None:
    assert read("").breaker == BreakerPolicy()
    for text in ("breaker: true", "breaker:", "breaker: {}"):
        assert read(text).breaker == BreakerPolicy()
    for text in ("breaker: false", "breaker: no", "breaker: off", "breaker: {enabled: false}"):
        assert read(text).breaker is None
    every = "{rate: 0.2, least: 5, window: 1m, pause: 1s, longest_pause: 2m, proofs: 3}"
    expected = BreakerPolicy(rate=0.2, least=5, window=60.0, pause=1.0, longest_pause=120.0, proofs=3)
    assert read(f"breaker: {every}").breaker == expected


def test_retries_can_be_tuned() -> None:
    assert read("").retry == read("retry:").retry == RetryPolicy()
    settings = read("retry: {base: 10ms, cap: 1s, budget: 0, least: 0}")
    assert settings.retry == RetryPolicy(base=0.01, cap=1.0, budget=0.0, least=0.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("breaker: 3", "line 1: breaker: 3 should be false, or a mapping"),
        ("breaker: never", "line 1: breaker: 'never' should be false, or a mapping"),
        ("breaker: 0", "line 1: breaker: 0 should be false, or a mapping"),
        ("breaker: {enabled: 'no'}", "breaker.enabled: 'no' should be true or false"),
        ("breaker: {least: '3'}", "breaker.least: '3' should be a whole number"),
        ("breaker: {rate: '0.5'}", "breaker.rate: '0.5' should be a number"),
        ("retry: {budget: true}", "retry.budget: true should be a number"),
        ("breaker: {rate: 0}", "breaker.rate: 0 should be greater than 0"),
        ("breaker: {rate: 1.5}", "breaker.rate: 1.5 should be less than or equal to 1"),
        ("breaker: {windoe: 1}", "breaker.windoe: unknown key; did you mean window?"),
        ("breaker: {pause: 1m, longest_pause: 5s}", "longest_pause (5 s) is shorter than pause (60 s)"),
        ("retry: {base: 0}", "retry.base: 0.0 should be greater than 0"),
        ("retry: {base: 3s}", "cap (2 s) is shorter than base (3 s)"),
        ("retry: {budget: -1}", "retry.budget: -1 should be greater than or equal to 0"),
        ("endpoints: {a: {engine: x, price_per_hour: -1}}", "price_per_hour: -1 should be greater than or equal to 0"),
        ("routes: [a]", "routes: ['a'] should be a mapping"),
        ("routes: {Best: {targets: [a]}}", "should be a name of at most 63 lower-case letters"),
        ("routes: {best: }", "routes.best: an empty value should be a mapping"),
        ("upstreams: {a: }", "upstreams.a: an empty value should be a mapping"),
    ],
)
def test_an_error_in_what_holds_for_all_is_told_as_clearly(text: str, told: str) -> None:
    assert told in problem(text)


def test_engines_do_not_get_the_keys_of_upstreams() -> None:
    text = """
        upstreams:
          a: {base_url: http://x, key: env:ONE}
          b: {base_url: http://x, headers: {X-Key: "${TWO}", X-Plain: "$${NOT_ONE}", X-Token: env:THREE}}
        """
    assert read(text, ONE="1", TWO="2", THREE="3").secret_variables == {"ONE", "TWO", "THREE"}


@pytest.mark.parametrize(
    "header",
    ["Authorization", "PROXY-AUTHORIZATION", "x-api-key", "api-key", "apikey", "X-Auth-Token", "X-Key", "Cookie"],
)
@pytest.mark.parametrize("value", ["Bearer sk-hush", "hush", "$${HUSH} hush"])
def test_a_secret_that_stands_in_a_header_of_an_upstream_is_refused_and_not_shown(header: str, value: str) -> None:
    text = problem(f"upstreams:\n  a:\n    base_url: http://x\n    headers:\n      {header}: '{value}'")
    assert f"line 5: upstreams.a.headers.{header}: holds a secret, which does not belong into this file" in text
    assert "${NAME}" in text
    assert "hush" not in text.lower()


def test_a_secret_in_a_header_of_an_upstream_comes_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of a file\n")
    headers = {
        "Authorization": "Bearer ${ONE}",
        "X-Api-Key": "env:ONE",
        "Cookie": f"file:{tmp_path / 'key'}",
        "X-Project": "plain",
        "X-Keyring": "plain",
    }
    settings = read(f"upstreams: {{a: {{base_url: http://x, headers: {json.dumps(headers)}}}}}", ONE="1")
    assert dict(settings.upstreams()["a"].headers) == {
        "Authorization": "Bearer 1",
        "X-Api-Key": "1",
        "Cookie": "of a file",
        "X-Project": "plain",
        "X-Keyring": "plain",
    }


BOTH = {
    "HF_TOKEN": "t",
    "HF_BASE_URL_120B": "https://one.endpoints.huggingface.cloud",
    "HF_BASE_URL_20B": "https://two.endpoints.huggingface.cloud",
}


@pytest.mark.parametrize("value", ["120b,20b", " 120B , 20b,", "120b,,20b"])
def test_the_environment_alone_makes_a_chain_of_fallbacks(value: str) -> None:
    settings = parse("", "the environment", BOTH | {"LAMPLIGHTER_FALLBACK": value})
    assert settings.routes() == {
        "120b": Route(name="120b", tiers=((RouteTarget(name="120b"),), (RouteTarget(name="20b"),)))
    }
    assert settings.warnings == ()


def test_a_route_of_the_file_wins_over_the_environment() -> None:
    text = "endpoints: {a: {engine: x}, b: {engine: x}}\nroutes: {a: {targets: [a]}}"
    settings = read(text, LAMPLIGHTER_FALLBACK="a,b")
    assert len(settings.routes()["a"].targets) == 1
    assert settings.warnings == ("LAMPLIGHTER_FALLBACK does not count: the route 'a' stands in /etc/lamplighter.yaml.",)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("120b", "environment variable LAMPLIGHTER_FALLBACK: names 120b alone: it should name a model, and those"),
        ("120b,30b", "environment variable LAMPLIGHTER_FALLBACK: routes.120b.targets[1]: there is no endpoint"),
        ("120b,20b,120b", "LAMPLIGHTER_FALLBACK: routes.120b.targets[2]: '120b' stands in targets[0] already"),
    ],
)
def test_a_wrong_chain_in_the_environment_is_told(value: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse("", "the environment", BOTH | {"LAMPLIGHTER_FALLBACK": value})
    assert told in raised.value.message


def test_a_reload_finds_which_routes_and_upstreams_changed() -> None:
    old = read(MODELS + "routes: {a: {targets: [big]}, b: {targets: [big]}, c: {targets: [small]}}")
    new = read(
        MODELS.replace("0.1", "0.2")
        + "  d: {base_url: http://x}\nroutes: {a: {targets: [big]}, b: {targets: [small]}}\nretry: {cap: 9}\nbreaker: false"
    )
    changes = diff(old, new)
    assert changes.upstreams == ("d", "rented")
    assert changes.routes == ("b", "c")
    assert changes.policies == ("breaker", "retry")
    assert changes.restart == changes.changed == ()
    assert changes
    assert changes.parts() == {
        "upstreams": ("d", "rented"),
        "routes": ("b", "c"),
        "policies": ("breaker", "retry"),
    }
    assert str(changes) == "upstreams d, rented; routes b, c; policies breaker, retry"
    assert not diff(old, old)
