"""What is on this machine: configuration, engines, folders."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lamplighter.cli.checking import check_engines
from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.show.words import count
from lamplighter.config import Settings, find, load
from lamplighter.engines.presets import PRESETS
from lamplighter.errors import ConfigError
from lamplighter.sdk.folders import state_folder

_PATIENCE = 10.0
_LITTLE = 2e9
"""Bytes: less free than that is no room for a small model."""


def configuration() -> tuple[Finding, Settings | None]:
    """Find and check lamplighter.yaml."""
    try:
        path = find(os.environ)
    except ConfigError:  # it raises for nothing but that there is none
        return note("configuration", "there is none, and none is needed for Hugging Face", "`lamplighter init`"), None
    try:
        settings = load(path)
        check_engines(settings)
    except ConfigError as error:
        return bad("configuration", error.message, "`lamplighter config check` tells all that is wrong"), None
    number = count(len(settings.specs()), "endpoint")
    return good("configuration", f"{number} ({settings.source})"), settings


def engines(settings: Settings | None) -> Iterator[Finding]:
    """Which engines could run here; a missing one is wrong only where the configuration names it."""
    specs = settings.specs().values() if settings else ()
    wanted = {spec.engine.engine for spec in specs if spec.remote is None and not spec.engine.command}
    if importlib.util.find_spec("xllamacpp"):
        yield good("engine", "llamacpp is installed")
    else:
        yield _missing("llamacpp", wanted, "pip install 'lamplighter[llamacpp]'")
    for key, preset in PRESETS.items():
        words = (*preset.command, *preset.args)
        if not words or (words[1:2] == ("-m",) and key not in wanted):
            continue  # to look for a module takes a Python of its own
        if found := _program(words):
            yield good("engine", f"{key} is installed: {found}")
        elif key in wanted:
            yield _missing(key, wanted, preset.hint)


def _program(command: Sequence[str]) -> str | None:
    """Where the program is; of `python -m module` whether that Python has the module."""
    found = shutil.which(command[0])
    if found is None or command[1:2] != ("-m",):
        return found
    module = command[2].partition(".")[0]
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    try:
        done = subprocess.run([found, "-c", look], timeout=_PATIENCE, capture_output=True, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"{module} of {found}" if done.returncode == 0 else None


def _missing(key: str, wanted: set[str], advice: str) -> Finding:
    if key in wanted:
        return bad("engine", f"{key} is not installed, and the configuration wants it", advice)
    return note("engine", f"{key} is not installed", advice)


def folders(settings: Settings | None) -> Iterator[Finding]:
    """Whether state can be written, and whether there is room."""
    chosen = {state_folder(), *([Path(settings.server.data)] if settings else [])}
    for folder in sorted(chosen):
        yield _writable(folder)


def _writable(folder: Path) -> Finding:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return bad(
            "folder", f"{folder} can't be written to: {error.strerror}", "mend its rights, or set XDG_STATE_HOME"
        )
    said = f"{folder} can be written to; {free / 1e9:.1f} GB are free there"
    return note("folder", said, "models may need more") if free < _LITTLE else good("folder", said)
