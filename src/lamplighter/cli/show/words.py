"""Times and counts in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Write a measured time: 0.93 s, 4.2 s, 42 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 1:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return whole(seconds)


def whole(seconds: float) -> str:
    """Write a time in whole seconds, or in its two largest units: what counts down should not flicker."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            rest = left % size // small
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError(seconds)


def ago(seconds: float) -> str:
    """Write how long ago something was, in its largest unit: 3 min ago."""
    if seconds < 2:
        return "just now"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def count(number: int, thing: str) -> str:
    """Write a number of things: 1 endpoint, 2 endpoints."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def one_line(text: str) -> str:
    """Take the first line, without anything that a terminal would take for a command."""
    first = text.strip().partition("\n")[0]
    return "".join(char if char.isprintable() else " " for char in first)
