"""A whole server with secrets from every source: what it writes, answers and hands on is searched for them.

The Vault and the Hugging Face here are servers of the tests' own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import psutil
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually
from tests.cli_cloud import endpoint, whoami
from tests.keyring_backend import Daemon, keyring_daemon
from tests.vault_server import ROLE, SECRET_ID, VaultServer, vault_server

pytestmark = pytest.mark.acceptance

ADMIN = "sk-admin-3f9a1c77e2"
UPSTREAM = "sk-upstream-8b2d40aa91"
HEADER = "header-secret-55c0de77aa"
HOOK = "hook-secret-0fe1dc2ba3"
TOKEN = "hf_TokenOfTheTests77aa31"
NEWER_TOKEN = "hf_TokenOfTheTests88bb42"
ENGINE_ENV = "engine-env-secret-61b7f0"
ENGINE_KEY = "engine-key-secret-9d04ce"
PASSPHRASE = "a passphrase of the tests 4711"
SECRET_OF_ROLE = SECRET_ID
DECOY = "hf_DecoyOfTheEnvironment55"

NOBODYS = (ADMIN, UPSTREAM, HEADER, HOOK, TOKEN, NEWER_TOKEN, PASSPHRASE, SECRET_OF_ROLE, DECOY, "hvs.login-")
"""What no file, answer or child may have."""
EVERY = (*NOBODYS, ENGINE_ENV, ENGINE_KEY)

ENGINE = """
import hashlib, json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"env": digest(os.environ["TOKEN"]), "key": digest(self.headers["authorization"])})

    def answer(self, document):
        text = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

print("the engine begins", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class Far:
    """What stands in for everything that is asked with a secret: Hugging Face, an upstream, a service of alarms."""

    url: str = ""
    fails: bool = False
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def shown(self, path: str, header: str = "authorization") -> set[str | None]:
        return {headers.get(header) for asked, headers in self.seen if asked.startswith(path)}


@contextmanager
def far_server() -> Iterator[Far]:
    far = Far()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            far.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, document = self._found()
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _found(self) -> tuple[int, Any]:
            if self.path.startswith("/api/whoami-v2"):
                return 200, whoami(name="me")
            if self.path.startswith("/v2/endpoint/me/far"):
                return 200, endpoint("far", "paused")
            if far.fails:
                return 500, {"error": {"message": "it broke"}}
            return 200, {"choices": [{"message": {"role": "assistant", "content": "hello"}}]}

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    far.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield far
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Scene:
    """Where it all happens, and everything that was said in it."""

    folder: Path
    environ: dict[str, str]
    vault: VaultServer
    ring: Daemon
    far: Far
    told: list[str] = field(default_factory=list)

    def run(self, *words: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command; what it prints is kept."""
        done = subprocess.run(
            [sys.executable, "-m", "lamplighter", *words],
            input=given,
            capture_output=True,
            text=True,
            env={**self.environ, **more},
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        self.told += [done.stdout, done.stderr]
        return done

    def run_all(self, *commands: tuple[str, ...], **more: str) -> list[subprocess.CompletedProcess[str]]:
        """Run several side by side."""
        with ThreadPoolExecutor(len(commands)) as threads:
            return list(threads.map(lambda words: self.run(*words, **more), commands))


def configuration(scene: Scene) -> str:
    return f"""
alarms: {{webhook: "vault:hooks#url"}}
providers:
  huggingface: {{options: {{token: "vault:", look_every: 5}}}}
upstreams:
  rented:
    base_url: {scene.far.url}/v1
    key: keyring:lamplighter-tests/upstream
    headers: {{X-Api-Key: "file:{scene.folder}/outside/header"}}
routes:
  away: {{targets: [rented]}}
endpoints:
  mine:
    command: ["{sys.executable}", "{scene.folder}/engine.py", "{{port}}"]
    env: {{TOKEN: "${{secret:engine}}"}}
    headers: {{Authorization: "Bearer ${{env:ENGINE_KEY}}"}}
  far: {{provider: huggingface, remote: me/far}}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with vault_server() as vault, keyring_daemon() as ring, far_server() as far:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "header").write_text(HEADER)
        (tmp_path / "engine.py").write_text(ENGINE)
        vault.put("secret/huggingface/api_key", token=TOKEN)
        vault.put("secret/hooks", url=f"{far.url}/{HOOK}")
        ring.entries[("lamplighter-tests", "upstream")] = UPSTREAM
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LAMPLIGHTER", "HF_", "VAULT", "XDG"))
        }
        environ = {
            **inherited,
            **ring.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "HOME": str(tmp_path),
            "HF_TOKEN": DECOY,
            "ENGINE_KEY": ENGINE_KEY,
            "LAMPLIGHTER_PASSPHRASE": PASSPHRASE,
            "LAMPLIGHTER_SECRETS_COST": "14",
            "LAMPLIGHTER_CLOUD_URL": far.url,
            "VAULT_ADDR": vault.url,
            "VAULT_ROLE_ID": ROLE,
            "VAULT_SECRET_ID": SECRET_OF_ROLE,
        }
        yield Scene(tmp_path, environ, vault, ring, far)


def disguises(secret: str) -> list[bytes]:
    """How a secret may be written; its beginning is as bad, as texts are cut that are too long."""
    text = secret[:16].encode()
    return [text, quote(text, safe="").encode(), text.hex().encode(), *map(base64_within, range(3), [text] * 3)]


def base64_within(offset: int, text: bytes) -> bytes:
    """What is always there of a text in base64, so many bytes behind where that began."""
    written = base64.b64encode(b"?" * offset + text)
    return written[(offset * 8 + 5) // 6 : (offset + len(text)) * 8 // 6]


def leaks(where: dict[str, bytes], secrets: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (name, secret)
        for name, text in where.items()
        for secret in secrets
        if any(disguise in text for disguise in disguises(secret))
    ]


def written(scene: Scene) -> dict[str, bytes]:
    """Every file below the folder but those that are there to hold a secret."""
    files = (path for path in scene.folder.rglob("*") if path.is_file() and "outside" not in path.parts)
    return {str(path): path.read_bytes() for path in files}


def ask(server: LamplighterProcess, scene: Scene, method: str, path: str, *, key: str = ADMIN, **more: Any) -> Any:
    """Ask the server; the whole answer is kept."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = httpx2.request(method, f"{server.url}{path}", headers=headers, timeout=30, **more)
    scene.told += [str(answer.headers), answer.text]
    return answer


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def chat(model: str) -> dict[str, Any]:
    return {"json": {"model": model, "messages": [{"role": "user", "content": "hello"}]}}


def test_no_secret_of_any_source_is_written_answered_or_handed_on(scene: Scene) -> None:
    set_up(scene)
    listed_and_tested(scene)
    refused_while_it_is_checked(scene)
    server = LamplighterProcess(
        scene.folder,
        configuration(scene),
        environ=scene.environ,
        server='drain_timeout: 2s, keys: ["secret:admin"], access_log: ' + str(scene.folder / "access.log"),
        arguments=("--log-level", "debug"),
    )
    server._environ = scene.environ  # nothing of whoever runs the tests
    server.start()
    try:
        everything_is_asked(server, scene)
        processes = handed_on(server)
        reloaded(server, scene)
        live = written(scene)  # with what the database has not merged yet
    finally:
        server.close()
    scene.told += server.lines
    assert leaks({"processes": processes}, NOBODYS) == []
    said = {f"said {number}": text.encode() for number, text in enumerate(scene.told)}
    assert leaks(said, EVERY) == []
    files = written(scene)
    for wanted in ("lamplighter.db", "lamplighter.db-wal", "access.log", ".log"):
        assert any(name.endswith(wanted) and live[name] for name in live), wanted
    assert leaks(live, EVERY) == []
    assert leaks(files, EVERY) == []


@pytest.mark.parametrize("secret", EVERY)
def test_a_secret_that_was_written_anywhere_would_be_found(scene: Scene, secret: str) -> None:
    ways: dict[str, bytes] = {
        "plain": b"x=%s;" % secret.encode(),
        "cut": secret.encode()[:16],
        "hex": secret.encode().hex().encode(),
        "url": quote(f"?q={secret}").encode(),
        "json": json.dumps({"error": f"no {secret}"}).encode(),
        **{f"base64 {n}": base64.b64encode(f"{'user'[:n]}{secret}:x".encode()) for n in range(4)},
    }
    for number, (way, text) in enumerate(ways.items()):
        (scene.folder / f"{number}").mkdir()
        (scene.folder / f"{number}" / way).write_bytes(text)
    with contextlib.closing(sqlite3.connect(scene.folder / "some.db")) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table audit (text)")
        database.execute("insert into audit values (?)", (f"who: {secret}",))
        database.commit()
        found = {Path(name).name for name, _ in leaks(written(scene), (secret,))}
    assert found == {*ways, "some.db-wal"}


def set_up(scene: Scene) -> None:
    assert scene.run("secrets", "set", "admin", given=ADMIN + "\n").returncode == 0
    assert scene.run("secrets", "set", "engine", given=ENGINE_ENV).returncode == 0


def listed_and_tested(scene: Scene) -> None:
    (scene.folder / "lamplighter.yaml").write_text(
        f'server: {{data: {scene.folder}/data, keys: ["secret:admin"]}}\n{configuration(scene)}'
    )
    listed, tested, checked = scene.run_all(("secrets", "list", "--json"), ("secrets", "test"), ("config", "check"))
    assert {row["source"] for row in json.loads(listed.stdout)} == {
        "secret:admin",
        "secret:engine",
        "vault:hooks#url",
        "vault:huggingface/api_key",
        "keyring:lamplighter-tests/upstream",
        f"file:{scene.folder}/outside/header",
        "env:ENGINE_KEY",
    }
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "Hugging Face knows it: it belongs to me" in tested.stdout
    assert checked.returncode == 0, checked.stderr


def refused_while_it_is_checked(scene: Scene) -> None:
    """Everything is wrong at once: the Vault is sealed, the keyring is locked, and the passphrase is another one."""
    scene.vault.sealed = scene.ring.locked = True
    wrong = {"LAMPLIGHTER_PASSPHRASE": "another passphrase"}
    for done in scene.run_all(("config", "check"), ("serve", "--port", "0", "--log-level", "debug"), **wrong):
        assert done.returncode == 2
        assert "alarms.webhook: names vault:hooks#url, which can't be read" in done.stderr
        assert "is sealed" in done.stderr
        assert "upstreams.rented.key: names keyring:lamplighter-tests/upstream" in done.stderr
        assert "the keyring is locked" in done.stderr
        assert "server.keys[0]: names secret:admin" in done.stderr
        assert "the passphrase is wrong" in done.stderr
        assert "another passphrase" not in done.stdout + done.stderr
    scene.vault.sealed = scene.ring.locked = False


def everything_is_asked(server: LamplighterProcess, scene: Scene) -> None:
    served = ask(server, scene, "POST", "/v1/chat/completions", **chat("mine"))
    assert served.json() == {"env": digest(ENGINE_ENV), "key": digest(f"Bearer {ENGINE_KEY}")}
    assert ask(server, scene, "POST", "/v1/chat/completions", **chat("away")).status_code == 200
    assert scene.far.shown("/v1/chat") == {f"Bearer {UPSTREAM}"}
    assert scene.far.shown("/v1/chat", "x-api-key") == {HEADER}
    scene.far.fails = True
    assert ask(server, scene, "POST", "/v1/chat/completions", **chat("away")).status_code == 500
    assert ask(server, scene, "POST", "/v1/chat/completions", key="wrong", **chat("away")).status_code == 401
    assert ask(server, scene, "POST", "/v1/chat/completions", **chat("nope")).status_code == 404
    ask(server, scene, "POST", "/api/alarms/test")
    scene.far.fails = False
    ask(server, scene, "POST", "/api/alarms/test")
    assert f"/{HOOK}" in {path for path, _ in scene.far.seen}
    eventually(lambda: f"Bearer {TOKEN}" in scene.far.shown("/v2/endpoint/me/far"), "the token is shown")
    assert f"Bearer {DECOY}" not in scene.far.shown("/v2/endpoint/me/far") | scene.far.shown("/v1/")
    assert token_of_a_call(server, scene) == f"Bearer {TOKEN}"
    for path in ("/docs", "/v1/models", "/api/nothing", *readable(ask(server, scene, "GET", "/openapi.json").json())):
        ask(server, scene, "GET", path)


def token_of_a_call(server: LamplighterProcess, scene: Scene) -> str | None:
    """What a model elsewhere is asked with."""
    assert ask(server, scene, "POST", "/api/inference/org/model", **chat("org/model")).status_code == 200
    asked = [headers for path, headers in list(scene.far.seen) if path.startswith("/v1/chat")]  # alarms come between
    return asked[-1].get("authorization")


def readable(document: Any) -> Iterator[str]:
    """Everything that can be read, of both endpoints; streams have no end."""
    for path, verbs in document["paths"].items():
        if "get" in verbs and not path.endswith("/sse"):
            for name in ("mine", "far") if "{name}" in path else ("",):
                words = {"name": name, "namespace": "lamplighter", "graph": "replica-running"}
                yield re.sub(r"\{(\w+)[^}]*\}", lambda found, words=words: words.get(found[1], "none"), path)  # type: ignore[misc]


def handed_on(server: LamplighterProcess) -> bytes:
    """The command line of the server, and the command lines and environments of all that it started."""
    found = psutil.Process(server.process.pid)
    seen = [" ".join(found.cmdline())]
    children = [*found.children(recursive=True), *server.engines()]
    assert children
    for child in children:
        seen += [" ".join(child.cmdline()), *(f"{name}={value}" for name, value in child.environ().items())]
    assert any(value == f"TOKEN={ENGINE_ENV}" for value in seen)  # what it was given, it has
    return "\n".join(seen).encode()


def reloaded(server: LamplighterProcess, scene: Scene) -> None:
    """New values count without a restart; a source that is down leaves the old ones, loudly."""
    scene.vault.put("secret/huggingface/api_key", token=NEWER_TOKEN)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: token_of_a_call(server, scene) == f"Bearer {NEWER_TOKEN}", "the newer token is shown")
    scene.vault.sealed = True
    server.process.send_signal(signal.SIGHUP)
    server.await_line(lambda line: "the value from before stays in use" in line, "word of the Vault that is sealed")
    assert ask(server, scene, "POST", "/v1/chat/completions", **chat("away")).status_code == 200
    scene.vault.sealed = False
    server.write("alarms: {webhook: 'vault:nowhere#x'}")
    server.process.send_signal(signal.SIGHUP)
    server.await_line(lambda line: "reload refused" in line and "there is no nowhere" in line, "word of the refusal")
    assert ask(server, scene, "GET", "/api/audit").status_code == 200


def test_the_passphrase_may_come_from_a_descriptor_and_reaches_no_engine(scene: Scene) -> None:
    set_up(scene)
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode() + b"\n")
    os.close(writing)
    environ = {name: value for name, value in scene.environ.items() if name != "LAMPLIGHTER_PASSPHRASE"}
    done = subprocess.run(
        [sys.executable, "-m", "lamplighter", "secrets", "test", "admin"],
        capture_output=True,
        text=True,
        env={**environ, "LAMPLIGHTER_PASSPHRASE_FD": str(reading)},
        cwd=scene.folder,
        pass_fds=(reading,),
        timeout=60,
        check=False,
    )
    os.close(reading)
    assert done.returncode == 0, done.stderr
    assert "secret:admin: can be read, from the encrypted store" in done.stdout
