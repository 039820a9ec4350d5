"""Asking whoever sits there. Imports nothing: the command line loads it before it knows what it is for."""

from __future__ import annotations


class Terminal:
    """Whether a person may be asked. A library must not stop the program that it is part of to ask something."""

    allowed = False


def ask_person(text: str) -> str:
    """Ask, unseen, past all redirections."""
    import getpass  # noqa: PLC0415 - see above

    return getpass.getpass(f"{text}: ")


def is_somebody_there() -> bool:
    """Whether there is a terminal, and what is asked is seen on it."""
    import os  # noqa: PLC0415 - see above
    import sys  # noqa: PLC0415

    if not Terminal.allowed or not sys.stderr.isatty():
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
