"""The two clocks: one to decide with, one to tell people."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """`now` never goes back and counts seconds for decisions; `wall` is Unix time for records and people.

    `now` is the event loop's own time, so a loop with simulated time carries everything with it.
    """

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return time.time()
