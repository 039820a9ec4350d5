"""What may be written in the place of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.secrets.places import (
    EnvironmentPlace,
    FilePlace,
    KeyringPlace,
    StorePlace,
    VaultPlace,
    is_place,
    named_in,
    parse_place,
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("env:HF_TOKEN", EnvironmentPlace("HF_TOKEN")),
        (" env:HF_TOKEN ", EnvironmentPlace("HF_TOKEN")),
        ("file:/run/x", FilePlace(Path("/run/x"))),
        ("secret:hf-token", StorePlace("hf-token")),
        ("keyring:svc/name", KeyringPlace("svc", "name")),
        ("keyring:https://x.example/name", KeyringPlace("https://x.example", "name")),
        ("vault:a/b#c", VaultPlace("a/b", "c")),
        ("vault:a/b", VaultPlace("a/b")),
        ("vault:", VaultPlace("huggingface/api_key")),
        ("vault:#token", VaultPlace("huggingface/api_key", "token")),
        ("vault:kv/team:a/b?version=3#c d", VaultPlace("a/b", "c d", "kv/team", 3)),
    ],
)
def test_a_place_is_read_and_written_alike(text: str, place: object) -> None:
    found = parse_place(text)
    assert found == place
    assert parse_place(str(found)) == found


@pytest.mark.parametrize("text", ["", "hf_abc", "https://x", "sha256:00", "ENV:X", "env", "secret", "Bearer env:X"])
def test_what_is_no_place_is_left_alone(text: str) -> None:
    assert parse_place(text) is None
    assert not is_place(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("env:", "env:NAME"),
        ("env:A B", "env:NAME"),
        ("file:", "file:PATH"),
        ("secret:", "should be a name"),
        ("secret:../x", "should be a name"),
        ("keyring:svc", "keyring:SERVICE/NAME"),
        ("keyring:/name", "keyring:SERVICE/NAME"),
        ("keyring:svc/", "keyring:SERVICE/NAME"),
        ("vault:a//b#c", "vault:MOUNT:PATH#FIELD"),
        ("vault:../sys/seal#c", "vault:MOUNT:PATH#FIELD"),
        ("vault:a?version=x#c", "version=3"),
        ("vault:a?version=0#c", "count from 1"),
        ("vault:a b#c", "vault:MOUNT:PATH#FIELD"),
        ("vault:a\ud800#c", "no place has"),
        ("file:/a\0b", "no place has"),
    ],
)
def test_one_that_is_not_well_written_is_told(text: str, told: str) -> None:
    assert is_place(text)
    with pytest.raises(ValueError, match=r".") as raised:
        parse_place(text)
    assert told in str(raised.value)


@given(st.text(max_size=60))
def test_any_text_is_a_place_or_none_or_told(text: str) -> None:
    for kind in ("", "env:", "file:", "secret:", "keyring:", "vault:"):
        try:
            place = parse_place(kind + text)
        except ValueError:
            continue
        assert place is None or parse_place(str(place)) == place


def test_names_within_a_text_are_found() -> None:
    assert list(named_in("a ${B} $${C} ${vault:x#y} ${}")) == ["B", "vault:x#y", ""]


@pytest.mark.parametrize("name", ["hf_token", "hf-token", "hf_team_readonly", "sk-openai", "ll_admin", "task-hf_prod"])
def test_a_name_that_only_begins_as_tokens_do_is_one(name: str) -> None:
    assert parse_place(f"secret:{name}") == StorePlace(name)
