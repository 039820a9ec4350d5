"""The page of figures keeps what other groups measured."""

import json

import pytest

from tests.bench import report
from tests.bench.report import Figure


def test_a_figure_is_met_when_value_and_ratio_are():
    assert Figure(figure="a", value=1, unit="s").met is None
    assert Figure(figure="a", value=1, unit="s", target=1).met is True
    figure = Figure(figure="a", value=6, unit="s", target=10, against="b", against_value=2, max_ratio=2.5)
    assert (figure.met, figure.ratio) == (False, 3)
    assert figure.as_line()["ratio"] == 3


def test_groups_are_written_beside_each_other(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "KEPT", tmp_path / "benchmarks.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    report.keep("hold", [Figure(figure="held", value=2, unit="ms", target=3).as_line()], "bench hold")
    report.keep("gateway", [Figure(figure="cost", value=60, unit="µs", against="x", against_value=20).as_line()], "b")
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| held | 2 ms | ≤ 3 ms | yes |" in page
    assert "| cost | 60 µs |  |  | x: 20 µs | 3.00 x |" in page
    assert list(json.loads((tmp_path / "benchmarks.json").read_text())) == ["hold", "gateway"]
