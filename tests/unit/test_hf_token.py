"""Where the token comes from, and where it may go."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, TokenMissing, TokenWrong
from lamplighter.hf import hosts, token
from lamplighter.hf.hosts import address, find_hosts
from lamplighter.hf.token import find_cloud_token, find_server_key, look_for_cloud_token, look_for_server_key


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("HF_TOKEN", "HUGGINGFACE_API_KEY", "HF_OIDC_RESOURCE", "LAMPLIGHTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "stored"))
    return tmp_path / "token"


def test_the_first_variable_that_is_set_counts() -> None:
    both = {"HF_TOKEN": "hf_a", "HUGGINGFACE_API_KEY": "hf_b"}
    assert find_cloud_token(both) == Secret("hf_a")
    assert find_cloud_token(both | {"HF_TOKEN": "  "}) == Secret("hf_b")
    found = look_for_cloud_token({"HUGGINGFACE_API_KEY": " hf_b\n"})
    assert found is not None
    assert (found.secret.reveal(), found.source) == ("hf_b", "HUGGINGFACE_API_KEY")


def test_a_stored_login_is_found(no_login: Path) -> None:
    assert find_cloud_token() is None
    no_login.write_text("hf_stored\n")
    found = look_for_cloud_token()
    assert found is not None
    assert (found.secret.reveal(), found.source) == ("hf_stored", "hf auth login")


def test_a_login_that_can_not_be_used_is_told(no_login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_OIDC_RESOURCE", "somewhere")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    with pytest.raises(TokenMissing, match="HF_TOKEN"):
        find_cloud_token()


@pytest.mark.parametrize("value", ["hf_a b", "hf_\u00e4", "hf_a\nX-Evil: 1", "x" * 9000])
def test_a_text_that_is_no_token_is_refused_unseen(value: str) -> None:
    with pytest.raises(TokenWrong) as caught:
        find_cloud_token({"HF_TOKEN": value})
    assert "HF_TOKEN" in str(caught.value)
    assert value not in str(caught.value)


def test_a_server_key_comes_from_its_file_or_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k1\n")
    assert find_server_key(environ={"LAMPLIGHTER_KEY": "k2", "HF_TOKEN": "hf"}) == Secret("k2")
    assert find_server_key(environ={"HF_TOKEN": "hf"}) is None
    found = look_for_server_key(file, {"LAMPLIGHTER_KEY": "k2"})
    assert found is not None
    assert (found.secret, found.source) == (Secret("k1"), str(file))


def test_a_key_file_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for file, reason in (
        (tmp_path / "none", "No such file"),
        (empty, "empty"),
        (binary, "no text"),
        (tmp_path, "director"),
    ):
        with pytest.raises(InvalidInput, match=reason) as caught:
            find_server_key(file)
        assert str(file) in str(caught.value)


def test_what_to_do_without_a_token_is_one_line() -> None:
    for error, word in ((token.cloud_token_missing(), "HF_TOKEN"), (token.server_key_missing("h"), "LAMPLIGHTER_KEY")):
        assert word in str(error)
        assert "\n" not in str(error)
        assert error.exit_code == 4


def test_our_defaults_are_those_of_hugging_face() -> None:
    assert f"{hosts.MANAGEMENT}/v2" == constants.INFERENCE_ENDPOINTS_ENDPOINT
    assert constants._HF_DEFAULT_ENDPOINT == hosts.HUB
    assert f"{hosts.CATALOG}/api/v1/catalog" == constants.INFERENCE_CATALOG_ENDPOINT


def test_hosts_are_found() -> None:
    cloud = find_hosts(None, None, {})
    assert (cloud.management, cloud.hub, cloud.is_cloud) == (hosts.MANAGEMENT, hosts.HUB, True)
    moved = find_hosts(None, None, {"HF_ENDPOINT": "https://hub.corp/"})
    assert (moved.management, moved.hub) == (hosts.MANAGEMENT, "https://hub.corp")
    stand_in = find_hosts(None, None, {"LAMPLIGHTER_CLOUD_URL": "http://127.0.0.1:1/v2/", "HF_ENDPOINT": "https://x"})
    assert {stand_in.management, stand_in.hub, stand_in.catalog} == {"http://127.0.0.1:1"}
    assert stand_in.is_cloud
    own = find_hosts("127.0.0.1:8470", None, {"LAMPLIGHTER_CLOUD_URL": "http://other", "HF_ENDPOINT": "https://x"})
    assert {own.management, own.hub, own.catalog} == {"http://127.0.0.1:8470"}
    assert not own.is_cloud
    given = find_hosts(f"{hosts.MANAGEMENT}/v2", None, {})
    assert given == cloud


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://x:0", "http://x:99999999", "http://a b", "http://u:p@x", "http://x?y"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        address(url, "base")
    assert caught.value.field == "base"
    assert ":p@" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "url", "may"),
    [
        (None, f"{hosts.MANAGEMENT}/v2/endpoint", True),
        (None, f"{hosts.HUB}/api/whoami-v2", True),
        (None, f"{hosts.CATALOG}/api/v1/catalog/list", True),
        (None, "https://abc.us-east-1.aws.endpoints.huggingface.cloud/health", True),
        (None, "https://ABC.endpoints.HUGGINGFACE.cloud./health", True),
        (None, "http://abc.endpoints.huggingface.cloud/health", False),
        (None, "https://endpoints.huggingface.cloud.evil.com/", False),
        (None, "https://evilendpoints.huggingface.cloud/", False),
        (None, "https://api.endpoints.huggingface.cloud@evil.com/", False),
        (None, "https://u:p@abc.endpoints.huggingface.cloud/", False),
        (None, "http://127.0.0.1:80/", False),
        (None, "http://huggingface.co/", False),
        (None, "https://[broken/", False),
        ("http://127.0.0.1:8470", "http://127.0.0.1:9000/x", True),
        ("http://127.0.0.1:8470", "http://localhost:9000/x", True),
        ("http://127.0.0.1:8470", "http://10.0.0.1:8470/x", False),
        ("http://127.0.0.1:8470", "https://abc.endpoints.huggingface.cloud/", False),
        ("https://lamp.corp", "https://lamp.corp:8443/endpoints/x", True),
        ("https://lamp.corp", "http://lamp.corp/endpoints/x", False),
        ("https://lamp.corp", "https://other.corp/", False),
        ("https://lamp.corp", "http://127.0.0.1/", False),
    ],
)
def test_the_token_goes_where_it_belongs_alone(base: str | None, url: str, may: bool) -> None:
    assert find_hosts(base, None, {}).may_see_token(url) is may
