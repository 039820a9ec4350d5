"""Prices that commands show where no server has judged them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from lamplighter.hf.snapshot import published_price
from tests.cli_cloud import ScriptedCloud, scripted_cloud
from tests.unit.test_price_book import compute, vendors

ABSURD = (
    compute(-5, size="x2"),
    compute(0, size="x3"),
    compute(2500000, size="x4"),
    compute(4.5, size="x5", currency="EUR"),
    compute(0.05, kind="nvidia-t4", size="x6", priceUnit="minute"),
    compute(9999, kind="nvidia-t4", size="x1"),  # a thousand times what was published
)


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        one.have({"me": []})
        monkeypatch.setenv("COLUMNS", "300")
        yield one


def test_a_price_that_can_not_be_is_shown_by_no_command(cloud: ScriptedCloud) -> None:
    known = published_price("aws", "nvidia-t4", "x1")
    assert known is not None
    assert known.quote.amount * 1000 < Decimal(9999)
    cloud.script.put("/v2/provider/me", vendors(compute(0.8), *ABSURD))
    said = cloud("prices", "--cloud", "--json")
    assert said.code == 0, said.err
    amounts = {one["subject"].removeprefix("aws-us-east-1-"): one["amount"] for one in said.json["prices"]}
    assert amounts == {"nvidia-l4-x1": "0.80", "nvidia-t4-x6": "3.00"}
    assert {one["free"] for one in said.json["prices"]} == {False}
    (feed,) = said.json["feeds"]
    assert len(feed["refused"]) == 5
    table = cloud("prices", "--cloud")
    assert "$0.80" in table.out
    assert "EUR" in table.out + table.err
    listed = cloud("hardware", "--cloud", "--all", "--json")
    prices = {one["id"].removeprefix("aws-us-east-1-"): one["price_per_hour"] for one in listed.json}
    assert {name: price for name, price in prices.items() if price is not None} == {
        "nvidia-l4-x1": 0.8,
        "nvidia-t4-x6": 3.0,
    }
    assert len(prices) == 7
    assert "not believed" in listed.err


def test_the_published_prices_are_shown_where_hugging_face_is_down(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", "http://127.0.0.1:9")
    said = cloud("prices", "--cloud", "nvidia-l4", "--json")
    assert said.code == 1
    assert {one["source"].partition(" ")[0] for one in said.json["prices"]} == {"snapshot"}
    assert said.json["feeds"][0]["error"]


def test_without_a_token_the_published_prices_say_what_they_do_not_tell(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("LAMPLIGHTER_URL", "")
    assert "'mars'" in " ".join(cloud("prices", "--cloud", "--region", "mars").out.split())
    assert "hardware of Hugging Face" in cloud("prices", "--cloud", "--source", "router").out
    assert cloud("prices", "--cloud", "--refresh").code == 4
