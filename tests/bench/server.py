"""The server as it stands in front of production traffic: keys, limits, usage records, metrics and access log on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.bench.tools import ROOT, on_cores
from tests.bench.wrk import KEY, NAME

PLENTY = 1_000_000_000
SCRAPED_EVERY = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """A server that runs; `key` is an ordinary caller's, with limits that it never reaches."""

    server: LamplighterProcess
    process: psutil.Process
    port: int
    key: str


@contextlib.contextmanager
def running(
    configuration: str,
    *,
    cores: Collection[int] | None = None,
    environ: Mapping[str, str] | None = None,
    own_session: bool = False,
) -> Iterator[Ours]:
    """The whole server in a process of its own, on the given cores, asked for its metrics as Prometheus would."""
    every = {"LAMPLIGHTER_KEYS": KEY, "PYTHONPATH": _modules(), **(environ or {})}
    settings = "drain_timeout: 5s, access_log: access.log"
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        with on_cores(cores) if cores else contextlib.nullcontext():
            started = lamplighter(Path(name), configuration, environ=every, server=settings, own_session=own_session)
            server = stack.enter_context(started)
        stack.enter_context(_scraped(server))
        yield Ours(
            server=server,
            process=psutil.Process(server.process.pid),
            port=int(server.url.rpartition(":")[2]),
            key=_limited_key(server),
        )


def _limited_key(server: LamplighterProcess) -> str:
    """A key that may call models, with every kind of limit, each of them far away."""
    limits = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent"), PLENTY)
    answer = httpx2.post(
        f"{server.url}/api/keys",
        headers={"authorization": f"Bearer {KEY}"},
        json={"name": "load", "role": "infer", "limits": limits},
        timeout=SCRAPED_EVERY,
    )
    if answer.status_code != 201:
        raise SystemExit(f"no key was made: {answer.status_code} {answer.text}")
    return str(answer.json()["secret"])


@contextlib.contextmanager
def _scraped(server: LamplighterProcess) -> Iterator[None]:
    """Ask for the metrics again and again while the block lasts; at least one answer has to be good."""
    over = threading.Event()
    answers: list[int] = []

    def scrape() -> None:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                answers.append(metrics(server)[0])
            if over.wait(SCRAPED_EVERY):
                return

    scraper = threading.Thread(target=scrape, name="scraper")
    scraper.start()
    try:
        yield
    finally:
        over.set()
        scraper.join()
    if 200 not in answers:
        raise SystemExit(f"/metrics was never answered: {answers}")


def metrics(server: LamplighterProcess) -> tuple[int, str]:
    """Status and text of the metrics."""
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx2.get(f"{server.url}/metrics", headers=headers, timeout=SCRAPED_EVERY)
    return answer.status_code, answer.text


def endpoint(upstream_port: int) -> str:
    """The configuration of an endpoint that is always awake, in front of what listens on a port."""
    return f"""
providers: {{memory: {{options: {{start_delay: 0, url: "http://127.0.0.1:{upstream_port}"}}}}}}
endpoints:
  {NAME}: {{provider: memory, command: [none], keep_warm: true, headers: {{Authorization: Bearer upstream-key}}}}
"""


def _modules() -> str:
    """Where Python looks in processes that the server starts: here, too, for stand-ins of engines."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
