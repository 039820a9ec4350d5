"""What the doctor finds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How a check came out. `note`: nothing is wrong, and something is worth knowing."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was seen, and what to do about it. `of_token`: the token is to blame."""

    check: str
    verdict: Verdict
    said: str
    advice: str | None = None
    of_token: bool = False


def good(check: str, said: str, advice: str | None = None) -> Finding:
    """All is well."""
    return Finding(check=check, verdict=Verdict.GOOD, said=said, advice=advice)


def note(check: str, said: str, advice: str | None = None) -> Finding:
    """Worth knowing."""
    return Finding(check=check, verdict=Verdict.NOTE, said=said, advice=advice)


def bad(check: str, said: str, advice: str | None = None, *, of_token: bool = False) -> Finding:
    """Wrong, with what to do about it."""
    return Finding(check=check, verdict=Verdict.BAD, said=said, advice=advice, of_token=of_token)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 when nothing is wrong, 4 when it is the token, 1 for anything else."""
    wrong = [finding for finding in findings if finding.verdict is Verdict.BAD]
    if not wrong:
        return 0
    return 4 if any(finding.of_token for finding in wrong) else 1
