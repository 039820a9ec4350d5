"""Endpoints at a cloud that is far away: real servers and engines, with a network between that does what networks do.

A Lamplighter plays the cloud. The tests' proxy stands before it, for the management API and for requests alike.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import InferenceClient

import lamplighter as sdk
from tests import fault_proxy as faults
from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter
from tests.fault_proxy import FaultProxy, Storm

pytestmark = pytest.mark.acceptance

KEY = "a-key-of-the-tests"
CREATED = r"^/v2/endpoint/lamplighter$"

DEPLOYMENT: dict[str, Any] = {
    "repository": "SmolLM2-135M-Instruct",
    "framework": "llamacpp",
    "vendor": "local",
    "region": "local",
    "accelerator": "cpu",
    "instance_type": "cpu",
    "instance_size": "x1",
    "image": {"llamacpp": {}},
}


@dataclass
class Cloud:
    """What plays the cloud, and the proxy before it."""

    server: LamplighterProcess
    proxy: FaultProxy

    def ask(self, method: str, path: str) -> Any:
        """Ask it directly, past the proxy."""
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx2.request(method, f"{self.server.url}{path}", headers=headers, timeout=60).raise_for_status()
        return answer.json() if answer.content else None

    def names(self) -> list[str]:
        return [one["name"] for one in self.ask("GET", "/v2/endpoint/lamplighter")["items"]]

    def state(self, name: str) -> str:
        return str(self.ask("GET", f"/v2/endpoint/lamplighter/{name}")["status"]["state"])

    def is_in(self, name: str, state: str) -> bool:
        return self.state(name) == state

    def make(self, name: str) -> None:
        """Make an endpoint that runs, with nothing in the way."""
        with sdk.Client(self.server.url, token=KEY) as client:
            client.create(name, **DEPLOYMENT)
        eventually(partial(self.is_in, name, "running"), f"{name} runs")

    def client(self, **options: Any) -> sdk.Client:
        """Ours, that reaches it through the proxy."""
        return sdk.Client(self.proxy.url, token=KEY, **options)


@pytest.fixture(scope="module")
def far_away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    with lamplighter(folder, "defaults: {idle_timeout: 10m}", environ={"LAMPLIGHTER_KEYS": KEY}) as server:
        yield server


@pytest.fixture
def cloud(far_away: LamplighterProcess) -> Iterator[Cloud]:
    """A clear sky, and nothing left behind by the test before."""
    with FaultProxy(far_away.url) as proxy:
        it = Cloud(far_away, proxy)
        yield it
        for name in it.names():
            it.ask("DELETE", f"/v2/endpoint/lamplighter/{name}")
        eventually(lambda: not far_away.engines(), "no engine is left")


@pytest.fixture
def client(cloud: Cloud) -> Iterator[sdk.Client]:
    with cloud.client() as one:
        yield one


# The client.


@pytest.mark.parametrize(
    "fault",
    [
        faults.lost_answer(),
        faults.error(503, executed=True),
        faults.Late(30),
        faults.Half(),
        faults.Garbage(executed=True),
    ],
    ids=lambda fault: fault.name,
)
def test_what_was_made_although_the_answer_was_lost_is_found_and_not_made_again(
    cloud: Cloud, fault: faults.Fault
) -> None:
    rule = cloud.proxy.plan(fault, method="POST", path=CREATED)
    with cloud.client(timeout=1.0) as client:
        made = client.create("lost", **DEPLOYMENT)
    assert rule.hits == 1
    assert made.name == "lost"
    assert cloud.proxy.count("POST", CREATED, executed=True) == 1
    assert cloud.names() == ["lost"]


def test_what_was_not_made_is_made_by_asking_again(cloud: Cloud, client: sdk.Client) -> None:
    for fault in (faults.Reset(), faults.html(502), faults.Hangup()):
        cloud.proxy.plan(fault, method="POST", path=CREATED)
    cloud.proxy.reset_connections(1)
    client.create("again", **DEPLOYMENT)
    assert cloud.proxy.count("POST", CREATED, executed=True) == 1
    assert cloud.names() == ["again"]


def test_an_endpoint_of_somebody_else_is_not_taken_for_the_lost_one(cloud: Cloud, client: sdk.Client) -> None:
    client.create("taken", **DEPLOYMENT)
    with pytest.raises(sdk.EndpointExists):
        client.create("taken", **DEPLOYMENT)
    cloud.proxy.plan(faults.Reset(), method="POST", path=CREATED)
    with pytest.raises(sdk.EndpointExists):
        client.create("taken", **DEPLOYMENT | {"repository": "stories260K"})
    assert cloud.names() == ["taken"]


def test_no_question_is_asked_before_its_time_when_the_api_says_too_many(cloud: Cloud, client: sdk.Client) -> None:
    client.create("patient", **DEPLOYMENT)
    path = r"/patient$"
    rule = cloud.proxy.plan(faults.rate_limited(2), method="GET", path=path)
    assert client.get("patient").name == "patient"
    refused, answered = cloud.proxy.requests("GET", path)[-2:]
    assert (rule.hits, refused.status, answered.status) == (1, 429, 200)
    assert answered.at - refused.at >= 2


def test_a_start_goes_on_while_the_api_is_away(cloud: Cloud, client: sdk.Client) -> None:
    cloud.make("away")
    client.pause("away")
    eventually(lambda: cloud.state("away") == "paused", "it is paused")
    cloud.proxy.plan(faults.lost_answer(), method="POST", path="/away/resume$")
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(client.start, "away", timeout=60)
        eventually(lambda: cloud.proxy.count("POST", "/away/resume$", executed=True) > 0, "it was resumed")
        cloud.proxy.plan(faults.Reset(), every=2, times=None)
        away = cloud.proxy.plan(faults.html(503), times=None)
        eventually(lambda: cloud.state("away") == "running", "it runs behind the scenes")
        away.wait()
        assert not started.done()
        cloud.proxy.clear()
        ready = started.result(60)
    assert ready.url is not None
    assert ready.url.startswith(cloud.proxy.url)
    with InferenceClient(model=ready.url, token=KEY, timeout=60) as caller:
        assert caller.text_generation("The lamp is", max_new_tokens=2)


def test_ready_is_when_it_answers_whatever_the_state_says(cloud: Cloud, client: sdk.Client) -> None:
    cloud.make("slow")
    cloud.proxy.plan(faults.SlowState(2.0, shown="initializing"), plane="management", times=None)
    cloud.proxy.plan(faults.unavailable(), path="^/endpoints/slow/", times=2)
    ready = client.start("slow", timeout=60)
    with InferenceClient(model=ready.url, token=KEY, timeout=60) as caller:
        assert caller.text_generation("The lamp is", max_new_tokens=2)


def test_stopping_and_deleting_hold_although_nobody_hears_so(cloud: Cloud, client: sdk.Client) -> None:
    cloud.make("bye")
    client.start("bye", timeout=60)
    cloud.proxy.plan(faults.lost_answer(), method="POST", path="/bye/pause$")
    client.stop("bye")
    eventually(lambda: cloud.state("bye") == "paused", "it is paused")
    assert not cloud.server.engines()
    cloud.proxy.plan(faults.lost_answer(), method="DELETE", path="/bye$")
    client.delete("bye", confirm=True)
    assert cloud.names() == []


def test_a_session_pauses_at_its_end_through_all_of_it(cloud: Cloud, client: sdk.Client) -> None:
    cloud.make("job")
    cloud.proxy.storm(Storm(7, faults.usual_mix(0.25)))
    with client.session("job", timeout=90) as endpoint, InferenceClient(model=endpoint.url, token=KEY) as caller:
        cloud.proxy.storm(None)
        assert caller.text_generation("The lamp is", max_new_tokens=2)
        cloud.proxy.storm(Storm(8, faults.usual_mix(0.25)))
    cloud.proxy.storm(None)
    eventually(lambda: cloud.state("job") == "paused", "it is paused")


def operate(client: sdk.Client, name: str, seed: int, count: int) -> str:
    """Operate an endpoint at random; the last word says the state that it has to end in."""
    chance = random.Random(seed)
    client.get_or_create(name, create_if_missing=True, **DEPLOYMENT)
    for _ in range(count):
        verb = chance.choice([client.pause, client.resume, client.scale_to_zero, client.get, client.status])
        try:
            verb(name)
        except (sdk.Conflict, sdk.ProviderError, sdk.InvalidInput):  # given up, or not possible now: go on
            continue
    end = chance.choice(["paused", "scaledToZero", "running"])
    last = {"paused": client.pause, "scaledToZero": client.scale_to_zero, "running": client.resume}[end]
    for _ in range(10):
        try:
            last(name)
            break
        except sdk.ProviderError:
            continue
    return end


def test_a_storm_ends_in_the_right_states_without_a_second_endpoint(cloud: Cloud) -> None:
    names = ["storm-a", "storm-b", "storm-c"]
    storm = Storm(42, faults.usual_mix(0.3, wait=0.1), plane="management")
    cloud.proxy.storm(storm)
    with ThreadPoolExecutor(len(names)) as pool, cloud.client() as client:
        work = {name: pool.submit(operate, client, name, seed, 8) for seed, name in enumerate(names)}
        ends = {name: future.result(120) for name, future in work.items()}
    cloud.proxy.storm(None)
    assert sum(storm.hits.values()) >= 10
    assert sorted(cloud.names()) == names
    for name, end in ends.items():
        eventually(partial(cloud.is_in, name, end), f"{name} is {end}", 60)
    running = sum(end == "running" for end in ends.values())
    eventually(lambda: len(cloud.server.engines()) == running, f"{running} engines run")


# Another Lamplighter, whose endpoint lives there.

HERE = """
providers:
  cloud:
    type: huggingface
    options:
      base_url: {base}
      token: env:CLOUD_KEY
      namespace: lamplighter
      look_every: 5
      retry: {{deadline: 4, base: 0.05}}
endpoints:
  lamp:
    provider: cloud
    create: if-missing
    idle_timeout: 10m
    deployment: {deployment}
"""


@pytest.fixture
def here(cloud: Cloud, tmp_path: Path) -> Iterator[LamplighterProcess]:
    text = HERE.format(base=cloud.proxy.url, deployment=str(DEPLOYMENT).replace("'", '"'))
    with lamplighter(tmp_path, text, environ={"CLOUD_KEY": KEY}) as server:
        yield server


def say(here: LamplighterProcess, hold: float = 60) -> httpx2.Response:
    """A request of somebody who knows nothing of all this."""
    body = {"model": "lamp", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 2}
    headers = {"x-scale-up-timeout": str(hold)}
    return httpx2.post(f"{here.url}/v1/chat/completions", json=body, headers=headers, timeout=90)


def operate_here(here: LamplighterProcess, verb: str) -> httpx2.Response:
    return httpx2.post(f"{here.url}/v2/endpoint/lamplighter/lamp/{verb}", timeout=60)


def test_a_whole_life_with_faults_between(cloud: Cloud, here: LamplighterProcess) -> None:
    plan = cloud.proxy.plan

    # Made by the first request: the answer is lost, the state comes late, the proxy before it says 503 for a while.
    plan(faults.rate_limited(1), method="POST", path=CREATED)
    lost = plan(faults.lost_answer(), method="POST", path=CREATED)
    plan(faults.SlowState(1.0), plane="management", times=None)
    plan(faults.unavailable(), path="^/endpoints/lamp/v1", times=2)
    assert say(here).status_code == 200
    assert lost.hits == 1
    assert cloud.proxy.count("POST", CREATED, executed=True) == 1
    assert cloud.names() == ["lamp"]
    assert (
        cloud.proxy.count("GET", "^/v2/endpoint/lamplighter/lamp$") < 15
    )  # a state that lags is not asked for at once
    cloud.proxy.clear()

    # Put to sleep, although nobody hears so.
    sleeping = plan(faults.lost_answer(), method="POST", path="/lamp/scale-to-zero$")
    here.sleep("lamp", wait=60)
    assert sleeping.hits == 1
    assert cloud.state("lamp") == "scaledToZero"
    eventually(lambda: not cloud.server.engines(), "no engine runs")

    # Woken by a request, while the API stumbles.
    for fault in (faults.error(500), faults.Reset(), faults.html(502), faults.Half(), faults.Hangup()):
        plan(fault, plane="management", skip=1)
    assert say(here).status_code == 200
    assert here.status("lamp")["status"] == "running"

    # Paused: no request wakes it.
    plan(faults.error(503, executed=True), method="POST", path="/lamp/pause$")
    assert operate_here(here, "pause").status_code == 200
    eventually(lambda: cloud.state("lamp") == "paused", "it is paused")
    resumed = cloud.proxy.count("POST", "/lamp/resume$")
    assert say(here).status_code == 400
    # Its calls go one after the other: what the request had begun would be done before this is answered.
    assert operate_here(here, "pause").status_code == 200
    assert cloud.proxy.count("POST", "/lamp/resume$") == resumed
    assert cloud.state("lamp") == "paused"

    # Resumed.
    plan(faults.lost_answer(), method="POST", path="/lamp/resume$")
    assert operate_here(here, "resume").status_code == 200
    assert say(here).status_code == 200

    # Deleted by somebody else; the next request makes it anew.
    here.sleep("lamp", wait=60)
    with cloud.client() as client:
        plan(faults.lost_answer(), method="DELETE", path="/lamp$")
        client.delete("lamp", confirm=True)
    assert cloud.names() == []
    eventually(lambda: say(here).status_code == 200, "it is made anew", 60)
    assert cloud.names() == ["lamp"]


def test_while_the_api_is_away_what_runs_is_served_and_nothing_is_guessed(
    cloud: Cloud, here: LamplighterProcess
) -> None:
    cloud.make("lamp")
    assert say(here).status_code == 200
    posted = cloud.proxy.count("POST", "^/v2")
    down = cloud.proxy.plan(faults.html(503), plane="management", times=None)
    down.wait(2, timeout=30)
    eventually(lambda: here.status("lamp")["status"] == "unknown", "it says that it does not know", 60)
    assert say(here).status_code == 200
    cloud.proxy.clear()
    eventually(lambda: here.status("lamp")["status"] == "running", "it knows again", 60)
    assert cloud.proxy.count("POST", "^/v2") == posted
    assert cloud.state("lamp") == "running"


def test_many_requests_through_a_storm_make_one_endpoint_and_are_answered(
    cloud: Cloud, here: LamplighterProcess
) -> None:
    storm = Storm(3, faults.usual_mix(0.25, wait=0.1), plane="management")
    cloud.proxy.storm(storm)
    gate = threading.Barrier(8)

    def one() -> int:
        gate.wait(10)
        return say(here, hold=80).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = [future.result(100) for future in [pool.submit(one) for _ in range(8)]]
    cloud.proxy.storm(None)
    assert statuses == [200] * 8
    assert cloud.names() == ["lamp"]
    assert len(cloud.server.engines()) == 1
