"""`lamplighter key`: the secret alone on standard output, everything else for people on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lamplighter.cli.main import main
from tests.cli_stage import Script, problem, scripted_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_server() as script:
        monkeypatch.setenv("LAMPLIGHTER_URL", script.url)
        monkeypatch.setenv("LAMPLIGHTER_KEY", "ll_admin")
        monkeypatch.setenv("COLUMNS", "200")
        yield script


def key(name: str = "ci", **more: Any) -> dict[str, Any]:
    limits = {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent": None}
    plain = {"id": "0123456789ab", "name": name, "role": "infer", "routes": ["chat"], "may_wake": True, "priority": 0}
    ends = {"expires_at": None, "revoked_at": None, "counts": True, "created_by": "key:root"}
    return plain | {"limits": limits, "tags": {"team": "search"}} | ends | more


def made(**more: Any) -> dict[str, Any]:
    return {"success": True, "key": key(), "secret": "ll_secret", "closed_server": False, **more}


def test_the_secret_stands_alone_on_standard_output(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("POST /api/keys", made(), status=201)
    assert main(["key", "create", "ci"]) == 0
    told = capsys.readouterr()
    assert told.out == "ll_secret\n"
    assert "role infer, may call chat, 60 requests/min, team=search" in told.err
    assert "not shown again" in told.err
    assert "first key" not in told.err
    assert "ll_secret" not in told.err
    assert server.keys == ["Bearer ll_admin"]


def test_the_first_key_tells_that_it_closes_the_server(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("POST /api/keys", made(closed_server=True), status=201)
    assert main(["key", "create", "root", "--role", "admin"]) == 0
    assert "from now on nobody comes in without one" in capsys.readouterr().err


def test_every_option_reaches_the_server(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("POST /api/keys", made(), status=201)
    words = "key create ci --role operate --route chat --route coder --rpm 60 --tpm 1000 --concurrent 2 --no-wake"
    more = "--priority -5 --tag team=search --tag cost=a=b --expires 30d --quiet"
    assert main([*words.split(), *more.split()]) == 0
    assert capsys.readouterr() == ("ll_secret\n", "")
    assert server.bodies == [
        {
            "name": "ci",
            "role": "operate",
            "routes": ["chat", "coder"],
            "may_wake": False,
            "priority": -5,
            "limits": {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrent": 2},
            "tags": {"team": "search", "cost": "a=b"},
            "expires_in": 30 * 86400.0,
        }
    ]


@pytest.mark.parametrize(
    "words",
    [
        "--tag a=1 --tag a=2",
        "--expires 1000000d",
        "--expires 0",
        "--role king",
        "--rpm 0",
        "--tag team",
        "--tag =x",
        "--expires soon",
        "--priority 200",
        "--json --quiet",
    ],
)
def test_what_is_not_right_is_refused_here(server: Script, words: str) -> None:
    assert main(["key", "create", "ci", *words.split()]) == 2
    assert not server.asked


def test_a_refusal_is_told_with_the_exit_code_of_its_kind(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/keys", problem("role_missing", "This takes 'admin'."), status=403)
    assert main(["key", "list"]) == 4
    assert "This takes 'admin'." in capsys.readouterr().err


def test_keys_are_listed_in_a_table_by_name_or_whole(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    keys = [
        key("root", role="admin", routes=[], limits={}, tags={}),
        key("night", may_wake=False, priority=-3, expires_at=now + 3 * 86400 + 60),
        key("gone", revoked_at=now, counts=False),
    ]
    server.put("/api/keys", {"success": True, "keys": keys})
    assert main(["key", "list"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3
    assert table[1].split()[:4] == ["root", "0123456789ab", "admin", "all"]
    assert "60 requests/min, wakes nothing, priority -3" in table[2]
    assert "ends in 3 d" in table[2]
    assert main(["key", "list", "--all", "--quiet"]) == 0
    assert capsys.readouterr().out.split() == ["root", "night", "gone"]
    assert main(["key", "list", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == keys


def test_without_keys_it_is_said_how_the_first_is_made(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/api/keys", {"success": True, "keys": []})
    assert main(["key", "list"]) == 0
    assert "--role admin" in capsys.readouterr().out


def test_a_key_is_revoked_by_its_name(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("DELETE /api/keys/a@b.c", {"success": True, "key": key("a@b.c", counts=False)})
    server.put("DELETE /api/keys/a%40b.c", {"success": True, "key": key("a@b.c", counts=False)})
    assert main(["key", "revoke", "a@b.c"]) == 0
    assert "opens nothing any more" in capsys.readouterr().out
    server.put("DELETE /api/keys/nobody", problem("not_found", "There is no key 'nobody'."), status=404)
    assert main(["key", "revoke", "nobody"]) == 3


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", "..", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused_here(
    server: Script, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for words in (("key", "revoke"), ("wake",), ("sleep",), ("logs",)):
        assert main([*words, name]) == 2
        assert "name: " in capsys.readouterr().err
    assert not server.asked


def test_what_was_wrong_with_a_tag_or_an_end_is_said(server: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "create", "ci", "--tag", "a=1", "--tag", "a=2"]) == 2
    assert "'a' is given 2 times ('1' and '2')" in capsys.readouterr().err
    assert main(["key", "create", "ci", "--expires", "1000000d"]) == 2
    assert "'--expires': should be more than nothing and at most 3660d" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["80", "100", "120"])
def test_the_list_shows_every_limit_however_narrow_the_terminal_is(
    server: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    limits = {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrent": 4}
    full = key("search", routes=["chat", "coder", "mert"], limits=limits, may_wake=False, priority=-10)
    server.put("/api/keys", {"success": True, "keys": [full, key("other", expires_at=time.time() + 90_000)]})
    assert main(["key", "list"]) == 0
    told = capsys.readouterr().out
    assert max(len(line) for line in told.splitlines()) <= int(columns)
    assert "…" not in told
    words = " ".join(told.split())
    for part in ("60", "100000", "tokens/min", "4 at once", "nothing", "-10", "chat", "mert"):
        assert part in words, told


def audit_of(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "entries": list(entries), "next_cursor": None}


def test_an_audit_that_finds_nothing_says_so_and_what_was_asked(
    server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put("/api/audit", audit_of())
    assert main(["audit", "--actor", "nobody", "--since", "1h", "--failed"]) == 0
    assert capsys.readouterr() == ("", "Nothing on record matches --actor nobody --since 1 h ago --failed.\n")
    assert main(["audit", "--json"]) == 0
    assert capsys.readouterr() == ("", "Nothing is on record.\n")


def test_an_audit_between_moments_in_the_wrong_order_is_refused(
    server: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--since", "1m", "--until", "2h"]) == 2
    assert "--since (1 min ago) has to be before --until (2 h ago)" in capsys.readouterr().err
    assert not server.asked
