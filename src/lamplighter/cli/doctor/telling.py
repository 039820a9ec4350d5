"""How findings are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lamplighter.cli.doctor.findings import Finding, Verdict, exit_code
from lamplighter.cli.show.output import out, pick
from lamplighter.cli.show.printing import print_json
from lamplighter.cli.show.words import count

_LOOKS = {
    Verdict.GOOD: ("green", "✓", "ok"),
    Verdict.NOTE: ("yellow", "·", "--"),
    Verdict.BAD: ("red", "✗", "!!"),
}


def tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them: a line each, with what to do below."""
    if as_json:
        print_json(
            {
                "ok": exit_code(findings) == 0,
                "findings": [
                    {key: value for key, value in dataclasses.asdict(one).items() if key != "of_token"}
                    for one in findings
                ],
            }
        )
        return
    console = out()
    console.print(_table(console, findings))
    wrong = sum(1 for one in findings if one.verdict is Verdict.BAD)
    console.print(Text(f"{count(wrong, 'thing')} to mend" if wrong else "Nothing is wrong", style="bold"))


def _table(console: Console, findings: Sequence[Finding]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    before = ""
    for one in findings:
        look, fine, plain = _LOOKS[one.verdict]
        said = Text(one.said)
        if one.advice and one.verdict is not Verdict.GOOD:
            said.append(f"\n{pick(console, '→', '->')} {one.advice}", style="dim")
        grid.add_row(Text(pick(console, fine, plain), style=look), "" if one.check == before else one.check, said)
        before = one.check
    return grid
