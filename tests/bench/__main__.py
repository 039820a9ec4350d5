"""`python -m tests.bench [--only gateway,hold] [--write]`: one JSON line per figure.

A group is a module of this package with `measure() -> Iterator[Figure | Skipped]`. The long one, `soak`, runs when it is
named alone; `--minutes` and `--rate` are for it.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from tests.bench import report

GROUPS = ("gateway", "hold", "fleet", "cli", "sdk", "production", "costs", "page")
LONG = "soak"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"comma-separated groups out of {', '.join((*GROUPS, LONG))}")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/benchmarks.md")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the soak lasts")
    parser.add_argument(
        "--rate", type=float, help="requests per second of the soak; half of what is borne if not given"
    )
    arguments = parser.parse_args()
    wanted = [name for name in arguments.only.split(",") if name] or list(GROUPS)
    for name in wanted:
        if name not in (*GROUPS, LONG):
            parser.error(f"there is no group {name!r}; there are: {', '.join((*GROUPS, LONG))}")
    for name in wanted:
        options = {"minutes": arguments.minutes, "rate": arguments.rate} if name == LONG else {}
        _run(name, write=arguments.write, **options)
    return 0


def _run(name: str, *, write: bool, **options: float | None) -> None:
    lines = []
    for figure in importlib.import_module(f"tests.bench.{name}").measure(**options):
        lines.append(figure.as_line())
        report.show(lines[-1])
    if write:
        report.keep(name, lines, f"python -m tests.bench --only {name}")


if __name__ == "__main__":
    sys.exit(main())
