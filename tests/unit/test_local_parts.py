"""The small parts of the local provider: ports, probes, names, redaction, ends of processes, preparation."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.errors import EngineError, ProviderError
from lamplighter.providers.local import group, health, ports, preparation, process
from lamplighter.providers.local.group import MARKER, Group
from lamplighter.providers.local.health import HealthRoute, probe, probe_interval
from lamplighter.providers.local.listeners import holder, listening_sockets
from lamplighter.providers.local.names import file_name
from lamplighter.providers.local.ports import PortPool, is_taken, reachable
from lamplighter.providers.local.preparation import Preparation
from lamplighter.providers.local.process import exit_text
from lamplighter.providers.local.redaction import Redactor
from tests.local_engines import ScriptEngine


def test_ports_come_from_below_the_range_of_outgoing_connections():
    low, _ = (int(part) for part in ports._EPHEMERAL_RANGE.read_text().split())
    pool = PortPool("127.0.0.1")
    assert all(20_000 <= pool.take() < low for _ in range(50))


def test_a_port_is_not_given_out_twice_before_it_is_released(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ports, "_range", lambda: (20_001, 20_003))
    monkeypatch.setattr(ports, "is_taken", lambda _host, _port: False)
    pool = PortPool("127.0.0.1")
    taken = {pool.take(), pool.take(), pool.take()}
    assert taken == {20_001, 20_002, 20_003}
    with pytest.raises(ProviderError, match="no free port"):
        pool.take()
    pool.release(20_002)
    assert pool.take() == 20_002


@pytest.mark.parametrize(
    ("text", "expected"),
    [("32768 60999", (20_000, 32_767)), ("1024 50000", (50_001, 65_535)), ("1024 65535", (20_000, 65_535))],
)
def test_the_range_fits_the_kernel_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[int, int]
):
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", tmp_path / "range")
    assert ports._range() == expected


def test_a_listening_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_taken("127.0.0.1", port)
    assert not is_taken("127.0.0.1", port)


def test_the_holder_of_a_listening_port_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sockets = listening_sockets(server.getsockname()[1])
        assert len(sockets) == 1
        assert holder(sockets) == os.getpid()
    assert holder(sockets) is None


def test_a_port_without_a_listener_has_no_sockets():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert listening_sockets(port) == frozenset()


def test_processes_are_known_again_where_there_is_no_proc():
    assert process._portable_mark(os.getpid()) == process._portable_mark(os.getpid()) is not None
    assert process._portable_mark(2**22 + 1) is None
    assert group._portable_marker(os.getpid()) == os.environ.get(MARKER)
    assert group._portable_marker(2**22 + 1) is None


def test_engines_that_listen_everywhere_are_reached_on_the_loopback():
    assert [reachable(host) for host in ("0.0.0.0", "::", "127.0.0.1")] == ["127.0.0.1", "::1", "127.0.0.1"]


def test_probes_are_dense_at_first_and_never_rarer_than_four_a_second():
    assert [probe_interval(elapsed) for elapsed in (0, 0.6, 5, 100)] == [0.01, 0.01, 0.05, 0.25]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 503 Loading\r\n\r\n", 503),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"HTTP/1.1 abc\r\n", None),
        (b"", None),
        (b"x" * 100_000, None),
    ],
)
async def test_a_probe_takes_whatever_answers(answer: bytes, status: int | None):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await probe(HealthRoute(host="127.0.0.1", port=port, path="/health", headers={})) == status


async def test_a_probe_of_something_silent_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "PROBE_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert await probe(HealthRoute(host="127.0.0.1", port=port, path="/", headers={})) is None


async def test_the_engine_s_headers_go_with_the_probe():
    seen = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await probe(HealthRoute(host="127.0.0.1", port=port, path="/h", headers={"X-Key": "k"}))
        assert b"GET /h HTTP/1.1\r\n" in await seen
        assert b"X-Key: k\r\n" in await seen


def test_names_of_endpoints_become_safe_and_distinct_file_names():
    names = ["e", "a/b", "a-b", "a b", "..", ".hidden", "x" * 500, "é", "a--b", ""]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in file and not file.startswith(".") and len(file) <= 100 for file in files)
    assert file_name("llama-3.2_1B") == "llama-3.2_1B"


def test_secrets_are_hidden_and_paths_are_not():
    env = {"TOKEN": "secret-token-1", "HOME": "/models/here", "N": "1"}
    redactor = Redactor(EngineSpec(engine="x", env=env, headers={"Authorization": "Bearer key-12345"}))
    text = redactor.clean("secret-token-1 key-12345 /models/here 1")
    assert text == "[redacted] [redacted] /models/here 1"


def test_ends_of_processes_are_told_in_words():
    assert exit_text(0) == "exited with code 0"
    assert exit_text(-15) == "was killed by SIGTERM"
    assert exit_text(-9) == "was killed by SIGKILL (often: out of memory)"
    assert exit_text(-250) == "was killed by signal 250"


async def test_something_that_survives_sigkill_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lamplighter.providers.local.group.KILL_WAIT", 0.05)
    monkeypatch.setattr(Group, "members", lambda _group: [2**22 + 1])  # nobody's id, and it never goes away
    immortal = Group(leader=2**22 + 1, mark="x", marker="y")
    with pytest.raises(ProviderError, match="still there after SIGKILL"):
        await immortal.end(0.01, lambda: True)


async def test_an_unexpected_error_of_a_preparation_reaches_the_waiter(tmp_path: Path):
    engine = ScriptEngine(tmp_path)

    def broken(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    engine.on_prepare = broken
    it = Preparation(engine, EngineSpec(engine="script"), lambda: None)
    it.start("e")
    with pytest.raises(EngineError, match="No space left"):
        await it.result()


async def test_a_preparation_without_progress_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "_MIN_SILENCE", 0.05)
    release = threading.Event()
    engine = ScriptEngine(tmp_path)
    engine.on_prepare = lambda *_: str(release.wait(10))
    it = Preparation(engine, EngineSpec(engine="script", start_timeout=0.05), lambda: None)
    it.start("e")
    with pytest.raises(EngineError, match="no progress"):
        await it.result()
    release.set()


def test_an_engine_inherits_no_key_to_this_server_and_no_token_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("LAMPLIGHTER_KEY", "LAMPLIGHTER_KEYS", "HF_TOKEN", "HUGGINGFACE_API_KEY", "OTHER_CLOUDS_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("HARMLESS", "yes")
    inherited = process._inherited(frozenset({"OTHER_CLOUDS_TOKEN"}))
    assert inherited["HARMLESS"] == "yes"
    assert not inherited.keys() & set(secrets)
