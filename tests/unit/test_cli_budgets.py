"""`lamplighter budgets`: what it shows of what a server answers, with and without colours, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from lamplighter.cli.main import main
from lamplighter.cli.show.budgeting import WIDTH, bar, cells
from lamplighter.config import parse
from tests.cli_stage import Script, problem, scripted_server
from tests.cli_world import clean_environment
from tests.unit.test_served_budgets import called, serving, until_spent

NOW = 1_700_000_000.0


def standing(name: str = "monthly", **more: Any) -> dict[str, Any]:
    """A budget as the route tells it."""
    told: dict[str, Any] = {"name": name, "scope": "all", "whose": "all", "tag": None, "member": "", "period": "month"}
    told |= {"limit": "10.00", "spent": "0.00", "reserved": "0.00", "left": "10.00", "share": 0.0, "level": 0}
    told |= {"is_spent": False, "begins_at": 1_698_793_200, "renews_at": 1_701_385_200, "at_limit": "idle"}
    return told | {"unpriced": [], "missing": False} | more


def answer(*budgets: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "at": NOW, "time_zone": "Europe/Berlin", "currency": "USD", "budgets": list(budgets)}


HALF = standing(spent="5.00", reserved="2.50", share=0.5, level=50)
ENDPOINT = {"scope": "endpoint", "whose": "endpoint chat", "member": "chat"}
CHAT = standing("chat", **ENDPOINT, spent="12.00", level=100, is_spent=True, at_limit="drain", unpriced=["embed"])
WEB = standing("web", scope="key", whose="key web", member="web", at_limit="drain", missing=True)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Script]:
    clean_environment(monkeypatch, tmp_path)
    with scripted_server() as server:
        server.put("/api/budgets", answer(HALF, CHAT, WEB))
        monkeypatch.setenv("LAMPLIGHTER_URL", server.url)
        yield server


def test_a_row_for_each_budget_with_its_bar(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budgets"]) == 0
    head, half, chat, web, legend, *notes = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "budget"
    assert half.split() == [
        *("monthly", "all", "█" * 10 + "▒" * 5 + "░" * 5, "50", "%", "$5.00", "of", "$10.00", "$2.50"),
        *("in", "16", "d", "2023-12-01", "00:00", "idle", "ones", "sleep"),
    ]
    assert f"{'█' * 20} 120 %" in chat
    assert "$12.00 of $10.00" in chat
    assert "nothing is let in" in chat
    assert "░" * 20 in web
    assert "its requests are refused" in web
    assert legend == "█ spent   ▒ set aside for wakes   ░ left   (days are those of Europe/Berlin)"
    assert notes == [
        "✗ chat (endpoint chat) is spent: nothing is woken before 2023-12-01 00:00; `budgets.chat.limit` allows more.",
        "▲ chat (endpoint chat) can't count what embed costs: nobody knows the price. Set `price_per_hour` of it.",
        "▲ web (key web) counts nothing now: there is no key 'web'.",
    ]


def test_in_colours_the_parts_of_a_bar_differ_and_without_by_their_characters_alone(
    script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    main(["budgets"])
    coloured = capsys.readouterr().out
    assert f"\x1b[32m{'█' * 10}\x1b[0m\x1b[36m{'▒' * 5}\x1b[0m\x1b[2m{'░' * 5}\x1b[0m" in coloured
    assert f"\x1b[31m{'█' * 20}" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    main(["budgets"])
    plain = capsys.readouterr().out
    assert "\x1b[3" not in plain
    assert "█" * 10 + "▒" * 5 + "░" * 5 in plain.replace("\x1b[2m", "").replace("\x1b[0m", "")


def test_a_narrow_terminal_gets_the_bar_and_the_amounts(
    script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["budgets"])
    table = capsys.readouterr().out.splitlines()[:4]
    assert max(map(len, table)) <= 80
    assert "█" * 5 + "▒" * 3 + "░" * 2 + "  50 %" in table[1]
    assert "$5.00 of $10.00" in table[1]
    assert "in 16 d" in table[1]
    assert "2023-12-01" not in table[1]


def test_names_are_handed_on_and_one_that_is_not_there_ends_with_3(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budgets", "monthly", "a b"]) == 0
    assert script.asked[-1] == "GET /api/budgets?name=monthly&name=a+b"
    text = "There is no budget 'mothly'; did you mean 'monthly'?"
    script.put("/api/budgets", problem("not_found", text), status=404)
    assert main(["budgets", "mothly"]) == 3
    told = capsys.readouterr()
    assert text in told.err
    assert main(["budgets", "mothly", "--json"]) == 3


def test_programs_get_the_answer_as_it_came_or_names_alone(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budgets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer(HALF, CHAT, WEB)
    script.put("/api/budgets", answer(HALF, standing("team", member="a"), standing("team", member="b")))
    assert main(["budgets", "-q"]) == 0
    assert capsys.readouterr().out == "monthly\nteam\n"
    assert main(["budgets", "-q", "--json"]) == 2


def test_without_a_budget_it_says_how_to_make_one_that_can_be_used(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.put("/api/budgets", answer())
    assert main(["budgets"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No budget is configured")
    example = said[said.index("budgets:\n") : said.index("\n\n`kill")]
    made = parse(f"endpoints: {{chat: {{command: x}}}}\n{example}", "lamplighter.yaml", {}).budgets()
    assert [budget.name for budget in made] == list(yaml.safe_load(example)["budgets"])
    script.put("/api/budgets", answer())
    assert main(["budgets", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_zone_that_this_machine_does_not_know_is_told_in_utc(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.put("/api/budgets", answer(HALF) | {"time_zone": "Mars/Olympus"})
    assert main(["budgets"]) == 0
    assert "2023-11-30 23:00 UTC" in capsys.readouterr().out


def test_a_name_from_a_server_commands_no_terminal(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.put("/api/budgets", answer(standing("a\x1b[2J[red]b", is_spent=True, unpriced=["\x1b[1m"])))
    assert main(["budgets"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[red]b" in said


def test_a_console_without_such_characters_gets_plain_ones() -> None:
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=120)
    assert bar(console, HALF).plain == "##########+++++.....  50 %"


@pytest.mark.parametrize(
    ("spent", "aside", "shown"),
    [
        ("0", "0", (0, 0)),
        ("0.0001", "0", (1, 0)),
        ("0.0001", "0.0001", (1, 1)),
        ("5", "0", (10, 0)),
        ("5", "5", (10, 10)),
        ("9.99", "0", (WIDTH - 1, 0)),
        ("9.9", "0.05", (WIDTH - 1, 1)),
        ("10", "3", (WIDTH, 0)),
        ("25", "0", (WIDTH, 0)),
    ],
)
def test_a_bar_is_full_where_nothing_is_left_and_shows_whatever_is_more_than_nothing(
    spent: str, aside: str, shown: tuple[int, int]
) -> None:
    assert cells(Decimal(spent), Decimal(aside), Decimal(10)) == shown


async def test_the_budgets_of_a_server_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment(monkeypatch, tmp_path)
    async with serving(tmp_path) as (server, client):
        assert (await called(client)).status_code == 200
        await until_spent(client, "each")
        capsys.readouterr()
        assert await asyncio.to_thread(main, ["budgets", "--server", server.url]) == 0
        said = capsys.readouterr().out
        assert [line.split()[0] for line in said.splitlines()[1:6]] == ["all", "chat", "each", "team", "web"]
        assert "there is no key 'web'" in said
        assert await asyncio.to_thread(main, ["budgets", "tem", "--server", server.url]) == 3
        assert "did you mean 'team'?" in capsys.readouterr().err


def test_the_check_of_the_configuration_warns_of_a_budget_for_an_endpoint_that_the_file_does_not_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment(monkeypatch, tmp_path)
    file = tmp_path / "lamplighter.yaml"
    file.write_text(
        """\
endpoints: {chat: {command: x, aliases: [talk]}}
upstreams: {far: {base_url: "https://api.example.com/v1"}}
budgets:
  slip: {limit: 1, per: day, endpoint: chatt}
  alias: {limit: 1, per: day, endpoint: talk}
  right: {limit: 1, per: day, endpoint: chat}
  far: {limit: 1, per: day, endpoint: far}
  each: {limit: 1, per: day, endpoint: "*"}
"""
    )
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: budgets.slip.endpoint: there is no endpoint or upstream 'chatt' in this file; did you mean chat?",
        "warning: budgets.alias.endpoint: there is no endpoint or upstream 'talk' in this file; it is an alias; give the name, chat",
    ]
