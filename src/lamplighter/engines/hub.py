"""Files from the Hugging Face Hub, through huggingface_hub: its cache, its token, its resumed downloads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lamplighter.engines.base import Progress
from lamplighter.errors import EngineError, InvalidInput, TokenMissing
from lamplighter.secrets.token_source import read_named

_SCHEME = "hf://"
_FORM = re.compile(r"hf://(?P<repo>[^/@\s]+/[^/@\s]+)(@(?P<revision>[^/\s]+))?/(?P<path>[^\s].*)")
_SHARD = re.compile(r"(?P<stem>.*)-00001-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file in a repository; `revision` is a branch, tag or commit (with `%2F` for a slash), None for the default."""

    repo: str
    path: str
    revision: str | None = None


def is_hub_ref(ref: str) -> bool:
    """Tell whether `ref` is meant to be a file on the Hub."""
    return ref.startswith(_SCHEME)


def parse_hub_ref(ref: str) -> HubFile:
    """Read `hf://owner/repo[@revision]/path/to/file`. Raises InvalidInput naming `model`."""
    found = _FORM.fullmatch(ref)
    if found is None:
        raise InvalidInput(
            f"model: {ref[:200]!r} is not of the form hf://owner/repo[@revision]/path/to/file.gguf.", field="model"
        )
    revision = found["revision"]
    return HubFile(repo=found["repo"], path=found["path"], revision=unquote(revision) if revision else None)


def fetch(file: HubFile, progress: Progress, *, endpoint: str | None = None) -> Path:
    """Bring the file here, and with the first part of a split GGUF the others. `endpoint` None means the user's own.

    Raises EngineError, permanent where the Hub does not have the file or does not let this user have it.
    """
    progress(f"fetching {file.path} from {file.repo}")
    first, *_ = [_fetch_one(file, path, endpoint) for path in _parts(file.path)]
    return first


def _parts(path: str) -> list[str]:
    found = _SHARD.fullmatch(path)
    if found is None:
        return [path]
    return [f"{found['stem']}-{n:05}-of-{found['count']}.gguf" for n in range(1, int(found["count"]) + 1)]


def _fetch_one(file: HubFile, path: str, endpoint: str | None) -> Path:
    import huggingface_hub  # noqa: PLC0415 - slow to import, and not needed for a local file
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        token = read_named()
        return Path(
            huggingface_hub.hf_hub_download(
                file.repo, path, revision=file.revision, endpoint=endpoint, token=token.reveal() if token else None
            )
        ).absolute()
    except TokenMissing as error:
        raise EngineError(f"{path} could not be fetched: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - the one boundary: every error of theirs becomes one of ours
        raise _translated(error, errors, file, path) from None


def _translated(error: Exception, errors: Any, file: HubFile, path: str) -> EngineError:
    """Say it in our words: the library's hold addresses and headers that do not help."""
    for kind, text, permanent in (
        (errors.GatedRepoError, f"{file.repo} is gated: accept its terms on the Hub and set HF_TOKEN", True),
        (errors.RevisionNotFoundError, f"{file.repo} has no revision {file.revision!r}", True),
        (errors.RemoteEntryNotFoundError, f"{file.repo} has no file {path!r}", True),
        (errors.RepositoryNotFoundError, f"there is no repository {file.repo}, or HF_TOKEN may not see it", True),
        (errors.HFValidationError, f"{file.repo!r} is not a repository's name", True),
        (errors.OfflineModeIsEnabled, "it is not in the cache, and HF_HUB_OFFLINE forbids to fetch it", True),
        (errors.LocalEntryNotFoundError, "the Hub can't be reached, and it is not in the cache", False),
    ):
        if isinstance(error, kind):
            return EngineError(f"{path} could not be fetched: {text}.", permanent=permanent)
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = f"the Hub answered {status}" if status else f"{type(error).__name__} while asking the Hub"
    return EngineError(f"{path} could not be fetched: {reason}.")
