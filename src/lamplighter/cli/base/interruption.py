"""Being told to end: by Ctrl-C, or by SIGTERM."""

from __future__ import annotations

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

TERMINATED = 143
"""The same of SIGTERM."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and is told in the same words as Ctrl-C."""


def exit_code(error: BaseException) -> int:
    """What to exit with after an interruption."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
