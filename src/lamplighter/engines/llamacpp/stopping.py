"""How the process ends: at once and with exit code 0, on SIGTERM and SIGINT, whatever it is doing.

xllamacpp keeps the interpreter's lock while it loads, for minutes with a large model, so a handler in Python would
come too late; and its own handlers stop the server without ending the process. So the handler is C's `quick_exit`,
which C11 (7.14.1.1) allows there. It would give the signal's number as exit code; what it runs first ends with 0.
Nothing is lost by leaving so: the process holds no state, and whoever stops it has drained it.
"""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def exit_on_signals(*, loading: bool) -> None:
    """Let SIGTERM and SIGINT end the process; to be called before loading and again after it.

    Without glibc there is no such handler from C: a signal during loading then ends the process as usual (the exit
    code tells the signal), and one after it with exit code 0.
    """
    if _exit_from_c():
        return
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL if loading else _exit_from_python)


def _exit_from_c() -> bool:
    try:
        libc = ctypes.CDLL(None)
        quick_exit = ctypes.cast(libc["quick_exit"], ctypes.c_void_p)
        # glibc calls the function with one argument, NULL: `_exit(0)`. Registered twice, the second never runs.
        libc["__cxa_at_quick_exit"](ctypes.cast(libc["_exit"], ctypes.c_void_p), None)
    except (AttributeError, OSError, TypeError):
        return False
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    for number in _SIGNALS:
        libc.signal(number, quick_exit)
    return True


def _exit_from_python(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(0)
