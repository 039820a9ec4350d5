"""Telling systemd that the server is ready, and waiting for a server that may be starting."""

from __future__ import annotations

import logging
import secrets
import socket
from pathlib import Path

import pytest

from lamplighter.cli.base.refusals import ServerUnreachable
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.reach.readiness import await_server, notify_ready
from tests.cli_stage import everything, scripted_server


@pytest.mark.parametrize("address", ["{folder}/notify", "@lamplighter-{word}"])
def test_systemd_is_told_once_and_engines_are_not_asked_to(address: str, tmp_path: Path) -> None:
    address = address.format(folder=tmp_path, word=secrets.token_hex(8))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(5)
        environ = {"NOTIFY_SOCKET": address, "PATH": "/bin"}
        notify_ready(environ)
        assert listener.recv(100) == b"READY=1"
        assert environ == {"PATH": "/bin"}
        notify_ready(environ)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(100)


def test_a_socket_that_is_not_there_is_logged_and_the_server_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lamplighter.cli"):
        notify_ready({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert "could not be told" in caplog.text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_a_server_is_waited_for_until_somebody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with scripted_server() as script:
        script.put("/api/endpoints/status", everything())
        url = ""

        def look() -> object:
            with Connection(url or unused_address()) as connection:
                return connection.statuses()

        def pause(seconds: float) -> None:
            nonlocal url
            clock.pass_by(seconds)
            url = script.url if clock.now >= 3 else ""

        await_server(look, 60.0, clock=clock, pause=pause)
    assert clock.now == 3
    assert capsys.readouterr().err.count("waiting for it, 1 min at most") == 1


def test_a_server_that_never_comes_is_told_at_the_end_of_the_time() -> None:
    clock = Clock()
    with Connection(unused_address()) as connection, pytest.raises(ServerUnreachable):
        await_server(connection.statuses, 5.0, clock=clock, pause=clock.pass_by)
    assert clock.now == 5


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
