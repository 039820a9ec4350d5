"""Origins and host names of the file are those that browsers send."""

from __future__ import annotations

import pytest

from lamplighter.config import parse
from lamplighter.errors import ConfigError

BASE = "endpoints: {chat: {engine: llamacpp, model: SmolLM2-135M-Instruct}}\n"


def server(text: str):
    return parse(f"server: {{{text}}}\n{BASE}", "lamplighter.yaml", {}).server


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("vscode-webview://abc", "vscode-webview://abc"),
        ("*", "*"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, kept: str) -> None:
    assert server(f'cors: ["{given}"]').cors == (kept,)


@pytest.mark.parametrize(
    "given",
    [
        "app.example.com",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://u@a",
        "null",
        "https://*.a",
        "https://a:x",
        "",
    ],
)
def test_what_is_no_origin_is_told_what_would_be_right(given: str) -> None:
    with pytest.raises(ConfigError, match=r"lamplighter.yaml:1.*server\.cors.*https://app\.example\.com"):
        server(f'cors: ["{given}"]')


@pytest.mark.parametrize(("given", "kept"), [("Models.LAN", "models.lan"), ("10.0.0.5", "10.0.0.5"), ("::2", "::2")])
def test_a_host_name_is_kept_in_lower_case(given: str, kept: str) -> None:
    assert server(f'hosts: ["{given}"]').hosts == (kept,)


@pytest.mark.parametrize("given", ["models.lan:80", "http://models.lan", "*", "a b", "", "a/b", "-a"])
def test_what_is_no_host_name_is_told(given: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.hosts.*without a port"):
        server(f'hosts: ["{given}"]')


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_a_rate_is_a_number_of_requests(given: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.management_rate"):
        server(f"management_rate: {given}")
