"""The two clocks: one to decide with, one to tell people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Clock:
    """`now` never goes back and counts seconds for decisions; `wall` is Unix time for records and people.

    `now` is the running event loop's own time, so a loop with simulated time carries everything with it. It is bound
    once: asking for the running loop costs a system call, and `now` is called at the end of every request.
    """

    now: Callable[[], float]

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time

    def wall(self) -> float:
        return time.time()
