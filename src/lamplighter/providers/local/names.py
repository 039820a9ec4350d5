"""Names of endpoints as names of files and folders."""

from __future__ import annotations

import hashlib
import re

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def file_name(name: str) -> str:
    """A name that is safe as a file name, readable, and never the same for two endpoints."""
    if _SAFE.fullmatch(name) and "--" not in name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name[:60]).strip("-")
    return f"{readable}--{digest}"
