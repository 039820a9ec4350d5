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
    """A measured value. `target` is an upper bound in the same unit; `against` is a peer's value in the same run.

    `max_ratio` is the target for `value / against`, where there is one.
    """

    figure: str
    value: float
    unit: str
    target: float | None = None
    against: str | None = None
    against_value: float | None = None
    max_ratio: float | None = None

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
        if self.max_ratio is not None and self.ratio is not None:
            checks.append(self.ratio <= self.max_ratio)
        return all(checks) if checks else None

    def as_line(self) -> dict[str, object]:
        """What is printed and kept."""
        fields = asdict(self) | {"met": self.met, "ratio": self.ratio}
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()}


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
        out += [_row(line) for line in figures]
        out.append("")
    return "\n".join(out)


def show(line: dict[str, object]) -> None:
    """Print a figure as soon as it is known."""
    print(json.dumps(line, ensure_ascii=False), file=sys.stdout, flush=True)  # noqa: T201


def _row(line: dict[str, object]) -> str:
    unit = line["unit"]
    target = [f"≤ {line['target']:g} {unit}"] if line["target"] is not None else []
    if line["max_ratio"] is not None:
        target.append(f"≤ {line['max_ratio']:g} x")
    against = f"{line['against']}: {line['against_value']:g} {unit}" if line["against_value"] else ""
    ratio = f"{line['ratio']:.2f} x" if line["ratio"] else ""
    met = {True: "yes", False: "no", None: ""}[line["met"]]  # type: ignore[index]
    return f"| {line['figure']} | {line['value']:g} {unit} | {', '.join(target)} | {met} | {against} | {ratio} |"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
