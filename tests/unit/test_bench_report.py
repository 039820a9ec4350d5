"""The page of figures keeps what other groups measured."""

import json
from dataclasses import replace

import pytest

from tests.bench import report
from tests.bench.report import Figure, Skipped


def test_a_figure_is_met_when_value_and_ratio_are():
    assert Figure(figure="a", value=1, unit="s").met is None
    assert Figure(figure="a", value=1, unit="s", target=1).met is True
    figure = Figure(figure="a", value=6, unit="s", target=10, against="b", against_value=2, max_ratio=2.5)
    assert (figure.met, figure.ratio) == (False, 3)
    assert figure.as_line()["ratio"] == 3


def test_a_lower_bound_and_how_far_a_peer_is_behind_are_targets_too():
    assert Figure(figure="rate", value=9, unit="1/s", at_least=10).met is False
    assert Figure(figure="rate", value=10, unit="1/s", at_least=10).met is True
    near = Figure(figure="cost", unit="µs", value=60, against="slow", against_value=800, peer_at_least=15)
    assert near.met is False
    assert replace(near, against_value=960).met is True


def test_what_is_far_apart_is_shown_as_a_fraction_and_what_was_skipped_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "KEPT", tmp_path / "benchmarks.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    figure = Figure(figure="cost", value=50, unit="µs", against="slow 1.0", against_value=10000, peer_at_least=150)
    report.keep("production", [figure.as_line(), Skipped(skipped="other", why="no network").as_line()], "bench")
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| cost | 50 µs | ≤ 1/150 x | yes | slow 1.0: 10000 µs | 1/200 x |" in page
    assert "Not measured: other; no network" in page


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
