"""How many connections the operating system lets this process have."""

from __future__ import annotations

import contextlib
import resource

# A client's connection may need one more to its endpoint.
_PER_CONNECTION = 2
# What the process has open besides: the database, logs, pipes of engines, listeners, libraries.
_OTHERS = 256
_AT_LEAST = 16


def raise_file_limit(connections: int) -> None:
    """Let this process have as many files open as so many client connections need, as far as it may.

    For a process of our own: what it starts inherits the limit.
    """
    wanted = connections * _PER_CONNECTION + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower bound than they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_possible(wanted: int) -> int:
    """At most `wanted`, and so many that requests which were let in find a descriptor for their endpoint.

    Without one an endpoint that is well would look as if it could not be reached.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(_AT_LEAST, (soft - _OTHERS) // _PER_CONNECTION))
