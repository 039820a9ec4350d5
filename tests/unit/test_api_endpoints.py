"""The management routes say what `Operations` say, in the shapes that clients depend on."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from starlette.types import Message

from lamplighter.api import management
from lamplighter.api.access import Access
from lamplighter.control.keyring import Keyring
from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Policy, Replica, Spec, State
from lamplighter.errors import EndpointNotFound, ProviderUnreachable, QueueFull

KEY = "open-sesame"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def endpoint(name: str, phase: Phase = Phase.SLEEPING, **changes) -> Endpoint:
    engine = EngineSpec(engine="llamacpp", model="M", env={"TOKEN": "hush"}, headers={"Authorization": "hush"})
    spec = Spec(name=name, provider="local", engine=engine, policy=Policy(idle_timeout=900.0), aliases=("org/M",))
    return replace(Endpoint(spec=spec, state=State.PAUSED, phase=phase), **changes)


class Fleet:
    """Stands in for the controllers: an operation takes no time, and leads where `becomes` says."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.known = {one.spec.name: one for one in endpoints}
        self.becomes: dict[str, Endpoint] = {}
        self.fails: dict[str, Exception] = {}
        self.calls: list[tuple[str, ...]] = []
        self.log_lines: list[str | Exception] = []
        self.followed = asyncio.Event()
        self.log_closed = False

    def endpoints(self) -> list[Endpoint]:
        return list(self.known.values())

    def endpoint(self, name: str) -> Endpoint:
        if name not in self.known:
            raise EndpointNotFound(name, self.known)
        return self.known[name]

    def is_billed(self, endpoint: Endpoint) -> bool:
        return endpoint.phase is Phase.RUNNING

    async def wake(self, name: str, *, actor: str) -> Endpoint:
        return self._begin("wake", name, actor, Phase.STARTING)

    async def sleep(self, name: str, *, actor: str) -> Endpoint:
        return self._begin("sleep", name, actor, Phase.STOPPING)

    async def pause(self, name: str, *, actor: str) -> Endpoint:
        return self._begin("pause", name, actor, Phase.STOPPING)

    async def resume(self, name: str, *, actor: str) -> Endpoint:
        return self._begin("resume", name, actor, Phase.STARTING)

    async def scale_to_zero(self, name: str, *, actor: str) -> Endpoint:
        return self._begin("scale to zero", name, actor, Phase.STOPPING)

    def _begin(self, verb: str, name: str, actor: str, phase: Phase) -> Endpoint:
        known = self.endpoint(name)
        self.calls.append((verb, name, actor))
        if name in self.fails:
            raise self.fails[name]
        return replace(known, phase=phase)

    async def settled(self, name: str, phase: Phase, *, timeout: float) -> Endpoint:
        self.calls.append(("settled", name, phase.value, str(timeout)))
        return self.becomes.get(name) or replace(self.known[name], phase=phase)

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[str]:
        try:
            for line in self.log_lines[-tail:] if tail else []:
                if isinstance(line, Exception):
                    raise line
                yield line
            if follow:
                yield "followed"
                await self.followed.wait()
        finally:
            self.log_closed = True


class Health:
    def __init__(self) -> None:
        self.wrong: list[str] = []

    def problems(self) -> list[str]:
        return self.wrong


@pytest.fixture
def fleet():
    return Fleet(endpoint("chat"), endpoint("coder", Phase.RUNNING))


@pytest.fixture
def health():
    return Health()


def client(fleet: Fleet, health: Health, *keys: str, base: str = "http://localhost:8470") -> httpx2.AsyncClient:
    app = management(fleet, health=health, access=Access(Keyring(keys)), version="1.2.3")
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=base)


@pytest.fixture
async def http(fleet, health):
    async with client(fleet, health) as http:
        yield http


async def test_the_status_of_all_has_the_shape_that_clients_depend_on(fleet, http):
    fleet.known["coder"] = endpoint(
        "coder",
        Phase.RUNNING,
        state=State.RUNNING,
        replicas=(Replica(id="0", url="http://127.0.0.1:1", headers=(("authorization", "hush"),)),),
        last_activity=10.0,
        wake_time=5.0,
        sleep_time=1.0,
        auto_sleep_in=42.5,
        held_by=("2 in flight",),
    )
    answer = await http.get("/api/endpoints/status")
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert list(body["endpoints"]) == ["chat", "coder"]
    wanted = {
        "status": "running",
        "url": "http://localhost:8470/endpoints/coder",
        "last_activity": 10.0,
        "wake_time": 5.0,
        "sleep_time": 1.0,
        "auto_sleep_in": 42.5,
        "held_by": ["2 in flight"],
        "replicas_ready": 1,
        "aliases": ["org/M"],
    }
    assert body["endpoints"]["coder"].items() >= wanted.items()
    asleep = body["endpoints"]["chat"]
    assert [asleep[key] for key in ("status", "wake_time", "auto_sleep_in")] == ["sleeping", None, None]
    assert "hush" not in answer.text


async def test_one_endpoint_is_shown_by_its_name(http):
    body = (await http.get("/api/endpoints/status/chat")).json()
    assert body["success"] is True
    assert (body["endpoint"]["name"], body["endpoint"]["status"]) == ("chat", "sleeping")


@pytest.mark.parametrize("path", ["status/caht", "wake/caht", "sleep/caht", "wake/caht?wait=1", "caht/logs"])
async def test_an_unknown_name_is_answered_with_the_known_ones(http, path):
    method = "POST" if path.startswith(("wake", "sleep")) else "GET"
    answer = await http.request(method, f"/api/endpoints/{path}")
    assert answer.status_code == 404
    body = answer.json()
    assert body["success"] is False
    assert body["error"]["code"] == "model_not_found"
    assert body["error"]["known"] == ["chat", "coder"]
    assert "Did you mean 'chat'?" in body["error"]["message"]


@pytest.mark.parametrize(("verb", "phase"), [("wake", "starting"), ("sleep", "stopping")])
async def test_an_operation_is_begun_and_answered_at_once(fleet, http, verb, phase):
    answer = await http.post(f"/api/endpoints/{verb}/chat")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["success"], body["operation"], body["done"]) == (True, verb, False)
    assert body["endpoint"]["status"] == phase
    assert fleet.calls == [(verb, "chat", "api")]


@pytest.mark.parametrize(("verb", "phase"), [("wake", "running"), ("sleep", "sleeping")])
async def test_with_time_to_wait_an_operation_is_answered_when_it_is_done(fleet, http, verb, phase):
    answer = await http.post(f"/api/endpoints/{verb}/chat", params={"wait": 30})
    assert answer.status_code == 200
    assert (answer.json()["done"], answer.json()["endpoint"]["status"]) == (True, phase)
    assert fleet.calls[1] == ("settled", "chat", phase, "30.0")


async def test_an_operation_that_is_not_done_in_time_goes_on(fleet, http):
    fleet.becomes["chat"] = endpoint("chat", Phase.STARTING, starting_for=1.0, expected_start=60.0)
    answer = await http.post("/api/endpoints/wake/chat?wait=0")
    assert answer.status_code == 202
    assert answer.json()["done"] is False
    assert answer.json()["endpoint"]["expected_start"] == 60.0


@pytest.mark.parametrize(("verb", "status", "code"), [("wake", 503, "wake_failed"), ("sleep", 502, "provider_error")])
async def test_an_operation_that_failed_is_answered_with_the_reason(fleet, http, verb, status, code):
    fleet.becomes["chat"] = endpoint("chat", Phase.ERROR, message="exit code 1: no such model")
    answer = await http.post(f"/api/endpoints/{verb}/chat?wait=5")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert "no such model" in answer.json()["error"]["message"]


@pytest.mark.parametrize("verb", ["wake", "sleep"])
async def test_all_endpoints_are_operated_at_once(fleet, http, verb):
    answer = await http.post(f"/api/endpoints/{verb}")
    assert answer.status_code == 202
    assert list(answer.json()["endpoints"]) == ["chat", "coder"]
    assert fleet.calls == [(verb, "chat", "api"), (verb, "coder", "api")]
    answer = await http.post(f"/api/endpoints/{verb}?wait=1")
    assert (answer.status_code, answer.json()["done"]) == (200, True)


async def test_one_that_fails_does_not_keep_the_others_from_waking(fleet, http):
    fleet.fails["chat"] = ProviderUnreachable("the cloud does not answer")
    answer = await http.post("/api/endpoints/wake")
    assert answer.status_code == 502
    body = answer.json()
    assert body["success"] is False
    assert body["error"]["code"] == "provider_unreachable"
    assert list(body["errors"]) == ["chat"]
    assert list(body["endpoints"]) == ["coder"]


async def test_a_server_without_endpoints_has_nothing_to_do(health):
    async with client(Fleet(), health) as http:
        assert (await http.get("/api/endpoints/status")).json() == {
            "success": True,
            "endpoints": {},
            "routes": [],
            "today": None,
        }
        assert (await http.post("/api/endpoints/sleep")).json()["done"] is True


async def test_not_now_says_when(fleet, http):
    fleet.fails["chat"] = QueueFull("too many", retry_after=2.2)
    answer = await http.post("/api/endpoints/wake/chat")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert answer.json()["error"]["retry_after"] == 2.2


@pytest.mark.parametrize("wait", ["-1", "3601", "soon", "nan", "inf"])
async def test_an_input_that_is_not_right_is_named(fleet, http, wait):
    answer = await http.post(f"/api/endpoints/wake/chat?wait={wait}")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (answer.json()["success"], error["code"], error["field"]) == (False, "invalid_request", "wait")
    assert error["message"].startswith("wait: should be ")
    assert repr(wait) in error["message"]
    assert fleet.calls == []


async def test_what_is_not_there_is_answered_in_the_same_shape(http):
    for method, path, status in (("GET", "/nope", 404), ("GET", "/api/endpoints/wake", 405), ("PUT", "/healthz", 405)):
        answer = await http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["status"] == status


async def test_a_fault_tells_nothing_of_its_insides(fleet, http):
    fleet.fails["chat"] = RuntimeError("hush")
    answer = await http.post("/api/endpoints/wake/chat")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "hush" not in answer.text


async def test_logs_are_plain_lines(fleet, http):
    fleet.log_lines = ["one", "two\n", "drei ä"]
    answer = await http.get("/api/endpoints/chat/logs?tail=2")
    assert answer.text == "two\ndrei ä\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await http.get("/api/endpoints/chat/logs?tail=0")).text == ""
    assert (await http.get("/api/endpoints/chat/logs?tail=10001")).status_code == 422


async def test_a_failure_within_the_logs_is_their_last_line(fleet, http):
    fleet.log_lines = ["one", ProviderUnreachable("gone")]
    assert (await http.get("/api/endpoints/chat/logs")).text == "one\nlamplighter: gone\n"


async def test_logs_that_are_followed_end_when_the_client_goes(fleet, health):
    app = management(fleet, health=health, version="1")
    got: asyncio.Queue[Message] = asyncio.Queue()
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/endpoints/chat/logs",
        "raw_path": b"/api/endpoints/chat/logs",
        "root_path": "",
        "query_string": b"follow=true&tail=0",
        "headers": [],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(10):
        call = asyncio.create_task(app(scope, receive, got.put))
        assert (await got.get())["status"] == 200
        assert (await got.get())["body"] == b"followed\n"
        gone.set()
        await call
    assert fleet.log_closed


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer "}],
)
@pytest.mark.parametrize("call", ["GET status", "GET status/chat", "POST wake", "POST sleep/chat", "GET chat/logs"])
async def test_without_a_known_key_nothing_is_told_or_done(fleet, health, headers, call):
    method, path = call.split()
    async with client(fleet, health, DIGEST) as http:
        answer = await http.request(method, f"/api/endpoints/{path}", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert "chat" not in answer.text
    assert fleet.calls == []


async def test_who_operates_is_recorded_by_the_keys_digest(fleet, health):
    async with client(fleet, health, "ab" * 32, DIGEST.upper()) as http:
        answer = await http.post("/api/endpoints/wake/chat", headers=AUTHORIZED)
    assert answer.status_code == 202
    assert fleet.calls == [("wake", "chat", f"key:{DIGEST[:8]}")]


@pytest.mark.parametrize(
    ("base", "origin", "status"),
    [
        ("http://localhost:8470", "http://localhost:8470", 202),
        ("http://127.0.0.1:8470", "http://127.0.0.1:8470", 202),
        ("http://localhost:8470", "https://evil.example", 403),
        ("http://localhost:8470", "http://localhost:3000", 403),
        ("http://evil.example:8470", "http://evil.example:8470", 403),
        ("http://localhost:8470", "null", 403),
        ("http://localhost:8470", "http://[::1", 403),
        ("http://app.localhost:8470", "http://app.localhost:8470", 202),
    ],
)
async def test_another_web_site_cannot_operate_a_server_without_keys(fleet, health, base, origin, status):
    async with client(fleet, health, base=base) as http:
        answer = await http.post("/api/endpoints/wake/chat", headers={"Origin": origin})
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "foreign_origin"
            assert "server.cors" in answer.json()["error"]["message"]
    async with client(fleet, health, DIGEST, base=base) as http:
        answer = await http.post("/api/endpoints/wake/chat", headers={"Origin": origin} | AUTHORIZED)
        assert answer.status_code == 202


async def test_a_living_process_says_so_to_anybody(fleet, health):
    health.wrong = ["the store fails"]
    async with client(fleet, health, DIGEST) as http:
        answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": "1.2.3"})


async def test_readiness_tells_what_is_wrong(health, http):
    assert (await http.get("/readyz")).json() == {"ready": True, "problems": []}
    health.wrong = ["the disk is full"]
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "problems": ["the disk is full"]})


@pytest.mark.parametrize(
    ("body", "media", "told"),
    [
        (b'{"name": "ci"}', None, "The body should be sent with content-type: application/json, and no content-type"),
        (b'{"name": "ci"}', "application/x-www-form-urlencoded", "not as application/x-www-form-urlencoded."),
        (b"{'name'}", "application/json", "The body is not JSON: expecting property name"),
        (b'{"name": "ci"', "application/json; charset=utf-8", "The body is not JSON: "),
        (b'["ci"]', "application/json", "The body should be an object of JSON"),
        (b"", "application/json", "A body is needed: an object of JSON"),
    ],
)
async def test_a_body_that_is_none_is_told_in_plain_words_and_blames_no_field(fleet, health, body, media, told):
    headers = {**AUTHORIZED, **({"content-type": media} if media else {})}
    async with client(fleet, health, DIGEST) as http:
        answer = await http.post("/api/keys", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_request")
    assert told in error["message"]
    assert "field" not in error
