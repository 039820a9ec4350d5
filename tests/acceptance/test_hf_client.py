"""The official client is the judge: huggingface_hub and the `hf endpoints` commands against a real Lamplighter."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from huggingface_hub import HfApi, InferenceEndpoint, constants
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, InferenceEndpointError

from tests.acceptance.harness import LIKELIEST, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
KEY = "hf_akeyofthetestsnotahuggingfacetoken"[:24]
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
HERE: dict[str, Any] = {
    "repository": REPOSITORY,
    "framework": "llamacpp",
    "accelerator": "cpu",
    "instance_size": "x1",
    "instance_type": "cpu",
    "vendor": "local",
    "region": "local",
    "min_replica": 0,
    "scale_to_zero_timeout": 15,
}
IMAGE = {"llamacpp": {"url": "ghcr.io/ggml-org/llama.cpp:server", "ctxSize": 2048, "nParallel": 2}}
CONFIGURED = """
endpoints:
  standing:
    engine: llamacpp
    model: SmolLM2-135M-Instruct
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    folder = tmp_path_factory.mktemp("wire")
    options = {"server": "drain_timeout: 5s, keys: [env:KEY_OF_TESTS]", "environ": {"KEY_OF_TESTS": KEY}}
    with lamplighter(folder, CONFIGURED, **options) as one:
        yield one


@pytest.fixture
def api(server: LamplighterProcess, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    return pointed_at(server, monkeypatch)


def pointed_at(server: LamplighterProcess, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """The client as the documentation says to point it at a server."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{server.url}/v2")
    monkeypatch.setattr(constants, "INFERENCE_CATALOG_ENDPOINT", f"{server.url}/api/v1/catalog")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_EXPERIMENTAL_WARNING", True)
    monkeypatch.setenv("HF_TOKEN", KEY)
    return HfApi(endpoint=server.url)


def ready(endpoint: InferenceEndpoint) -> InferenceEndpoint:
    """Its own `wait`, asking more often than it is meant to."""
    return endpoint.wait(timeout=60, refresh_every=0.1)  # type: ignore[arg-type]


def chat(endpoint: InferenceEndpoint) -> str:
    messages = [{"role": "user", "content": "Say hello."}]
    answer = endpoint.client.chat_completion(messages, max_tokens=4, extra_body=LIKELIEST)
    return answer.choices[0].message.content or ""


def test_a_whole_life(api: HfApi, server: LamplighterProcess) -> None:
    made = api.create_inference_endpoint("life", custom_image=IMAGE, secrets={"TOKEN": "hush-hush"}, tags=["t"], **HERE)
    assert made.status == "pending"
    assert made.url == f"{server.url}/endpoints/life"
    ready(made)
    assert chat(made)
    assert "hush" not in json.dumps(made.raw)
    assert "life" in [one.name for one in api.list_inference_endpoints()]
    assert "life" in [one.name for one in api.list_inference_endpoints("*")]

    assert made.pause().status == "paused"
    with pytest.raises(BadRequestError, match="The endpoint is paused, ask a maintainer to restart it"):
        chat(made)
    assert made.fetch().status == "paused"
    ready(made.resume())
    assert made.resume().status == "running"
    with pytest.raises(BadRequestError, match="already running"):
        made.resume(running_ok=False)

    assert made.scale_to_zero().status == "scaledToZero"
    assert chat(made)  # is held until it is awake
    assert made.fetch().status == "running"

    made.update(custom_image={"llamacpp": IMAGE["llamacpp"] | {"ctxSize": 1024}}, max_replica=2)
    assert made.status == "updating"
    ready(made)
    assert made.raw["model"]["image"]["llamacpp"]["ctxSize"] == 1024
    assert made.raw["compute"]["scaling"]["maxReplica"] == 2
    assert "1024" in server.engines()[0].cmdline()
    assert chat(made)
    assert api.update_inference_endpoint("life").raw["model"] == made.raw["model"]

    made.delete()
    with pytest.raises(HfHubHTTPError) as gone:
        made.fetch()
    assert gone.value.response.status_code == 404
    eventually(lambda: not server.engines(), "the engine ends")


def test_parallelism_is_set_as_the_client_does_it(api: HfApi, tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    program.chmod(0o755)
    image = {"vLLM": {"url": "vllm/vllm-openai:v1", "port": 8000, "healthRoute": "/health"}}
    values = HERE | {"framework": "custom", "min_replica": 0}
    with pytest.raises(BadRequestError, match="The program 'vllm' was not found"):
        api.create_inference_endpoint("parallel", custom_image=image, **values)
    made = api.create_inference_endpoint(
        "parallel", custom_image=image, container_command=[str(program), "--port", "{port}"], **values
    )
    try:
        changed = api.update_inference_endpoint("parallel", tensor_parallel_size=2)
        assert changed.raw["model"]["image"]["vLLM"] == image["vLLM"] | {"tensorParallelSize": 2}
    finally:
        made.delete()


def test_what_can_t_be_is_said_in_words_that_the_client_shows(api: HfApi) -> None:
    for values, words in (
        ({"name": "Not Right"}, "'not-right' would do"),
        ({"instance_size": "x64"}, "compute.instanceSize"),
        ({"region": "mars"}, "There is 'local'"),
        ({"vendor": "lokal"}, "Did you mean 'local'"),
        ({"min_replica": 2}, "more than"),
        ({"scale_to_zero_timeout": 5}, "15 to 2880"),
        ({"type": "secret"}, "type"),
        ({"custom_image": {"custom": {"url": "my/image"}}}, "can't be run on this machine"),
        ({"custom_image": {"tgi": {"url": "my/image"}}}, "no engine for it"),
        ({"custom_image": {"llamacpp": {"url": "x", "ctxSize": "many"}}}, "--ctx-size"),
    ):
        with pytest.raises(BadRequestError) as refused:
            api.create_inference_endpoint(**({"name": "never", "custom_image": IMAGE} | HERE | values))
        assert words in str(refused.value), values
    with pytest.raises(HfHubHTTPError, match="'lamplighter'") as other:
        api.list_inference_endpoints("me")
    assert other.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError, match="configuration file") as standing:
        api.delete_inference_endpoint("standing")
    assert standing.value.response.status_code == 409
    assert standing.value.request_id
    with pytest.raises(HfHubHTTPError, match="not known here") as stranger:
        api.list_inference_endpoints("lamplighter", token="hf_somebodyelse")
    assert stranger.value.response.status_code == 401


def test_hardware_and_catalog_are_read_and_a_recipe_is_deployed(api: HfApi) -> None:
    (cpu, *_) = api.list_inference_endpoints_hardware()
    assert (cpu.vendor, cpu.region, cpu.instance_type, cpu.instance_size) == ("local", "local", "cpu", "x1")
    assert {model.repo_id for model in api.list_inference_catalog()} == {REPOSITORY}
    (embed,) = api.list_inference_catalog(task="feature-extraction")
    made = api.create_inference_endpoint_from_catalog(recipe_id=embed.recipes[0].id, name="vectors")
    try:
        ready(made)
        assert made.client.feature_extraction("a lamp").size == 576
    finally:
        made.delete()
    named = api.create_inference_endpoint_from_catalog(REPOSITORY, accelerator="cpu")
    assert named.name.startswith("smollm2")
    assert named.raw["model"]["fromCatalog"] is True
    named.delete()


def test_a_public_endpoint_is_called_without_a_key_and_another_is_not(api: HfApi, server: LamplighterProcess) -> None:
    made = api.create_inference_endpoint("open", custom_image=IMAGE, type="public", **HERE)
    try:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        answer = httpx2.post(f"{server.url}/endpoints/open/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 200
        refused = httpx2.post(f"{server.url}/endpoints/standing/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHORIZED")
        assert httpx2.post(f"{server.url}/v2/endpoint/lamplighter/open/pause").status_code == 401
    finally:
        made.delete()


def test_many_creates_of_one_name_at_once_make_one(api: HfApi) -> None:
    def create(_: int) -> str:
        try:
            return api.create_inference_endpoint("race", custom_image=IMAGE, namespace="lamplighter", **HERE).name
        except HfHubHTTPError as error:
            return str(error.response.status_code)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(create, range(6)))
    assert sorted(results) == ["409"] * 5 + ["race"]
    api.delete_inference_endpoint("race")


def test_what_was_made_survives_a_killed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"server": "drain_timeout: 5s, keys: [env:KEY_OF_TESTS]", "environ": {"KEY_OF_TESTS": KEY}}
    with lamplighter(tmp_path, "", **options) as server:
        api = pointed_at(server, monkeypatch)
        made = api.create_inference_endpoint("kept", custom_image=IMAGE, secrets={"TOKEN": "hush-hush"}, **HERE)
        ready(made)
        (engine,) = server.engines()
        server.kill()
        server.start()
        api = pointed_at(server, monkeypatch)
        (again,) = api.list_inference_endpoints()
        assert again.created_at == made.created_at
        ready(again)
        assert server.engines() == [engine]
        assert chat(again)
        assert again.raw["model"]["secrets"] == {"TOKEN": ""}
        again.pause()
        eventually(lambda: not server.engines(), "the engine ends")
        ready(again.resume())
        (engine,) = server.engines()
        assert engine.environ()["TOKEN"] == "hush-hush"
        assert "hush-hush" not in "".join(server.lines)
        assert b"hush-hush" not in (server.data / "lamplighter.db").read_bytes()
        again.delete()
        eventually(lambda: not psutil.pid_exists(engine.pid), "the engine ends")


# The commands.


def sitecustomize() -> str:
    """What the documentation says to put on PYTHONPATH."""
    page = (ROOT / "docs" / "wire.md").read_text("utf-8")
    return page.split("```python\n# sitecustomize.py\n")[1].split("```")[0]


class Commands:
    """`hf endpoints …` as a process of its own."""

    def __init__(self, server: LamplighterProcess, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(sitecustomize())
        self._environ = os.environ | {
            "PYTHONPATH": str(folder),
            "LAMPLIGHTER_URL": server.url,
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": KEY,
            "HF_HOME": str(folder / "home"),
            "NO_COLOR": "1",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("hf")), "endpoints", *words]
        return subprocess.run(
            command,
            check=False,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


def test_the_commands_work_unchanged(server: LamplighterProcess, tmp_path: Path) -> None:
    hf = Commands(server, tmp_path)
    size = hf.json("hardware")[0]
    place = [f"--{key.replace('_', '-')}={size[key]}" for key in ("vendor", "region", "accelerator")]
    place += [f"--instance-type={size['instance_type']}", f"--instance-size={size['instance_size']}"]
    image = ["--custom-image=ghcr.io/ggml-org/llama.cpp:server", "--engine=llamacpp"]
    made = hf.json("deploy", "by-command", f"--repo={REPOSITORY}", "--framework=llamacpp", *place, *image)
    assert made["name"] == "by-command"
    assert {row["name"]: row["vendor"] for row in hf.json("list")} == {"by-command": "local", "standing": "local"}
    assert hf.json("describe", "by-command")["model"]["repository"] == REPOSITORY
    changed = hf.json("update", "by-command", "--min-replica=0", "--scale-to-zero-timeout=20")
    assert changed["compute"]["scaling"]["scaleToZeroTimeout"] == 20
    assert hf.json("pause", "by-command")["status"]["state"] == "paused"
    assert hf.json("resume", "by-command")["status"]["state"] in {"pending", "initializing", "running"}
    assert hf.json("scale-to-zero", "by-command")["status"]["state"] == "scaledToZero"
    assert {row["engine"] for row in hf.json("catalog", "ls")} == {"llamacpp"}
    assert hf.run("delete", "by-command", "--yes").returncode == 0
    gone = hf.run("describe", "by-command")
    assert gone.returncode == 404 % 256
    assert "There is no endpoint" in gone.stdout + gone.stderr


# What only a cloud does, played by a provider in memory.

CLOUD = """
providers:
  cloud:
    type: memory
    options:
      url: {url}
      pending_delay: 0.3
      start_delay: 0.3
      delete_delay: 4
      updates_in_place: true
      hardware:
        - {{vendor: aws, region: us-east-1, instance_type: nvidia-l4, instance_size: x1, price_per_hour: 0.8, max_accelerators: 1}}
        - {{vendor: aws, region: eu-west-1, instance_type: intel-icl, instance_size: x2, accelerator: cpu}}
      faults:
        full: {{create: [no_capacity]}}
        poor: {{create: [payment]}}
        spoilt: {{update: [update_failed]}}
        stubborn: {{update: [invalid]}}
        broken: {{wake: break}}
"""
IN_THE_CLOUD: dict[str, Any] = {
    "repository": "org/model",
    "framework": "pytorch",
    "accelerator": "cpu",
    "instance_size": "x2",
    "instance_type": "intel-icl",
    "vendor": "aws",
    "region": "eu-west-1",
}


class Model(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def something_that_answers() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{model.server_port}"
        model.shutdown()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    options = {"server": "drain_timeout: 5s, keys: [env:KEY_OF_TESTS]", "environ": {"KEY_OF_TESTS": KEY}}
    with something_that_answers() as url:
        folder = tmp_path_factory.mktemp("cloud")
        with lamplighter(folder, CLOUD.format(url=url), **options) as one:
            yield one


def test_a_slow_cloud_is_waited_for_from_state_to_state(
    cloud: LamplighterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pointed_at(cloud, monkeypatch)
    made = api.create_inference_endpoint("slow", **IN_THE_CLOUD)
    seen = [made.status]
    while seen[-1] != "running":
        state = made.fetch().status
        seen += [state] if state != seen[-1] else []
    assert seen == ["pending", "initializing", "running"]
    assert ready(made).status == "running"
    assert made.raw["provider"] == {"vendor": "aws", "region": "eu-west-1"}
    assert made.update(revision="abc").status == "updating"
    ready(made)
    made.delete()


def test_what_the_cloud_refuses_reaches_the_client_as_what_it_is(
    cloud: LamplighterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pointed_at(cloud, monkeypatch)
    for name, status, words in (("full", 503, "no such hardware"), ("poor", 402, "Payment method required")):
        with pytest.raises(HfHubHTTPError, match=words) as refused:
            api.create_inference_endpoint(name, **IN_THE_CLOUD)
        assert refused.value.response.status_code == status
        assert name not in [one.name for one in api.list_inference_endpoints()]
        assert api.create_inference_endpoint(name, **IN_THE_CLOUD).name == name  # it goes the second time
    gpu = IN_THE_CLOUD | {
        "region": "us-east-1",
        "instance_type": "nvidia-l4",
        "instance_size": "x1",
        "accelerator": "gpu",
    }
    first = ready(api.create_inference_endpoint("first", **gpu))
    second = api.create_inference_endpoint("second", **gpu)
    with pytest.raises(InferenceEndpointError, match="failed"):
        ready(second)
    assert "quota" in second.raw["status"]["errorMessage"]
    first.pause()
    ready(second.resume())


def test_an_update_that_fails_and_one_that_is_refused_are_told_apart(
    cloud: LamplighterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pointed_at(cloud, monkeypatch)
    spoilt = ready(api.create_inference_endpoint("spoilt", **IN_THE_CLOUD))
    spoilt.update(revision="abc")
    with pytest.raises(InferenceEndpointError, match="failed to update"):
        ready(spoilt)
    stubborn = ready(api.create_inference_endpoint("stubborn", **IN_THE_CLOUD))
    with pytest.raises(BadRequestError):
        stubborn.update(revision="abc")
    assert stubborn.fetch().status == "running"
    assert stubborn.raw["model"]["revision"] is None
    broken = api.create_inference_endpoint("broken", **IN_THE_CLOUD)
    with pytest.raises(InferenceEndpointError, match="failed to deploy"):
        ready(broken)


def test_a_delete_that_lingers_is_seen_until_it_is_done(
    cloud: LamplighterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pointed_at(cloud, monkeypatch)
    made = api.create_inference_endpoint("lingers", **IN_THE_CLOUD)
    made.delete()
    assert made.fetch().raw["lamplighter"]["phase"] in {"stopping", "sleeping"}
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_inference_endpoint("lingers", **IN_THE_CLOUD)

    def is_gone() -> bool:
        try:
            made.fetch()
        except HfHubHTTPError as error:
            return error.response.status_code == 404
        return False

    eventually(is_gone, "the endpoint is gone")


def test_a_listing_over_many_pages_is_whole(cloud: LamplighterProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pointed_at(cloud, monkeypatch)
    names = [f"many-{number:03}" for number in range(45)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: api.create_inference_endpoint(name, namespace="lamplighter", **IN_THE_CLOUD), names))
    everything = [one.name for one in api.list_inference_endpoints()]
    assert set(names) <= set(everything)
    with httpx2.Client(base_url=cloud.url, headers={"authorization": f"Bearer {KEY}"}) as raw:
        seen: list[str] = []
        query: dict[str, str] = {"limit": "20", "search": "many-"}
        while True:
            page = raw.get("/v2/endpoint/lamplighter", params=query).json()
            seen += [item["name"] for item in page["items"]]
            assert page["totalItems"] == 45
            if page["nextCursor"] is None:
                break
            query["cursor"] = page["nextCursor"]
    assert seen == names
