"""What commands have in common in their help."""

from __future__ import annotations

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def examples(*lines: str) -> str:
    """Examples for the end of a command's help, on lines of their own."""
    # The backspace keeps click from filling the lines up to a paragraph.
    return "\n".join(("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)))
