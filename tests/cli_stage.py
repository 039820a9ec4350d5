"""A server that answers the command line with what a test has put down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """Answers by path, or by method and path (`POST /x`), without the query; the last one of a list stays."""

    answers: dict[str, list[tuple[int, dict[str, Any] | str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    """Of the requests that had one."""
    url: str = ""

    def put(self, path: str, *answers: dict[str, Any] | str, status: int = 200) -> None:
        self.answers[path] = [(status, answer) for answer in answers]

    def next(self, method: str, path: str) -> tuple[int, dict[str, Any] | str]:
        nothing: list[tuple[int, dict[str, Any] | str]] = [(404, problem("not_found", "nothing there"))]
        path = path.partition("?")[0]
        answers = self.answers.get(f"{method} {path}") or self.answers.get(path, nothing)
        return answers.pop(0) if len(answers) > 1 else answers[0]


def problem(code: str, message: str) -> dict[str, Any]:
    """An error as the management routes word it."""
    return {"success": False, "error": {"code": code, "message": message}}


def endpoint(name: str = "chat", status: str = "sleeping", **more: Any) -> dict[str, Any]:
    """An endpoint as the status route shows it."""
    return {"name": name, "status": status, "url": f"http://here/endpoints/{name}", "model": "smol"} | more


def one(name: str = "chat", status: str = "sleeping", **more: Any) -> dict[str, Any]:
    return {"success": True, "endpoint": endpoint(name, status, **more)}


def everything(*endpoints: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "endpoints": {one["name"]: one for one in endpoints}}


@contextmanager
def scripted_server() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            if content:
                script.bodies.append(json.loads(content))
            script.asked.append(f"{self.command} {self.path}")
            script.keys.append(self.headers.get("authorization"))
            status, answer = script.next(self.command, self.path)
            body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()
