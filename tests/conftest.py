"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import structlog

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, and programs that the tests start and interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A test that configures logging, as the command line does, does so for itself alone."""
    yield
    structlog.reset_defaults()


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: most tests wait for something."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)
