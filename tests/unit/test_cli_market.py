"""`lamplighter models`, `offers` and `providers`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_cloud import HARDWARE, ScriptedCloud, scripted_cloud, whoami
from tests.hub_stage import DEEP, HUB, QWEN, ROUTER, hub_model, novita, served


@pytest.fixture
def lamplighter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    """No server, a token, and what plays Hugging Face."""
    monkeypatch.setattr("lamplighter.cli.reach.place.is_lamplighter", lambda _: False)
    with scripted_cloud(tmp_path, monkeypatch, capsys) as cloud:
        gated = hub_model("org/gated", gated="manual", tags=[], safetensors=None)
        cloud.script.answers[HUB] = [(200, "[]")]
        cloud.script.put("/api/whoami-v2", whoami())
        cloud.script.put(f"{HUB}/{QWEN}", hub_model())
        cloud.script.put("/v2/provider/me", HARDWARE)
        slow = novita(provider="groq", pricing={"input": 0.2, "output": 0.6}, throughput=None, supports_tools=None)
        cloud.script.put(ROUTER, {"object": "list", "data": [served(DEEP, novita(), slow)]})
        cloud.script.answers[HUB] = [(200, json.dumps([hub_model(), gated]))]
        yield cloud


def test_models_are_a_table_for_people(lamplighter: ScriptedCloud) -> None:
    said = lamplighter("models", "--task", "text-generation")
    assert said.code == 0, said.err
    assert QWEN in said.out
    assert "8.19B" in said.out
    assert "apache-2.0" in said.out
    assert "gated" in said.out
    assert "pipeline_tag=text-generation" in lamplighter.script.asked[-1]


def test_models_are_json_for_programs_and_names_for_shells(lamplighter: ScriptedCloud) -> None:
    found = lamplighter("models", "--limit", "1", "--json").json
    assert ([model["id"] for model in found["models"]], found["more"]) == ([QWEN], True)
    assert lamplighter("models", "-q").out.splitlines() == [QWEN, "org/gated"]


def test_offers_are_a_table_with_prices_sources_and_ages(lamplighter: ScriptedCloud) -> None:
    said = lamplighter("offers")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[1].index("groq") < lines[1].index("$0.60")  # the cheaper one first
    assert "novita" in lines[2]
    assert "router, just now" in said.out
    assert "Told by huggingface (just now)." in said.out


def test_offers_of_a_model_are_on_hardware_too_and_say_how_it_fits(lamplighter: ScriptedCloud) -> None:
    said = lamplighter("offers", "--model", QWEN)
    assert "aws-us-east-1-nvidia-l4-x1" in said.out
    assert "~20 of 24 GB" in said.out
    found = lamplighter("offers", "--model", QWEN, "--json").json["offers"][0]
    assert found["fit"]["formula"].startswith("estimate: ")
    assert (found["quotes"][0]["amount"], found["price_basis"]) == ("0.80", "not measured")


def test_offers_are_sifted_and_sorted(lamplighter: ScriptedCloud) -> None:
    assert lamplighter("offers", "--max-price", "$1", "-q").out == f"{DEEP} groq\n"
    assert lamplighter("offers", "--tools", "-q").out == f"{DEEP} novita\n"
    assert lamplighter("offers", "--sort", "throughput", "--limit", "1", "-q").out == f"{DEEP} novita\n"
    assert "no such offer at Hugging Face" in lamplighter("offers", "--context", "9999999").out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-price", "cheap"), "'cheap' should be an amount of dollars"),
        (("--max-price", "-1"), "'-1' should be an amount of dollars"),
        (("--region", "atlantis"), "region: there is no 'atlantis'"),
        (("--task", "texxt"), "did you mean text"),
        (("--provider", "grog"), "did you mean groq"),
        (("--json", "--quiet"), "exclude each other"),
    ],
)
def test_an_option_that_is_wrong_is_told_with_its_value(
    lamplighter: ScriptedCloud, options: tuple[str, ...], says: str
) -> None:
    said = lamplighter("offers", *options)
    assert says in said.err
    assert said.code == 2
    assert said.out == ""


def test_a_feed_that_is_down_is_told_beside_the_offers(lamplighter: ScriptedCloud) -> None:
    lamplighter.script.answers[ROUTER] = [(400, '{"error": "not today"}')]
    said = lamplighter("offers", "--model", QWEN)
    assert "aws-us-east-1-nvidia-l4-x1" in said.out
    assert "huggingface: " in said.err
    assert "not today" in said.err


def test_providers_tell_where_they_come_from_what_they_can_and_what_is_missing(
    lamplighter: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {one["key"]: one for one in lamplighter("providers", "--json").json}
    assert {"huggingface", "local", "memory"} <= set(found)
    assert found["huggingface"]["abilities"]["runs_inference"]
    assert not found["local"]["abilities"]["lists_models"]
    assert (found["local"]["origin"], found["local"]["configured"]) == ("built in", False)
    assert found["huggingface"]["missing"] == []
    monkeypatch.delenv("HF_TOKEN")
    assert "set HF_TOKEN" in lamplighter("providers").out


def test_providers_tell_which_are_configured(lamplighter: ScriptedCloud, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("providers: {play: {type: memory}}\n")
    found = {one["key"]: one for one in lamplighter("providers", "--json", "--config", str(file)).json}
    assert (found["memory"]["names"], found["memory"]["configured"]) == (["play"], True)
    assert found["local"]["configured"]
    assert lamplighter("providers", "-q").out.splitlines()[:3] == ["huggingface", "local", "memory"]
    file.write_text("providers: [oops]\n")
    assert lamplighter("providers", "--config", str(file)).code == 2


def test_where_every_source_is_down_the_exit_code_says_so(lamplighter: ScriptedCloud) -> None:
    lamplighter.script.answers[ROUTER] = [(400, '{"error": "not today"}')]
    for options in ((), ("--json",), ("--quiet",)):
        said = lamplighter("offers", *options)
        assert said.code == 1
        assert "There is no such offer" not in said.out


def test_an_option_before_a_subcommand_is_only_sent_behind_it_if_that_has_it(lamplighter: ScriptedCloud) -> None:
    assert "`explain` has no such option" in lamplighter("offers", "--model", "a", "explain", "x").err
    assert "--json belongs behind `explain`" in lamplighter("offers", "--json", "explain", "x").err
