"""`python -m tests.bench [--only gateway,hold] [--write]`: one JSON line per figure.

A group is a module of this package with `measure() -> Iterator[Figure]`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys

from tests.bench import report

GROUPS = ("gateway", "hold", "fleet", "cli", "sdk")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"comma-separated groups out of {', '.join(GROUPS)}")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/benchmarks.md")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.only.split(",") if name] or [name for name in GROUPS if _exists(name)]
    for name in wanted:
        if name not in GROUPS or not _exists(name):
            parser.error(f"there is no group {name!r}; there are: {', '.join(filter(_exists, GROUPS))}")
    for name in wanted:
        _run(name, write=arguments.write)
    return 0


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"tests.bench.{name}") is not None


def _run(name: str, *, write: bool) -> None:
    lines = []
    for figure in importlib.import_module(f"tests.bench.{name}").measure():
        lines.append(figure.as_line())
        report.show(lines[-1])
    if write:
        report.keep(name, lines, f"python -m tests.bench --only {name}")


if __name__ == "__main__":
    sys.exit(main())
