"""Takes the pictures of the page that the docs show: every screen, dark and light, of a real server with a month behind it.

`python -m tests.pictures FOLDER` writes PNG files there. Endpoints are simulated but for one, which llama.cpp runs.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2

from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import Store
from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.browser import browser, opened
from tests.hub_stage import hub

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ADMIN: Final = "an-admin-key-for-the-pictures"
DAYS: Final = 30
WIDE: Final = {"width": 1280, "height": 860}
PHONE: Final = {"width": 360, "height": 740}

PRICES: Final = {"coder-32b": 1.8, "embed": 0.5, "llama-70b": 8.3, "reranker": 0.5, "vision": 1.3, "whisper": 0.8}
"""What a replica of each simulated endpoint costs an hour, in $."""

SCREENS: Final = {
    "endpoints": "/",
    "endpoint": "/endpoint/coder-32b",
    "costs": "/costs",
    "market": "/market",
    "playground": "/playground?model=chat",
    "activity": "/activity",
    "keys": "/keys",
    "settings": "/settings",
}


def configuration(there: str) -> str:
    common: dict[str, Any] = {"provider": "cloud", "engine": "vllm", "idle_timeout": "15m"}
    simulated = {
        name: {**common, "model": f"org/{name}", "price_per_hour": price} for name, price in sorted(PRICES.items())
    }
    chat = {"engine": "llamacpp", "model": "SmolLM2-135M-Instruct", "price_per_hour": 0.8, "idle_timeout": "10m"}
    sections: dict[str, Any] = {
        "providers": {"cloud": {"type": "memory", "options": {"start_delay": 40, "url": "http://127.0.0.1:9"}}},
        "endpoints": {"chat": chat, **simulated},
        "prices": {"router": True, "router_url": f"{there}/v1"},
        "budgets": {
            "all": {"limit": 6000, "per": "month"},
            "llama": {"limit": 150, "per": "day", "endpoint": "llama-70b", "at_limit": "drain"},
            "each-key": {"limit": 900, "per": "week", "key": "*"},
        },
    }
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in sections.items())


def main(folder: Path) -> None:
    """Start a server, give it a past, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with (
            hub() as there,
            lamplighter(root, configuration(there), page=True, environ=_environ(there, root)) as server,
        ):
            keys = [_make_key(server, name, team) for name, team in (("web", "product"), ("batch", "research"))]
            server.stop()
            asyncio.run(_give_past(root / "data" / "lamplighter.db", keys))
            server.start()
            _give_present(server)
            _take_all(server, folder)


def _take_all(server: LamplighterProcess, folder: Path) -> None:
    with browser() as chrome:
        state = _signed_in(chrome, server)
        for name, path in SCREENS.items():
            for scheme in ("light", "dark"):
                _take(chrome, server, path, folder / f"{name}-{scheme}.png", scheme, WIDE, state)
        _take(chrome, server, "/", folder / "phone-dark.png", "dark", PHONE, state)


def _environ(there: str, home: Path) -> dict[str, str]:
    """Prices of the marketplace come from the stand-in that tests use, not from the network."""
    token = "hf_OfThePictures"
    return {"LAMPLIGHTER_KEYS": ADMIN, "LAMPLIGHTER_CLOUD_URL": there, "HF_TOKEN": token, "HF_HOME": str(home)}


def _client(server: LamplighterProcess) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=90)


def _make_key(server: LamplighterProcess, name: str, team: str) -> str:
    with _client(server) as client:
        answer = client.post("/api/keys", json={"name": name, "role": "infer", "tags": {"team": team}})
        return str(answer.raise_for_status().json()["key"]["id"])


# The past.


async def _give_past(database: Path, keys: Sequence[str]) -> None:
    """A month of wakes, sleeps and requests of each simulated endpoint."""
    store, now = await Store.open(database), time.time() - 3600
    facts: list[Transition | UsageRecord] = []
    busy: dict[tuple[str, int], float] = {}
    for number, name in enumerate(sorted(PRICES)):
        for one in _life(name, now, keys, random.Random(number)):
            facts.append(one)
            if isinstance(one, UsageRecord):
                spot = name, int(one.at // 3600) * 3600
                busy[spot] = min(3600.0, busy.get(spot, 0.0) + one.duration)
    for one in sorted(facts, key=lambda one: one.at):
        if isinstance(one, Transition):
            await store.add_transition(one)
        else:
            await store.add_usage([one])
    await store.save_activity([(name, hour, took) for (name, hour), took in busy.items()])
    await store.close()


def _life(name: str, now: float, keys: Sequence[str], chance: random.Random) -> Iterator[Transition | UsageRecord]:
    at, before, lasted = now - DAYS * 86400, None, None
    while True:
        cause = f"key:{chance.choice(keys)}"
        busy_hours = 9 <= time.gmtime(at).tm_hour < 18
        asleep = chance.expovariate(1 / (7200 if busy_hours else 30000))
        for state, length in (
            (State.SCALED_TO_ZERO, asleep),
            (State.INITIALIZING, chance.uniform(35, 75)),
            (State.RUNNING, 900 + chance.expovariate(1 / 5400)),
        ):
            yield _transition(name, at, before, state, lasted, cause)
            if state is State.RUNNING:
                yield from _requests(name, at, length, keys, chance)
            at, before, lasted = at + length, state, length
            if at >= now:
                return


def _transition(
    name: str, at: float, before: State | None, after: State, lasted: float | None, cause: str
) -> Transition:
    wakes = after is not State.SCALED_TO_ZERO
    return Transition(
        endpoint=name,
        at=at,
        before=before,
        after=after,
        reason="demand" if wakes else "idle",
        actor="request" if wakes else "policy",
        duration=lasted,
        cause=cause if wakes else "",
        route=name,
        provider="cloud",
    )


def _requests(name: str, at: float, length: float, keys: Sequence[str], chance: random.Random) -> Iterator[UsageRecord]:
    for _ in range(chance.randrange(5, 60)):
        tokens = chance.randrange(50, 900)
        yield UsageRecord(
            endpoint=name,
            at=at + chance.uniform(0, max(1.0, length - 900)),
            route="/v1/chat/completions",
            status=200,
            outcome=Outcome.SERVED,
            waited=0.0,
            duration=tokens / chance.uniform(25, 70),
            bytes_in=400,
            bytes_out=4 * tokens,
            model=name,
            key=chance.choice(keys),
            tokens_in=chance.randrange(100, 4000),
            tokens_out=tokens,
            first_byte=chance.uniform(0.08, 0.5),
        )


# The present.


def _give_present(server: LamplighterProcess) -> None:
    """Some are awake, one has answered, one is starting."""
    with _client(server) as client:
        for name in ("coder-32b", "embed"):
            client.post(f"/api/endpoints/wake/{name}", params={"wait": 60}).raise_for_status()
        ask: Mapping[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}
        client.post("/v1/chat/completions", json=ask).raise_for_status()
        time.sleep(20)  # until the ledger has summed up today
        client.post("/api/endpoints/wake/llama-70b").raise_for_status()


# Pictures.


def _signed_in(chrome: Browser, server: LamplighterProcess) -> Any:
    with opened(chrome, server.url) as (page, _):
        page.get_by_label("Key").fill(ADMIN)
        page.get_by_role("button", name="Sign in").click()
        page.locator(".brand .lamp.running").wait_for()
        return page.context.storage_state()


def _take(
    chrome: Browser,
    server: LamplighterProcess,
    path: str,
    file: Path,
    scheme: str,
    size: dict[str, int],
    state: Any,
) -> None:
    options = {"viewport": size, "color_scheme": scheme, "storage_state": state}
    with opened(chrome, server.url, path, **options) as (page, _):
        page.locator(".brand .lamp.running").wait_for()
        if path.startswith("/playground"):
            _chat(page)
        page.wait_for_timeout(2500)
        page.screenshot(path=str(file))
    print(file.name)  # noqa: T201 - what it is for


def _chat(page: Page) -> None:
    page.get_by_label("Message").fill("Name three colours of a lamp.")
    page.get_by_role("button", name="Send").click()
    page.wait_for_timeout(6000)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
