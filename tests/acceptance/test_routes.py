"""Routes with real servers: one that bridges a wake over to another one, and the official client before both."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.acceptance.harness import CHAT, LIKELIEST, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

KEY = "far-away-key"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
PROMPT: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    """A model API that is always on, and wants a key."""
    configuration = f"endpoints:{CHAT}    keep_warm: true\n"
    folder = tmp_path_factory.mktemp("far")
    with lamplighter(folder, configuration, server=f"drain_timeout: 5s, keys: ['sha256:{DIGEST}']") as one:
        yield one


def configuration(far: LamplighterProcess, route: str) -> str:
    return f"""
providers: {{memory: {{options: {{start_delay: 2, url: "{far.url}/endpoints/chat"}}}}}}
endpoints:
  big: {{provider: memory, command: [none], headers: {{Authorization: Bearer {KEY}}}}}
upstreams:
  far: {{base_url: "{far.url}/v1", key: env:FAR_KEY, model: chat}}
{route}
"""


BRIDGE = """
routes:
  assistant: {targets: [big, far], aliases: [gpt-4o], while_waking: bridge}
"""


def client(server: LamplighterProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def targets(openai_client: openai.OpenAI) -> tuple[str, str | None]:
    raw = openai_client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=PROMPT, max_tokens=4, extra_body=LIKELIEST
    )
    assert raw.parse().choices[0].message.content
    return raw.headers["x-lamplighter-target"], raw.headers.get("x-lamplighter-fallback")


def test_a_wake_is_bridged_and_the_way_back_is_by_itself(far: LamplighterProcess, tmp_path: Path) -> None:
    with (
        lamplighter(tmp_path, configuration(far, BRIDGE), environ={"FAR_KEY": KEY}) as near,
        client(near) as openai_client,
    ):
        assert targets(openai_client) == ("far", "target_waking")
        eventually(lambda: targets(openai_client) == ("big", None), "an answer of big")
        chunks = list(
            openai_client.chat.completions.create(
                model="gpt-4o", messages=PROMPT, max_tokens=4, extra_body=LIKELIEST, stream=True
            )
        )
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        metrics = httpx2.get(f"{near.url}/metrics").text
        assert KEY not in "".join(near.lines) + metrics


def test_a_reload_changes_routes_and_drops_nothing(far: LamplighterProcess, tmp_path: Path) -> None:
    with (
        lamplighter(tmp_path, configuration(far, BRIDGE), environ={"FAR_KEY": KEY}) as near,
        client(near) as openai_client,
    ):
        assert targets(openai_client)[0] == "far"
        near.write(configuration(far, "routes: {assistant: {targets: [far], aliases: [gpt-4o]}}"))
        near.process.send_signal(signal.SIGHUP)
        near.await_line(lambda line: "reloaded" in line, "a reload")
        assert targets(openai_client) == ("far", None)
        near.write(configuration(far, ""))
        near.process.send_signal(signal.SIGHUP)
        eventually(lambda: [model.id for model in openai_client.models.list()] == ["big"], "a reload")
        with pytest.raises(openai.NotFoundError, match="big"):
            targets(openai_client)
