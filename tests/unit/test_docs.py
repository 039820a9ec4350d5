"""What the documentation says is so."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from pydantic import BaseModel

from lamplighter import errors
from lamplighter.api import access, management
from lamplighter.api.hf.translate.variants import ELSEWHERE, VARIANTS
from lamplighter.cli.base.lazy import Session
from lamplighter.cli.checking import check_engines
from lamplighter.cli.main import root
from lamplighter.config import EndpointSettings, PolicySettings, ProviderSettings, ServerSettings, parse
from lamplighter.config.budgets import BudgetSettings
from lamplighter.config.environment import _FALLBACK, _KEYS, _OVERRIDES
from lamplighter.config.file import AlarmSettings, known_keys
from lamplighter.config.ledger import LedgerSettings
from lamplighter.config.prices import PricesSettings
from lamplighter.config.routes import BreakerSettings, RetrySettings, RouteSettings, TargetSettings, UpstreamSettings
from lamplighter.control import keyring
from lamplighter.engines.llamacpp.options import tuning_parser
from lamplighter.engines.presets import PRESETS
from lamplighter.engines.registry import ENGINES
from lamplighter.gateway import claiming, plan, refusals
from lamplighter.gateway.openai_paths import POSTED
from lamplighter.store.database import Database
from tests.bench.report import PAGE

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))

SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerSettings,
    "defaults": PolicySettings,
    "alarms": AlarmSettings,
    "providers": ProviderSettings,
    "endpoints": EndpointSettings,
    "upstreams": UpstreamSettings,
    "routes": RouteSettings,
    "routes.targets": TargetSettings,
    "breaker": BreakerSettings,
    "retry": RetrySettings,
    "prices": PricesSettings,
    "ledger": LedgerSettings,
    "budgets": BudgetSettings,
}
"""Each section of the file, and the model whose keys may stand in it (in each entry, where entries have names)."""
_PATHS = {"routes.targets": ("routes", "chat", "targets")}
_REQUIRED: dict[str, dict[str, object]] = {
    "endpoints": {"engine": "vllm"},
    "upstreams": {"base_url": "https://api.example.com/v1"},
    "routes": {"targets": ["chat"]},
    "routes.targets": {"name": "chat"},
    "budgets": {"limit": 1, "per": "day"},
}

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(section: str) -> dict[str, str]:
    """The keys of a section of the configuration page, each with the cell of its default."""
    body = text_of("configuration.md").split(f"## `{section}`\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| .*? \| (\S.*?) \|", body, re.MULTILINE))


_SOME = {"SLACK_URL": "json://localhost", "ALARM_HOOK": "https://localhost/hook"}
"""What variables of the pages hold where that has to be an address."""


@by_page
def test_every_configuration_that_is_shown_can_be_used(page: Path) -> None:
    for block in blocks(page, "yaml"):
        names = [name for pair in re.findall(r"\$\{(\w+)\}|env:(\w+)", block) for name in pair if name]
        settings = parse(block, page.name, {name: _SOME.get(name, "some-value") for name in names})
        check_engines(settings)


@by_page
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists() or file.resolve() == PAGE, target  # `make bench` writes that one
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("section", SECTIONS)
def test_the_configuration_page_names_every_key_and_no_other(section: str) -> None:
    named = set(rows(section))
    if section == "endpoints":
        assert not named & set(rows("defaults"))
        named |= set(rows("defaults"))
    assert named == set(known_keys(*_PATHS.get(section, (section,))))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_configuration_page_tells_the_defaults(section: str) -> None:
    model = SECTIONS[section]
    for key, cell in rows(section).items():
        field = model.model_fields[key]
        if cell == "–":  # noqa: RUF001 - a dash, as the page has it
            assert field.is_required() or field.default in (None, ""), key
            continue
        value = yaml.safe_load(cell.strip("`"))
        required = _REQUIRED.get(section, {})
        built_in = model.model_validate(required)
        told = model.model_validate(required | {key: value})
        assert getattr(told, key) == getattr(built_in, key), key


def test_the_configuration_page_names_every_variable_of_the_environment() -> None:
    page = text_of("configuration.md")
    assert [name for name in (*_OVERRIDES, _KEYS, _FALLBACK) if f"`{name}`" not in page] == []


def test_every_variable_that_is_named_is_read_somewhere() -> None:
    code = "".join(file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py"))
    named = {name for page in PAGES for name in re.findall(r"\bLAMPLIGHTER_[A-Z]+\b", page.read_text("utf-8"))}
    assert [name for name in sorted(named) if f'"{name}"' not in code] == []


def test_the_engines_page_names_every_engine_and_its_command() -> None:
    page = text_of("engines.md")
    assert [key for key in ENGINES if f"`{key}`" not in page and f"engine: {key}" not in page] == []
    for preset in PRESETS.values():
        words = " ".join((*preset.command, *preset.args)).removeprefix("-m ")
        assert not words or f"| `{preset.key}` | `{words}` | `{preset.health_route}` |" in page


def test_the_engines_page_names_every_option_of_llama_cpp() -> None:
    options = {option for action in tuning_parser()._actions for option in action.option_strings}
    assert set(re.findall(r"^\| `(--[a-z-]+)`", text_of("engines.md"), re.MULTILINE)) == options


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of ours: in blocks for the shell, and in code within the text."""
    lines = [line for block in blocks(page, "sh", "console", "ini") for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))
    for line in lines:
        found = re.match(r"(?:\$ |ExecStart=\S*/)?(lamplighter(?: .*)?)$", line.strip())
        if found and "/" not in found[1].split()[0]:
            yield shlex.split(found[1].partition(">")[0], comments=True)[1:]


def parse_command(words: list[str]) -> None:
    """What click does before it runs a command. A lone verb names the command, as prose does."""
    context: click.Context = root.make_context("lamplighter", list(words), obj=Session())
    while isinstance(context.command, click.Group):
        left = [*context._protected_args, *context.args]
        if not left and context.command.invoke_without_command:
            return
        name, command, rest = context.command.resolve_command(context, left)
        assert command is not None
        if len(words) == 1:
            return
        context = command.make_context(name, rest, parent=context)


@by_page
def test_every_command_line_is_one_that_lamplighter_takes(page: Path) -> None:
    for words in commands(page):
        if not words or words == ["--help"]:
            continue  # names the program, or would print its help
        parse_command(words)


def test_command_lines_are_found() -> None:
    found = [words for page in PAGES for words in commands(page)]
    assert ["serve"] in found
    assert ["logs", "chat", "--tail", "20"] in found
    assert ["config", "schema"] in found
    with pytest.raises(click.UsageError):
        parse_command(["serve", "--no-such-option"])


def test_every_question_to_the_database_that_is_shown_can_be_asked(tmp_path: Path) -> None:
    questions = re.findall(r'^sqlite3 [^"]*"(select [^"]*)"$', text_of("operations.md"), re.MULTILINE)
    Database(tmp_path / "lamplighter.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "lamplighter.db")) as database:
        assert [database.execute(question).fetchall() for question in questions] == [[]]


def test_the_http_page_names_every_management_route_and_no_other() -> None:
    page = text_of("http.md")
    shown = re.findall(r"(GET|POST|PUT|DELETE) (/[\w./{}-]*)", page)
    named = {(verb, path) for verb, path in shown if not path.startswith("/v1")}
    described = management(None, health=None, version="1").openapi()["paths"]  # type: ignore[arg-type]
    served = {(verb.upper(), path) for path, verbs in described.items() for verb in verbs}
    assert named - {("GET", "/docs"), ("GET", "/openapi.json")} == served


def test_the_routes_of_the_gateway_that_are_named_are_served() -> None:
    shown = {path for page in PAGES for path in re.findall(r"(?<!/api)/v1/[a-z][a-z/]+", page.read_text("utf-8"))}
    assert {path for path in shown if not path.startswith("/v1/models")} <= POSTED


def test_the_wire_page_names_every_variant_with_its_engine_and_fields() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \| (.*?) \|$", text_of("wire.md"), re.MULTILINE)
    named = {key: (engine, fields) for cell, engine, fields in rows for key in re.findall(r"`(\w+)`", cell)}
    for key, variant in VARIANTS.items():
        engine, fields = named[key]
        assert variant.engine in engine
        for field in variant.flags:
            assert f"`{field}`" in fields, (key, field)
    for key in ELSEWHERE:
        assert key == "tgiTpu" or "refused" in named[key][1]


def test_the_http_page_names_every_code_that_an_answer_may_have() -> None:
    table = re.findall(r"^\| (\d{3}) \| (`.*?`) \|", text_of("http.md"), re.MULTILINE)
    named = {(int(status), code) for status, cell in table for code in re.findall(r"`(\w+)`", cell)}
    raising = (errors, refusals, claiming, plan, access, keyring)
    ours = [thing for module in raising for thing in vars(module).values() if isinstance(thing, type)]
    known = {(kind.status, kind.code) for kind in ours if issubclass(kind, errors.LamplighterError)}
    never_answered = {"invalid_configuration", "conflict", "provider_unreachable", "engine_error"}
    bases = {"upstream_error"}
    assert {code for _, code in known} - never_answered - bases <= {code for _, code in named}
    of_the_frame = {(403, "forbidden"), (422, "invalid_request"), (503, "too_many_connections")}
    assert named - known <= of_the_frame
