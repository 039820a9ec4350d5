"""The page's own files, from memory, under addresses that change with their content."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from lamplighter.web.paths import ASSETS

_TYPES = {".js": b"text/javascript; charset=utf-8", ".css": b"text/css; charset=utf-8", ".svg": b"image/svg+xml"}
_FOLDERS = ("assets", "screens")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: its media type, and its content as it is and compressed."""

    media: bytes
    content: bytes
    zipped: bytes


class Assets:
    """Reads all files once; a restart takes others."""

    def __init__(self) -> None:
        self._files = dict(_read(resources.files("lamplighter.web")))
        digest = hashlib.sha256()
        for name, asset in sorted(self._files.items()):
            digest.update(name.encode() + b"\0" + asset.content + b"\0")
        self.base = f"{ASSETS}{digest.hexdigest()[:16]}/"
        """Where they are: an address that no other content ever has."""

    def find(self, path: str) -> Asset | None:
        """The file at an address."""
        return self._files.get(path.removeprefix(self.base)) if path.startswith(self.base) else None

    def named(self, ending: str) -> list[str]:
        """The addresses of all files whose names end so."""
        return [self.base + name for name in sorted(self._files) if name.endswith(ending)]


def _read(package: Traversable) -> Mapping[str, Asset]:
    found: dict[str, Asset] = {}
    for folder in _FOLDERS:
        _walk(package.joinpath(folder), f"{folder}/", found)
    return found


def _walk(folder: Traversable, prefix: str, found: dict[str, Asset]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _walk(entry, f"{prefix}{entry.name}/", found)
            continue
        media = _TYPES.get("." + entry.name.rpartition(".")[2])
        if media is not None:
            content = entry.read_bytes()
            found[prefix + entry.name] = Asset(media, content, gzip.compress(content, mtime=0))
