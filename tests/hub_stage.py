"""The Hub's listing and the router's, in the shapes that are documented, for `hf_stage` to answer with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from tests.hf_stage import Asked, Reply, Script, Stage, stage

HUB, ROUTER = "/api/models", "/v1/models"
CHAT = "/v1/chat/completions"
DEEP = "deepseek-ai/DeepSeek-V4-Pro"
QWEN = "Qwen/Qwen3-8B"


def hub_model(name: str = QWEN, **more: Any) -> dict[str, Any]:
    """A model as the Hub tells it with what we ask it to expand."""
    return {
        "_id": "66a1",
        "id": name,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "downloads": 1_000_000,
        "likes": 512,
        "gated": False,
        "tags": ["transformers", "safetensors", "license:apache-2.0", "region:us"],
        "safetensors": {"parameters": {"BF16": 8_190_735_360}, "total": 8_190_735_360},
        "inferenceProviderMapping": [
            {
                "provider": "novita",
                "providerId": "qwen/qwen3-8b",
                "status": "live",
                "task": "conversational",
                "isModelAuthor": False,
            }
        ],
        "somethingNew": {"that": ["nobody", "knows"]},
    } | more


def pages(*batches: Sequence[dict[str, Any]], to: str = "", **headers: str) -> Script:
    """Answer one page after another, each with the link to the next; `to` is put before its path."""

    def reply(asked: Asked) -> Reply:
        number = int(asked.query.get("cursor", "0"))
        onward = f'<{to}{HUB}?limit=2&cursor={number + 1}>; rel="next"'
        link = {"Link": onward} if number + 1 < len(batches) else {}
        return Reply(
            body=list(batches[number]), headers={**link, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    return reply


def served(name: str = DEEP, *providers: dict[str, Any]) -> dict[str, Any]:
    """A model of the router's listing."""
    return {
        "id": name,
        "object": "model",
        "created": 1776837885,
        "owned_by": name.partition("/")[0],
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "providers": list(providers) or [novita()],
    }


def novita(**more: Any) -> dict[str, Any]:
    return {
        "provider": "novita",
        "status": "live",
        "context_length": 1048576,
        "pricing": {"input": 1.69, "output": 3.38},
        "is_free": False,
        "supports_tools": True,
        "supports_structured_output": False,
        "first_token_latency_ms": 1490,
        "throughput": 24.69,
        "is_model_author": False,
    } | more


def listing(*models: dict[str, Any]) -> Reply:
    return Reply(body={"object": "list", "data": list(models) or [served()]})


def completion(text: str = "four") -> Reply:
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    }
    return Reply(body=body, headers={"x-inference-provider": "novita"})


def furnish(there: Stage) -> None:
    """A Hub with two pages, and a router with one model that answers."""
    there.script("GET", HUB, pages([hub_model(), hub_model("org/two")], [hub_model("org/three")]))
    there.script("GET", f"{HUB}/{QWEN}", Reply(body=hub_model()))
    there.script("GET", ROUTER, listing())
    there.script("POST", CHAT, completion())


@contextmanager
def hub(furnishing: Callable[[Stage], None] = furnish) -> Iterator[str]:
    """A furnished Hugging Face in a thread, for a server that is another process; gives its address."""
    said: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with stage() as there:
            furnishing(there)
            over = asyncio.Event()
            said.set_result((there.url, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    url, loop, over = said.result(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
