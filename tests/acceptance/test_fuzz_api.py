"""The management API of a real server, asked for all that its description allows, and for what it does not allow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import lamplighter
from tests.hub_stage import hub

pytestmark = pytest.mark.acceptance

KEY = "fuzz-key-of-an-administrator"
WORLD = """
providers:
  sim: {type: memory, options: {start_delay: 0.01, stop_delay: 0.01}}
endpoints:
  chat: {provider: sim, engine: llamacpp, model: SmolLM2-135M-Instruct}
"""
SERVER = "keys: [env:FUZZ_KEY], management_rate: 1000000, drain_timeout: 1s"

# Names that exist, so that more than the words for what is missing is asked for, and nothing that waits on purpose.
PARAMETERS = """
[parameters]
"path.name" = "chat"
"path.namespace" = "lamplighter"
"query.wait" = 0
"query.follow" = false

[[operations]]
include-path = "/api/offers/explain"
parameters = {"query.name" = "chat"}
"""
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance"
SECONDS = 10


def environ(there: str, home: Path) -> dict[str, str]:
    """Models and prices are at the stand-in `there`; nothing of whoever runs the tests is asked with."""
    return {"FUZZ_KEY": KEY, "LAMPLIGHTER_CLOUD_URL": there, "HF_TOKEN": "hf_OfTheFuzzTest", "HF_HOME": str(home)}


def test_no_request_to_the_management_api_ends_in_a_fault_or_in_an_answer_that_is_not_described(tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(PARAMETERS)
    report = tmp_path / "report.har"
    with hub() as there, lamplighter(tmp_path, WORLD, server=SERVER, environ=environ(there, tmp_path)) as server:
        run = subprocess.run(
            [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
                *("--config-file", settings, "run", f"{server.url}/openapi.json"),
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--phases", "coverage,fuzzing", "--max-examples", "5", "--max-time", str(SECONDS)),
                *("--checks", CHECKS, "--exclude-path-regex", "/sse$"),  # event streams have no end
                *("--request-timeout", "10", "--seed", "1", "--workers", "1", "--no-shrink"),
                *("--generation-database", "none", "--no-color", "--report", "har", "--report-har-path", report),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        asked = json.loads(report.read_text())["log"]["entries"]
        statuses = {entry["response"]["status"] for entry in asked}
        assert len(asked) > 50  # on a busy machine; mostly some thousands
        assert {200, 422} <= statuses
        assert not [status for status in statuses if status >= 500]
        assert not [line for line in server.lines if "Traceback" in line]
        health = httpx2.get(f"{server.url}/readyz", timeout=10)
        assert health.status_code == 200, health.text
        assert server.process.poll() is None
