"""Hugging Face as a script: answers as its management API gives them, for what no server of ours would answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamplighter.cli.main import main
from tests.cli_stage import Script, scripted_server
from tests.cli_world import Said, clean_environment

TOKEN = "hf_" + "a1B2" * 8


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def endpoint(name: str, state: str = "running", *, tags: tuple[str, ...] = (), **status: Any) -> dict[str, Any]:
    """An endpoint as the API shows it."""
    up = state in {"running", "initializing", "updating", "pending"}
    return {
        "name": name,
        "type": "authenticated",
        "healthRoute": "/health",
        "tags": list(tags),
        "model": {"repository": "org/model", "framework": "pytorch", "image": {"huggingface": {}}},
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "gpu",
            "instanceType": "nvidia-l4",
            "instanceSize": "x1",
            "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
        },
        "status": {
            "state": state,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
            "readyReplica": 1 if state == "running" else 0,
            "targetReplica": 1 if up else 0,
            **status,
        },
    }


def whoami(*orgs: str, role: str = "write", **more: Any) -> dict[str, Any]:
    return {
        "type": "user",
        "name": "me",
        "orgs": [{"name": org} for org in orgs],
        "canPay": True,
        "auth": {"type": "access_token", "accessToken": {"displayName": "laptop", "role": role}},
    } | more


def graphs(*running: float, every: float = 60.0, requests: Sequence[float] = ()) -> dict[str, Any]:
    """What the metrics route draws: replicas running and requests answered, one point each `every` seconds until now."""

    def line(values: Sequence[float], **labels: str) -> dict[str, Any]:
        now = time.time()
        times = [rfc3339(now - every * back) for back in range(len(values) - 1, -1, -1)]
        return {**labels, "data": [{"x": at, "y": value} for at, value in zip(times, values, strict=True)]}

    return {
        "replicasRunning": {"series": [line(running, status="running")] if running else []},
        "responseStatusCodeGrouped": {"series": [line(requests, statusCode="2xx")] if requests else []},
    }


HARDWARE = {
    "vendors": [
        {
            "name": "aws",
            "status": "available",
            "regions": [
                {
                    "name": "us-east-1",
                    "label": "N. Virginia",
                    "status": "available",
                    "computes": [
                        {
                            "id": "aws-us-east-1-nvidia-l4-x1",
                            "accelerator": "gpu",
                            "numAccelerators": 1,
                            "numCpus": 7,
                            "memoryGb": 30.0,
                            "gpuMemoryGb": 24,
                            "instanceType": "nvidia-l4",
                            "instanceSize": "x1",
                            "architecture": "Nvidia L4",
                            "status": "available",
                            "pricePerHour": 0.8,
                            "quota": {"maxAccelerators": 16, "usedAccelerators": 1},
                        }
                    ],
                }
            ],
        }
    ]
}


class ScriptedCloud:
    """The script, and the commands that are answered by it."""

    def __init__(self, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
        self.script = script
        self._capsys = capsys

    def have(self, endpoints: Mapping[str, list[dict[str, Any]]]) -> None:
        """Have these endpoints, by namespace; the first namespace is the token owner's. All have run for three hours."""
        mine, *orgs = endpoints
        self.script.put("/api/whoami-v2", whoami(*orgs, name=mine))
        for namespace, found in endpoints.items():
            self.script.put(f"/v2/endpoint/{namespace}", {"items": found})
            self.script.put(f"/v2/provider/{namespace}", HARDWARE)
            for one in found:
                path = f"/v2/endpoint/{namespace}/{one['name']}"
                self.script.put(path, one)
                self.script.put(f"{path}/metrics", graphs(*[1.0] * 180))
                self.script.put(f"{path}/pause", endpoint(one["name"], "paused"))

    def asked(self, word: str) -> list[str]:
        """The questions in which a word stands."""
        return [question for question in self.script.asked if word in question]

    def __call__(self, *argv: str) -> Said:
        self._capsys.readouterr()
        code = main(argv)
        told = self._capsys.readouterr()
        return Said(code, told.out, told.err)


@contextmanager
def scripted_cloud(
    home: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    """Run one; it stands in for all hosts of Hugging Face, and there is a token."""
    clean_environment(patch, home)
    patch.setenv("HF_TOKEN", TOKEN)
    with scripted_server() as script:
        patch.setenv("LAMPLIGHTER_CLOUD_URL", script.url)
        yield ScriptedCloud(script, capsys)
