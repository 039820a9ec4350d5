"""Names and addresses of this machine, and its own pages: one answer, wherever it is asked."""

from __future__ import annotations

import pytest

from lamplighter.cli.reach.connection import Connection
from lamplighter.config import parse
from lamplighter.domain.loopback import is_loopback, is_own_page
from lamplighter.errors import ConfigError
from lamplighter.gateway.hosts import Hosts
from lamplighter.gateway.refusals import WrongHost

OURS = [
    "localhost",
    "LocalHost.",
    "app.localhost",
    "a.b.localhost.",
    "127.0.0.1",
    "127.9.8.7",
    "::1",
    "::ffff:127.0.0.1",
]
FOREIGN = [
    "",
    ".",
    "localhost.evil.example",
    "notlocalhost",
    "lamp.lan",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "::ffff:10.0.0.1",
]


@pytest.mark.parametrize("name", OURS)
def test_it_is_this_machine(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", FOREIGN)
def test_it_may_be_another_machine(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize("name", [*OURS, *FOREIGN[1:]])
def test_all_who_ask_are_told_the_same(name: str) -> None:
    told = {is_loopback(name), _answered_to(name), _needs_no_key(name), _asked_without_a_proxy(name)}
    assert len(told) == 1


def _answered_to(name: str) -> bool:
    try:
        Hosts().check((f"[{name}]:8470" if ":" in name else f"{name}:8470").encode())
    except WrongHost:
        return False
    return True


def _needs_no_key(name: str) -> bool:
    try:
        parse(f"server: {{host: '{name}'}}\nendpoints: {{lamp: {{command: serve}}}}\n", source="here.yaml", environ={})
    except ConfigError as error:
        assert "would let everybody in" in error.message  # noqa: PT017
        return False
    return True


def _asked_without_a_proxy(name: str) -> bool:
    with Connection(f"http://{f'[{name}]' if ':' in name else name}:8470") as connection:
        return not connection._client.trust_env


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://localhost:8470", "localhost:8470", True),
        ("http://app.localhost:8470", "app.localhost:8470", True),
        ("http://[::1]:8470", "[::1]:8470", True),
        ("http://localhost:3000", "localhost:8470", False),
        ("http://evil.example:8470", "evil.example:8470", False),
        ("null", "localhost:8470", False),
        ("http://[::1", "[::1", False),
        ("http://localhost", None, False),
    ],
)
def test_a_page_is_our_own_if_it_came_from_here_under_a_name_of_this_machine(
    origin: str, host: str | None, own: bool
) -> None:
    assert is_own_page(origin, host) is own
