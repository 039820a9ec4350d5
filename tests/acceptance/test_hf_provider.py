"""Endpoints at a cloud, with real engines: one Lamplighter in a process of its own plays Hugging Face, another serves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.acceptance.harness import LIKELIEST, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

KEY = "the-clouds-own-key"

HERE = """
providers:
  huggingface:
    options: {{base_url: "{base}", token: "env:CLOUD_KEY", look_every: 5}}
endpoints:{endpoints}
"""
LAMP = """
  lamp:
    provider: huggingface
    remote: smol
    create: if-missing
    deployment:
      repository: SmolLM2-135M-Instruct
      framework: llamacpp
      vendor: local
      region: local
      accelerator: cpu
      instance_type: cpu
      instance_size: x1
      image: {llamacpp: {}}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("cloud"), "", environ={"LAMPLIGHTER_KEYS": KEY}) as server:
        yield server


def there(cloud: LamplighterProcess, method: str = "GET", verb: str = "") -> str | None:
    """What the cloud itself says of the endpoint's state."""
    url = f"{cloud.url}/v2/endpoint/lamplighter/smol{verb}"
    answer = httpx2.request(method, url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    if answer.status_code == 404:
        return None
    return str(answer.raise_for_status().json().get("status", {}).get("state"))


def test_a_whole_life(cloud: LamplighterProcess, tmp_path: Path) -> None:
    text = HERE.format(base=cloud.url, endpoints=LAMP)
    with lamplighter(tmp_path, text, environ={"CLOUD_KEY": KEY}) as here:
        client = openai.OpenAI(base_url=f"{here.url}/v1", api_key="unused", max_retries=0, timeout=60)

        def say() -> str:
            chat = client.chat.completions.create(
                model="lamp", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4, extra_body=LIKELIEST
            )
            return chat.choices[0].message.content or ""

        def operate(verb: str) -> None:
            httpx2.post(f"{here.url}/v2/endpoint/lamplighter/lamp/{verb}", timeout=60).raise_for_status()

        assert there(cloud) is None
        assert here.status("lamp")["status"] == "sleeping"
        assert say()  # created
        assert there(cloud) == "running"

        pieces = client.chat.completions.create(
            model="lamp",
            messages=[{"role": "user", "content": "Count."}],
            max_tokens=8,
            extra_body=LIKELIEST,
            stream=True,
        )
        assert len(list(pieces)) > 2  # used, streamed

        here.sleep("lamp")
        assert there(cloud) == "scaledToZero"
        eventually(lambda: not cloud.engines(), "no engine runs")
        assert say()  # woken by a request

        there(cloud, "POST", "/scale-to-zero")  # behind our back
        assert say()

        operate("pause")
        eventually(lambda: there(cloud) == "paused", "it is paused")
        with pytest.raises(openai.BadRequestError, match="paused"):
            say()
        assert there(cloud) == "paused"
        operate("resume")
        assert say()

        here.write(HERE.format(base=cloud.url, endpoints=" {}"))  # taken out: asleep, and left there
        here.process.send_signal(signal.SIGHUP)
        eventually(lambda: there(cloud) == "scaledToZero", "it is put to sleep")
        with pytest.raises(openai.NotFoundError):
            say()
        assert KEY not in "".join(here.lines)
    there(cloud, "DELETE")
    eventually(lambda: there(cloud) is None, "it is deleted")


def test_what_runs_there_goes_on_without_us_and_is_found_again(cloud: LamplighterProcess, tmp_path: Path) -> None:
    text = HERE.format(base=cloud.url, endpoints=LAMP)
    with lamplighter(tmp_path, text, environ={"CLOUD_KEY": KEY}) as here:
        here.wake("lamp")
        engines = [engine.pid for engine in cloud.engines()]
        here.kill()
        here.start()
        eventually(lambda: here.status("lamp")["status"] == "running", "it is found")
        assert [engine.pid for engine in cloud.engines()] == engines
        here.stop()
        assert there(cloud) == "running"
    there(cloud, "DELETE")
    eventually(lambda: there(cloud) is None, "it is deleted")
