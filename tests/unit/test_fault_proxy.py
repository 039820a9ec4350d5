"""Each fault of the tests' proxy happens as it is described, on real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from tests import fault_proxy as faults
from tests.fault_proxy import FaultProxy, Request, Storm


class Service(ThreadingHTTPServer):
    """Answers what it was asked; what it has done is in `done`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.done: list[str] = []
        self.came = threading.Event()
        self.go_on = threading.Event()
        self.left = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.server.left.set()

    def do_GET(self) -> None:
        self.server.done.append(f"{self.command} {self.path}")
        if self.path == "/stream":
            self._stream()
        elif self.path == "/slow":
            self._slow()
        elif self.path == "/until-close":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"0123456789" * 20)
            self.close_connection = True
        else:
            status = {"state": "running", "readyReplica": 1, "url": f"{self.server.url}/endpoints/lamp"}
            self._say({"name": "lamp", "path": self.path, "status": status})

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "42")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.done.append(f"{self.command} {self.path} {body.decode()}")
        self.server.came.set()
        self._say({"took": body.decode(), "id": self.headers.get("x-request-id")})

    def do_DELETE(self) -> None:
        self.server.done.append(f"{self.command} {self.path}")
        self.send_response(204)
        self.end_headers()

    def _say(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in (b"data: one\n\n", b"data: two\n\n"):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            self.server.go_on.wait(10)
        self.wfile.write(b"0\r\n\r\n")

    def _slow(self) -> None:
        self.connection.settimeout(10)
        if not self.rfile.read(1):  # the end of the connection: the client has left
            self.server.left.set()


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.go_on.set()
        one.shutdown()
        thread.join()


@pytest.fixture
def proxy(service: Service) -> Iterator[FaultProxy]:
    with FaultProxy(service.url) as one:
        yield one


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=proxy.url, timeout=10) as one:
        yield one


def test_what_no_fault_is_planned_for_passes_and_is_counted(
    client: httpx2.Client, proxy: FaultProxy, service: Service
) -> None:
    assert client.post("/v1/x?a=1", content=b"hello", headers={"x-request-id": "7"}).json() == {
        "took": "hello",
        "id": "7",
    }
    assert client.delete("/v2/x").status_code == 204
    assert client.head("/v1/x").headers["content-length"] == "42"
    assert service.done == ["POST /v1/x?a=1 hello", "DELETE /v2/x"]
    first = proxy.seen[0]
    assert (first.method, first.path, first.body, first.plane) == ("POST", "/v1/x?a=1", b"hello", "data")
    assert (first.fault, first.forwarded, first.upstream_status, first.status) == (None, True, 200, 200)
    assert proxy.connections == 1
    assert (proxy.count(), proxy.count("DELETE"), proxy.count(path=r"^/v1/")) == (3, 1, 2)


def test_a_request_in_chunks_passes_whole(client: httpx2.Client, service: Service) -> None:
    assert client.post("/v1/x", content=iter([b"he", b"llo"])).json()["took"] == "hello"
    assert service.done == ["POST /v1/x hello"]


def test_a_stream_passes_piece_by_piece(client: httpx2.Client, service: Service) -> None:
    with client.stream("GET", "/stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: one\n\n"  # the service sends the second one only afterwards
        service.go_on.set()
        assert b"".join(pieces) == b"data: two\n\n"


def test_a_client_that_leaves_ends_its_request_at_the_server(client: httpx2.Client, service: Service) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/slow", timeout=0.1)
    assert service.left.wait(5)


def test_the_servers_own_address_becomes_the_proxys_on_the_management_plane(
    client: httpx2.Client, proxy: FaultProxy, service: Service
) -> None:
    assert client.get("/v2/lamp").json()["status"]["url"] == f"{proxy.url}/endpoints/lamp"
    assert client.get("/endpoints/lamp").json()["status"]["url"] == f"{service.url}/endpoints/lamp"


def test_an_answer_of_the_proxys_own_reaches_no_server(
    client: httpx2.Client, proxy: FaultProxy, service: Service
) -> None:
    rule = proxy.plan(faults.rate_limited(7), method="GET", path=r"^/v2/")
    answer = client.get("/v2/lamp")
    assert answer.status_code == 429
    assert answer.headers["ratelimit"] == '"api";r=0;t=7'
    assert answer.headers["retry-after"] == "7"
    assert service.done == []
    assert rule.hits == 1
    assert (proxy.seen[0].fault, proxy.seen[0].forwarded, proxy.seen[0].status) == ("429", False, 429)
    assert client.get("/v2/lamp").status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "text"),
    [
        (faults.unavailable(), 503, "application/json", '"code":"SERVICE_UNAVAILABLE"'),
        (faults.error(500, "boom"), 500, "application/json", '{"error": "boom"}'),
        (faults.html(502), 502, "text/html", "<html>"),
    ],
)
def test_failures_have_the_form_that_they_have_in_the_field(
    client: httpx2.Client, proxy: FaultProxy, fault: faults.Answer, status: int, content_type: str, text: str
) -> None:
    proxy.plan(fault)
    answer = client.get("/v1/x")
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert text in answer.text


def test_an_error_can_hide_that_the_server_did_it(client: httpx2.Client, proxy: FaultProxy, service: Service) -> None:
    proxy.plan(faults.error(503, executed=True))
    assert client.post("/v2/x", content=b"it").status_code == 503
    assert service.done == ["POST /v2/x it"]
    assert (proxy.seen[0].upstream_status, proxy.seen[0].status) == (200, 503)
    assert proxy.count(executed=True) == 1


def test_a_reset_loses_the_request(client: httpx2.Client, proxy: FaultProxy, service: Service) -> None:
    proxy.plan(faults.Reset())
    with pytest.raises(httpx2.ReadError):
        client.post("/v2/x", content=b"it")
    assert service.done == []
    assert proxy.count(executed=False) == 1


def test_a_lost_answer_loses_nothing_but_the_answer(client: httpx2.Client, proxy: FaultProxy, service: Service) -> None:
    proxy.plan(faults.lost_answer())
    with pytest.raises(httpx2.ReadError):
        client.post("/v2/x", content=b"it")
    assert service.done == ["POST /v2/x it"]
    assert proxy.seen[0].fault == "LostAnswer"


def test_a_connection_can_be_reset_before_anything_is_read(client: httpx2.Client, proxy: FaultProxy) -> None:
    proxy.reset_connections(1)
    with pytest.raises(httpx2.TransportError):
        client.get("/v2/x")
    assert proxy.count() == 0
    assert client.get("/v2/x").status_code == 200


def test_a_stall_answers_nothing_until_its_bound(client: httpx2.Client, proxy: FaultProxy, service: Service) -> None:
    proxy.plan(faults.Stall())
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/v2/x", timeout=0.05)
    proxy.plan(faults.Stall(bound=0.05))
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/v2/x")
    assert service.done == []


def test_a_delay_comes_before_the_server_is_asked(client: httpx2.Client, proxy: FaultProxy, service: Service) -> None:
    proxy.plan(faults.Delay(0.1))
    began = time.monotonic()
    assert client.get("/v1/x").status_code == 200
    assert time.monotonic() - began >= 0.1
    proxy.plan(faults.Delay(5))
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/v1/never", timeout=0.05)
    assert service.done == ["GET /v1/x"]


def test_a_late_answer_finds_its_client_gone_and_the_work_done(
    client: httpx2.Client, proxy: FaultProxy, service: Service
) -> None:
    proxy.plan(faults.Late(5))
    with pytest.raises(httpx2.ReadTimeout):
        client.post("/v2/x", content=b"it", timeout=0.2)
    assert service.came.wait(5)
    assert service.done == ["POST /v2/x it"]
    proxy.plan(faults.Late(0.05))
    assert client.post("/v2/x", content=b"it").json()["took"] == "it"


@pytest.mark.parametrize("path", ["/v1/x", "/stream", "/until-close"])
def test_half_an_answer_can_be_told_from_a_whole_one(
    client: httpx2.Client, proxy: FaultProxy, service: Service, path: str
) -> None:
    service.go_on.set()
    proxy.plan(faults.Half(5))
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx2.TransportError):
            answer.read()
    assert len(service.done) == 1


@pytest.mark.parametrize("by", [10, -10])
def test_a_wrong_length_leaves_no_readable_document(client: httpx2.Client, proxy: FaultProxy, by: int) -> None:
    proxy.plan(faults.WrongLength(by))
    with pytest.raises((httpx2.RemoteProtocolError, json.JSONDecodeError)):
        client.get("/v1/x").json()


def test_garbage_is_no_http(proxy: FaultProxy) -> None:
    proxy.plan(faults.Garbage())
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    connection.request("GET", "/v1/x")
    with pytest.raises(http.client.BadStatusLine):
        connection.getresponse()
    connection.close()


def test_a_kept_connection_is_closed_just_as_a_request_is_written(proxy: FaultProxy, service: Service) -> None:
    rule = proxy.plan(faults.Hangup(), kept=True)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as link:
        link.sendall(b"HEAD /v1/first HTTP/1.1\r\nhost: x\r\n\r\n")
        assert link.recv(4096).startswith(b"HTTP/1.1 200")
        assert rule.hits == 0
        link.sendall(b"GET /v1/second HTTP/1.1\r\nhost: x\r\n\r\n")
        assert link.recv(4096) == b""
    assert rule.hits == 1
    assert service.done == []


def test_refused_connections_leave_the_port_to_the_proxy(client: httpx2.Client, proxy: FaultProxy) -> None:
    assert client.get("/v1/x").status_code == 200
    with proxy.refusing():
        for _ in range(2):  # the first one finds the kept connection dead
            with pytest.raises(httpx2.TransportError):
                client.get("/v1/x")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    assert client.get("/v1/x").status_code == 200


def test_a_server_that_is_not_there_is_a_bad_gateway(client: httpx2.Client, proxy: FaultProxy) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy.upstream = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert client.get("/v1/x").status_code == 502
    assert proxy.seen[0].upstream_status is None


def test_a_slow_state_is_shown_for_its_time(client: httpx2.Client, proxy: FaultProxy) -> None:
    proxy.plan(faults.SlowState(0.2, shown="pending"), times=None, plane="management")
    states = [client.get("/v2/lamp").json()["status"]["state"]]
    began = time.monotonic()
    while states[-1] == "pending" and time.monotonic() < began + 5:
        states.append(client.get("/v2/lamp").json()["status"]["state"])
    assert states[-1] == "running"
    assert time.monotonic() - began >= 0.15


def test_rules_count_methods_paths_and_turns(client: httpx2.Client, proxy: FaultProxy) -> None:
    proxy.plan(faults.error(500), method="POST", path="/b$", skip=1, every=2, times=2)
    proxy.plan(faults.html(502), path="/b$", plane="management")
    assert [client.post("/v1/b").status_code for _ in range(6)] == [200, 500, 200, 500, 200, 200]
    assert client.get("/v1/b").status_code == 200
    assert [client.get("/v2/b").status_code for _ in range(2)] == [502, 200]
    proxy.plan(faults.error(500), times=None)
    assert client.get("/v1/b").status_code == 500
    proxy.clear()
    assert client.get("/v1/b").status_code == 200


def test_a_test_can_wait_for_a_fault(client: httpx2.Client, proxy: FaultProxy) -> None:
    rule = proxy.plan(faults.error(500))
    with pytest.raises(TimeoutError):
        rule.wait(timeout=0.01)
    ask = threading.Thread(target=client.get, args=("/v1/x",))
    ask.start()
    rule.wait()
    ask.join()


def drawn(storm: Storm, requests: list[Request]) -> list[str | None]:
    return [fault.name if (fault := storm.pick(one)) else None for one in requests]


def test_a_storm_is_the_same_for_the_same_seed_in_any_order_of_paths() -> None:
    a, b = Request("GET", "/v2/a", {}), Request("POST", "/v2/b", {})
    mix = faults.usual_mix(0.5)
    apart = drawn(Storm(5, mix), [a] * 40) + drawn(Storm(5, mix), [b] * 40)
    mixed = drawn(Storm(5, mix), [a, b] * 40)
    assert mixed[0::2] + mixed[1::2] == apart
    assert drawn(Storm(6, mix), [a] * 40) != apart[:40]
    assert len(set(apart)) > 6


def test_a_storm_lets_a_request_through_after_some_in_a_row() -> None:
    storm = Storm(1, [(1.0, faults.error(500))], in_a_row=2)
    request = Request("GET", "/v2/a", {})
    assert drawn(storm, [request] * 6) == ["500", "500", None] * 2
    assert storm.hits == {"500": 4}
    assert storm.pick(Request("GET", "/v1/chat", {})) is not None
    assert Storm(1, storm.mix, plane="data").pick(request) is None


def test_a_storm_blows_until_it_is_ended(client: httpx2.Client, proxy: FaultProxy) -> None:
    proxy.storm(Storm(1, [(1.0, faults.html(502))], plane="data", path="/x$", in_a_row=9))
    assert client.get("/v1/x").status_code == 502
    assert client.get("/v1/y").status_code == 200
    proxy.storm(None)
    assert client.get("/v1/x").status_code == 200
