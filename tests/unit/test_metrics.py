"""What Prometheus is told by a real server, and that the documents, the dashboard and the alerts ask for what there is."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from lamplighter import __version__
from lamplighter.api.metrics import Measured
from lamplighter.api.prometheus import render
from lamplighter.config import parse
from lamplighter.control.meter import Meter
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.runtime import Server, _reload_for_ever, running
from tests.gateway_stage import always, answer, endpoint, until

ROOT = Path(__file__).parents[2]
KEY = "let-me-in"
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextlib.asynccontextmanager
async def served(folder: Path, **server: Any) -> AsyncIterator[Server]:
    """A server with one sleeping endpoint, `chat`."""
    async with endpoint(always(answer(ANSWER, headers="content-type: application/json\r\n"))) as engine:
        options = {"start_delay": 0.02, "stop_delay": 0.02, "url": engine.url}
        text = {
            "server": {"port": 0, "data": str(folder), "drain_timeout": 1} | server,
            "providers": {"memory": {"options": options}},
            "endpoints": {"chat": {"provider": "memory", "command": "none", "aliases": ["gossip"]}},
        }
        async with running(parse(json.dumps(text), "metrics.yaml", {})) as here:
            yield here


async def scraped(server: Server, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.url) as client:
        return await client.get("/metrics", headers=headers)


async def said(server: Server, model: str = "chat", **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=server.url) as client:
        return await client.post("/v1/chat/completions", json={"model": model}, headers=headers)


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "told twice"
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, tuple(sorted(labels.items()))]


async def test_a_scrape_of_a_server_tells_what_it_did(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        assert (await said(server)).status_code == 200
        assert (await said(server, "gossip")).status_code == 200
        assert (await said(server, "nobody")).status_code == 404
        await until(lambda: not server.in_progress)
        answered = await scraped(server)
    assert answered.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answered.text
    way = {"model": "chat", "target": "chat"}
    assert value(text, "lamplighter_requests_total", **way, status="2xx", outcome="served") == 2
    assert value(text, "lamplighter_request_duration_seconds_count", **way) == 2
    assert value(text, "lamplighter_request_first_byte_seconds_count", **way) == 2
    assert value(text, "lamplighter_requests_held_total", **way) == 1
    assert value(text, "lamplighter_request_held_seconds_total", **way) > 0.01
    assert value(text, "lamplighter_attempts_total", **way) == 2
    assert value(text, "lamplighter_tokens_total", **way, direction="in") == 6
    assert value(text, "lamplighter_tokens_total", **way, direction="out") == 8
    assert value(text, "lamplighter_body_bytes_total", **way, direction="out") == 2 * len(ANSWER)
    assert value(text, "lamplighter_errors_total", code="model_not_found") == 1
    assert value(text, "lamplighter_errors_total", code="queue_full") == 0
    assert value(text, "lamplighter_wakes_total", endpoint="chat", cause="request", result="ready") == 1
    assert value(text, "lamplighter_wakes_total", endpoint="chat", cause="policy", result="failed") == 0
    assert value(text, "lamplighter_start_duration_seconds_count", endpoint="chat") == 1
    assert value(text, "lamplighter_failed_stops_total", endpoint="chat") == 0
    assert value(text, "lamplighter_endpoint_awake_seconds_total", endpoint="chat") > 0
    assert value(text, "lamplighter_endpoint_phase", endpoint="chat", phase="running") == 1
    assert value(text, "lamplighter_endpoint_phase", endpoint="chat", phase="sleeping") == 0
    assert value(text, "lamplighter_endpoint_replicas", endpoint="chat") == 1
    assert value(text, "lamplighter_records_dropped_total", kind="usage") == 0
    about = next(dict(labels) for name, labels in samples(text) if name == "lamplighter_build_info")
    assert about["version"] == __version__


async def test_openmetrics_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await said(server)
        accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
        answered = await scraped(server, accept=accept)
        odd = await scraped(server, accept="application/openmetrics-text;version=what,\x22")
    assert answered.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in openmetrics_families(answered.text)}  # type: ignore[no-untyped-call]
    assert {"lamplighter_requests", "lamplighter_build", "lamplighter_request_duration_seconds"} <= names
    assert odd.status_code == 200


async def test_where_the_server_has_keys_a_scrape_shows_one(tmp_path: Path) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    async with served(tmp_path, keys=[f"sha256:{digest}"]) as server:
        assert (await scraped(server)).status_code == 401
        assert (await scraped(server, authorization="Bearer wrong")).status_code == 401
        assert (await scraped(server, authorization=f"Bearer {KEY}")).status_code == 200


async def test_the_access_log_and_its_rotation_in_a_server(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    async with served(tmp_path / "data", access_log=str(path)) as server:
        await said(server)
        await until(path.read_text)
        path.rename(old)
        hup = asyncio.Event()
        hup.set()
        reloading = asyncio.create_task(_reload_for_ever(server, hup, None))
        await until(lambda: not hup.is_set())
        await said(server, "nobody")
        await until(lambda: path.exists() and path.read_text())
        reloading.cancel()
    (first,), (second,) = ([json.loads(line) for line in one.read_text().splitlines()] for one in (old, path))
    assert (first["status"], first["tokens_in"], first["attempts"]) == (200, 3, 1)
    assert "error" not in first
    assert first["waited"] > 0
    assert first["first_byte"] <= first["duration"]
    assert (second["status"], second["error"]) == (404, "model_not_found")


def test_labels_may_hold_anything() -> None:
    class Nothing:
        def add(self, record: UsageRecord) -> None: ...

    meter = Meter(Nothing())
    name = 'a "name"\nwith\\all'
    meter.add(
        UsageRecord(
            endpoint=name,
            model=name,
            at=1.0,
            route="/v1/x",
            status=299,
            outcome=Outcome.CUT,
            waited=0.0,
            duration=1.0,
            bytes_in=0,
            bytes_out=0,
        )
    )
    text, _ = render(Measured(version="1", series=meter.series()), openmetrics=False)
    labels = {"model": name, "target": name, "status": "2xx", "outcome": "cut"}
    assert value(text.decode(), "lamplighter_requests_total", **labels) == 1


# What is written down.


async def told(folder: Path) -> str:
    async with served(folder) as server:
        await said(server)
        await until(lambda: not server.in_progress)
        return (await scraped(server)).text


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """All families that a server tells."""
    return list(text_string_to_metric_families(asyncio.run(told(tmp_path_factory.mktemp("server")))))


def sample_names(families: list[Metric]) -> set[str]:
    """As they stand in queries; also those that have no sample yet."""
    found = {sample.name for family in families for sample in family.samples}
    return found | {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:lamplighter|process)_[a-z0-9_]+", re.sub(r'"[^"]*"', '""', query)))


def labels_in(query: str) -> set[str]:
    braces = re.findall(r"\{([^}]*)\}", query)
    grouped = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)", query)
    named = [re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", one) for one in braces] + [
        re.findall(r"\w+", one) for one in grouped
    ]
    return {label for labels in named for label in labels}


KNOWN_LABELS = {
    "budget",
    "cause",
    "code",
    "direction",
    "endpoint",
    "instance",
    "job",
    "kind",
    "le",
    "member",
    "model",
    "outcome",
    "phase",
    "provider",
    "result",
    "state",
    "status",
    "target",
    "version",
}


def test_names_follow_the_conventions(families: list[Metric]) -> None:
    for family in families:
        assert re.fullmatch(r"(lamplighter|process)_[a-z0-9_]+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", family.name)
        for sample in family.samples:
            if family.name.startswith("lamplighter_") and family.name != "lamplighter_build_info":
                assert set(sample.labels) <= KNOWN_LABELS, sample
            if family.type == "counter":
                assert sample.name.endswith("_total")


def test_the_page_lists_every_metric_and_no_other(families: list[Metric]) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(lamplighter_[a-z_]+)", text, re.MULTILINE))
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name.startswith("lamplighter_")
    }
    assert listed == exposed


def test_the_dashboard_asks_for_what_there_is(families: list[Metric]) -> None:
    board = json.loads((ROOT / "packaging" / "grafana" / "lamplighter.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    variables = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert len(queries) > 15
    for query in queries + variables:
        assert names_in(query), query
        assert names_in(query) <= sample_names(families), query
        assert labels_in(query) <= KNOWN_LABELS, query
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_alerts_ask_for_what_there_is_and_are_told_on_the_page(families: list[Metric]) -> None:
    rules = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert len(alerts) >= 3
    for rule in alerts:
        assert names_in(rule["expr"]) <= sample_names(families), rule
        assert names_in(rule["expr"])
        assert labels_in(rule["expr"]) <= KNOWN_LABELS, rule
        assert {"summary", "description"} <= set(rule["annotations"])
        assert rule["alert"] in page


def counted(expression: str) -> set[tuple[str, str]]:
    """The statuses and outcomes of requests that the part of a query above its first division adds up."""
    found = set()
    for braces in re.findall(r"lamplighter_requests_total\{([^}]*)\}", re.split(r"\s/\s", expression)[0]):
        wanted = re.findall(r"(\w+)(=~|=)\"([^\"]*)\"", braces)
        assert len(wanted) == braces.count("=")
        for outcome, status in itertools.product(Outcome, ("2xx", "4xx", "5xx", "none")):
            has = {"outcome": outcome.value, "status": status}
            if all(re.fullmatch(value, has[label]) for label, _, value in wanted if label in has):
                assert (status, outcome.value) not in found, "counted twice"
                found.add((status, outcome.value))
    return found


def test_what_counts_as_failed_includes_answers_with_a_5xx_and_is_the_same_everywhere() -> None:
    """An engine that answers 500 to everything serves every request, and none as it should be."""
    rules = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yml").read_text())
    alert = next(rule for rule in rules["groups"][0]["rules"] if rule["alert"] == "LamplighterServerErrors")
    board = json.loads((ROOT / "packaging" / "grafana" / "lamplighter.json").read_text())
    panel = next(panel for panel in board["panels"] if panel["title"] == "Failed")
    page = (ROOT / "docs" / "metrics.md").read_text().split("```promql\n")[1].split("```")[0].split("\n\n")[-1]
    broken = {
        (status, outcome) for status in ("2xx", "4xx", "5xx", "none") for outcome in ("failed", "deadline", "cut")
    }
    for expression in (alert["expr"], panel["targets"][0]["expr"], page):
        assert counted(expression) == broken | {("5xx", "served")}
    assert re.sub(r"\s", "", page) == re.sub(r"\s", "", alert["expr"])


def test_the_dashboard_names_each_state_of_a_breaker() -> None:
    board = json.loads((ROOT / "packaging" / "grafana" / "lamplighter.json").read_text())
    panel = next(panel for panel in board["panels"] if panel["title"] == "Circuit breakers")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert {one["text"] for one in mapping["options"].values()} == {"closed", "half-open", "open"}
    factors = re.findall(
        r'(?:(\d) \* )?lamplighter_breaker_state\{[^}]*state="([\w-]+)"\}', panel["targets"][0]["expr"]
    )
    shown = {state: factor or "1" for factor, state in factors} | {"closed": "0"}
    assert {state: mapping["options"][value]["text"] for state, value in shown.items()} == {
        "closed": "closed",
        "half-open": "half-open",
        "open": "open",
    }
