"""Sockets that are handed over: what systemd says is understood, and what is of no use is refused in words."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from lamplighter.errors import InvalidInput
from lamplighter.listening import Handed, handed_over, taken_over, url_of


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def given(sock: socket.socket) -> Handed:
    """A file descriptor of its own for the same socket, as another process would have it."""
    return Handed(os.dup(sock.fileno()), "--fd")


def test_systemds_socket_is_found_and_its_words_go_no_further() -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert handed_over(None, environ) == Handed(3, "LISTEN_FDS")
    assert environ == {"HOME": "/"}


def test_what_systemd_said_to_another_process_is_not_meant() -> None:
    assert handed_over(None, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}) is None
    assert handed_over(None, {}) is None


def test_an_option_comes_before_systemds_word() -> None:
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}
    assert handed_over(7, environ) == Handed(7, "--fd")
    assert environ == {}


def test_more_than_one_socket_is_refused() -> None:
    with pytest.raises(InvalidInput, match="LISTEN_FDS: systemd hands over 2 sockets; one"):
        handed_over(None, {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())})


def test_whoever_else_holds_the_socket_goes_on_with_it(listener: socket.socket) -> None:
    handed = given(listener)
    os.set_inheritable(handed.fd, True)
    with taken_over(handed, keyless=True) as mine:
        assert url_of(mine) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert not os.get_inheritable(handed.fd)
    with socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()


def test_what_is_no_socket_is_refused() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(InvalidInput, match=rf"--fd: file descriptor {reading} is no socket"):
            taken_over(Handed(reading, "--fd"), keyless=False).__enter__()
        with pytest.raises(InvalidInput, match="is no socket: Bad file descriptor"):
            taken_over(Handed(9999, "--fd"), keyless=False).__enter__()
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_that_does_not_listen_is_refused_and_left_open(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as one:
        with pytest.raises(InvalidInput, match="not one that listens for TCP"):
            taken_over(Handed(one.fileno(), "--fd"), keyless=False).__enter__()
        one.getsockname()


def test_an_address_that_others_reach_needs_keys() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        with pytest.raises(InvalidInput, match=r"the socket listens on 0\.0\.0\.0.*Give `server\.keys`"):
            taken_over(given(everywhere), keyless=True).__enter__()
        with taken_over(given(everywhere), keyless=False):
            pass
