"""Standard streams that whoever started us has closed (`>&-`), and a reader that has gone."""

from __future__ import annotations

import os
import sys

_MODES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def fill_in() -> None:
    """Put nothing (`/dev/null`) where a standard stream is closed.

    Without it a lock or a connection would get its number, and what is meant for people would go there.
    """
    for number, (name, mode) in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, and so this one
            os.set_inheritable(opened, True)  # a command that we run has the stream as well
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open


def forget_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail a second time at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
