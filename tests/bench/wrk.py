"""Load from wrk."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.tools import program

NAME = "bench"
KEY = "bench-key"
BODY = json.dumps(
    {
        "model": NAME,
        "messages": [
            {"role": "system", "content": "You are a lamplighter. Answer in one short sentence, and kindly."},
            {"role": "user", "content": "When are the lamps along the river lit in winter, and who puts them out?"},
        ],
        "temperature": 0.7,
        "max_tokens": 60,
    }
)
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "OpenAI/Python 3.52.0"}
_SCRIPT = f"""
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = [==[{BODY}]==]
"""
_PATIENCE = 20  # seconds for one answer; wrk's own 2 are too short for a slow peer
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw; latencies in milliseconds."""

    requests: int
    per_second: float
    median: float
    p99: float


def run(
    folder: Path,
    port: int,
    *,
    connections: int,
    seconds: int,
    key: str = KEY,
    headers: Mapping[str, str] | None = None,
) -> Load:
    """Chat completions as fast as they are answered. Fails if any answer is not a success."""
    script = folder / "post.lua"
    lines = {**HEADERS, "Authorization": f"Bearer {key}", **(headers or {})}
    script.write_text(_SCRIPT + "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in lines.items()))
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    command += ["--timeout", f"{_PATIENCE}s", f"http://127.0.0.1:{port}"]
    limit = seconds + _PATIENCE + 10
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"the load met failures:\n{text}")
    return Load(
        requests=int(_find(r"(\d+) requests in", text)[1]),
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", text)[1]),
        median=_latency("50", text),
        p99=_latency("99", text),
    )


def _latency(percentile: str, text: str) -> float:
    found = _find(rf"{percentile}%\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * _UNITS[found[2]]


def _find(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"wrk said something unexpected:\n{text}")
    return found
