"""One figure as a line of JSON, and all of them as a page."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / "benchmarks.json"
PAGE = DOCS / "benchmarks.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value. `target` is an upper bound in the same unit, `at_least` a lower one.

    `against` is a peer's value in the same run; `max_ratio` is the target for `value / against`, `peer_at_least` the one
    for `against / value`.
    """

    figure: str
    value: float
    unit: str
    target: float | None = None
    at_least: float | None = None
    against: str | None = None
    against_value: float | None = None
    max_ratio: float | None = None
    peer_at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value in units of the peer's."""
        return self.value / self.against_value if self.against_value else None

    @property
    def met(self) -> bool | None:
        """Whether all targets are met; None where there is none."""
        checks = []
        if self.target is not None:
            checks.append(self.value <= self.target)
        if self.at_least is not None:
            checks.append(self.value >= self.at_least)
        if self.max_ratio is not None and self.ratio is not None:
            checks.append(self.ratio <= self.max_ratio)
        if self.peer_at_least is not None and self.ratio is not None:
            checks.append(self.ratio * self.peer_at_least <= 1)
        return all(checks) if checks else None

    def as_line(self) -> dict[str, object]:
        """What is printed and kept."""
        fields = asdict(self) | {"met": self.met, "ratio": self.ratio}
        return {key: _short(value) if isinstance(value, float) else value for key, value in fields.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What could not be measured here, and why."""

    skipped: str
    why: str

    def as_line(self) -> dict[str, object]:
        """What is printed and kept."""
        return asdict(self)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def keep(group: str, lines: list[dict[str, object]], command: str) -> None:
    """Write a group's figures to the page; those of other groups stay as they were."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    kept[group] = {"date": when, "command": command, "machine": machine(), "figures": lines}
    DOCS.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    PAGE.write_text(render(kept))


def render(kept: dict[str, dict[str, object]]) -> str:
    """The page, from what is kept."""
    out = ["# Benchmarks", "", "Written by `python -m tests.bench --write`; figures, not pass/fail tests.", ""]
    for group, run in sorted(kept.items()):
        box = run["machine"]
        assert isinstance(box, dict)
        where = ", ".join(f"{key}: {value}" for key, value in box.items())
        out += [f"## {group}", "", f"`{run['command']}`, {run['date']}; {where}", ""]
        out += ["| figure | value | target | met | against | ratio |", "|---|---|---|---|---|---|"]
        figures = run["figures"]
        assert isinstance(figures, list)
        out += [_row(line) for line in figures if "figure" in line]
        out += [f"\nNot measured: {line['skipped']}; {line['why']}" for line in figures if "skipped" in line]
        out.append("")
    return "\n".join(out)


def show(line: dict[str, object]) -> None:
    """Print a figure as soon as it is known."""
    print(json.dumps(line, ensure_ascii=False), file=sys.stdout, flush=True)  # noqa: T201


def _row(line: dict[str, object]) -> str:
    unit = line["unit"]
    bounds = (
        ("target", "≤ {:g} " + str(unit)),
        ("at_least", "≥ {:g} " + str(unit)),
        ("max_ratio", "≤ {:g} x"),
        ("peer_at_least", "≤ 1/{:g} x"),
    )
    target = [text.format(line[key]) for key, text in bounds if line.get(key) is not None]
    against = f"{line['against']}: {line['against_value']:g} {unit}" if line["against_value"] else ""
    ratio = _ratio(float(str(line["ratio"]))) if line["ratio"] else ""
    met = {True: "yes", False: "no", None: ""}[line["met"]]  # type: ignore[index]
    return f"| {line['figure']} | {line['value']:g} {unit} | {', '.join(target)} | {met} | {against} | {ratio} |"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f} x" if ratio >= 0.1 else f"1/{1 / ratio:.0f} x"


def _short(value: float) -> float:
    """Three places, or three digits of what is smaller."""
    return round(value, 3) if abs(value) >= 0.1 else float(f"{value:.3g}")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
