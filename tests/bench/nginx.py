"""nginx as the endpoint behind the gateway, and as the proxy to compare it with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.tools import free_port, program, running

_COMMON = """
daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid {dir}/{name}.pid; error_log {dir}/{name}.log crit;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  {http}
}}
"""

_ENDPOINT = """
  server {{ listen 127.0.0.1:{port} backlog=1024; default_type application/json;
    location / {{ return 200 '{answer}'; }} }}
"""

_PROXY = """
  upstream endpoint {{ server 127.0.0.1:{to}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://endpoint; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1750000000,"model":"bench","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + "The lamps are lit one after another. " * 7 + '"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":60,"total_tokens":80}}'
)


@contextlib.contextmanager
def endpoint(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Answers everything with half a kilobyte of JSON."""
    port = free_port()
    with _nginx(folder, "endpoint", _ENDPOINT.format(port=port, answer=ANSWER), port) as process:
        yield process, port


@contextlib.contextmanager
def proxy(folder: Path, to: int) -> Iterator[tuple[psutil.Process, int]]:
    """A plain proxy with kept connections."""
    port = free_port()
    with _nginx(folder, "proxy", _PROXY.format(port=port, to=to), port) as process:
        yield process, port


@contextlib.contextmanager
def _nginx(folder: Path, name: str, http: str, port: int) -> Iterator[psutil.Process]:
    config = folder / f"{name}.conf"
    config.write_text(_COMMON.format(dir=folder, name=name, http=http))
    with running([program("nginx"), "-p", str(folder), "-c", str(config)], port) as process:
        yield process
