"""A real server with a real engine keeps to a budget: over a kill, and until the limit is raised."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter
from tests.acceptance.test_costs import configuration

pytestmark = pytest.mark.acceptance


def budgeted(folder: Path, limit: int) -> str:
    """A dollar a second, and at most so many of them a month."""
    return configuration(folder) + f"budgets:\n  monthly: {{limit: {limit}, per: month, endpoint: chat}}\n"


def ask(server: LamplighterProcess) -> httpx2.Response:
    return httpx2.post(f"{server.url}/v1/chat/completions", json={"model": "chat", "messages": []}, timeout=30)


def test_a_spent_budget_puts_to_sleep_refuses_with_402_outlives_a_kill_and_ends_with_a_higher_limit(
    tmp_path: Path,
) -> None:
    with lamplighter(tmp_path, budgeted(tmp_path, 4)) as server:
        eventually(lambda: bool(server.rows("select 1 from quotes where subject = 'chat'")), "a price on record", 20)
        assert ask(server).status_code == 200
        eventually(lambda: server.status("chat")["status"] == "sleeping", "asleep, five minutes before its time", 20)
        refused = ask(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_spent")
        assert "'monthly'" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) > 0
        woken = httpx2.post(f"{server.url}/api/endpoints/wake/chat", timeout=30)
        assert (woken.status_code, woken.json()["error"]["code"]) == (402, "budget_spent")
        server.kill()
        server.start()
        assert ask(server).status_code == 402
        server.write(budgeted(tmp_path, 10_000))
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: ask(server).status_code == 200, "an answer, now that there is money", 20)
        assert server.stop() == 0
