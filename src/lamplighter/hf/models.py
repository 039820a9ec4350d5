"""The Hub's listing of models: what to ask, and reading what is answered. Pure.

`GET /api/models` answers a bare array; `Link: <…>; rel="next"` leads on (huggingface.co/docs/hub/api).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from lamplighter.domain.model_filter import ModelFilter
from lamplighter.domain.offers import ModelRecord, ServedBy
from lamplighter.domain.tasks import KINDS, modality_of
from lamplighter.errors import InvalidInput, ProviderError
from lamplighter.hf.hosts import host_of, same_origin
from lamplighter.hf.reading import Raw, flag, part, text, texts, whole

PATH = "/api/models"

SOURCE = "huggingface"

EXPANDED = (
    "downloads",
    "gated",
    "gguf",
    "inferenceProviderMapping",
    "library_name",
    "likes",
    "pipeline_tag",
    "safetensors",
    "tags",
)
"""What each item is to have; all else is left out."""

_SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "created": "createdAt",
    "modified": "lastModified",
}
_NEXT = re.compile(r"<([^>]{1,4000})>\s*;[^,]*\brel=\"?next\"?", re.IGNORECASE)
_OWN = frozenset({"search", "author", "pipeline_tag", "filter", "inference_provider", "sort", "limit", "expand"})
_MOST_FURTHER = 10
_MOST_TAGS = 100
_MOST_PROVIDERS = 100
_MOST_FORMATS = 20


def query_of(wanted: ModelFilter) -> str:
    """The query of the first page, or of the one that the cursor leads to. A kind of task is for the reader to sift.

    Raises InvalidInput for a cursor that no page told.
    """
    given = {
        "search": wanted.search,
        "author": wanted.author,
        "pipeline_tag": wanted.task if wanted.task not in KINDS else None,
        "filter": f"license:{wanted.license}" if wanted.license else None,
        "inference_provider": wanted.provider or ("all" if wanted.served else None),
        "sort": _SORTS[wanted.sort] if wanted.sort else None,
        "limit": str(wanted.limit),
    }
    pairs = [(key, value) for key, value in given.items() if value is not None]
    pairs += [("expand", name) for name in EXPANDED]
    return urlencode(pairs + _further(wanted.cursor))


def _further(cursor: str | None) -> list[tuple[str, str]]:
    """What a cursor adds to the query. What it must not change is not in one that we told."""
    if cursor is None:
        return []
    try:
        pairs = parse_qsl(cursor, strict_parsing=True, max_num_fields=_MOST_FURTHER)
    except ValueError:
        pairs = []
    if not pairs or any(key in _OWN for key, _ in pairs):
        raise InvalidInput("cursor: this is none that a page told; leave it out to begin anew", field="cursor")
    return pairs


def next_cursor(url: str, headers: Mapping[str, str]) -> str | None:
    """What leads on from the page at `url`: what the link to the next one has beyond that; None on the last page.

    `headers` have lower-case names. Raises ProviderError where the next page is at another host, or another route: the
    token goes along, and must not be led elsewhere.
    """
    found = _NEXT.search(headers.get("link", "")[:10_000])
    if found is None:
        return None
    onward = urljoin(url, found[1])
    if not same_origin(url, onward) or urlsplit(onward).path.rstrip("/") != urlsplit(url).path.rstrip("/"):
        raise ProviderError(f"{host_of(url)} goes on at {host_of(onward)}, which was not asked; that is not followed.")
    pairs = [(key, value) for key, value in parse_qsl(urlsplit(onward).query) if key.removesuffix("[]") not in _OWN]
    return urlencode(pairs[:_MOST_FURTHER]) or None


def models_of(body: Any, host: str) -> list[ModelRecord]:
    """Read a page. What has no id is left out, what nobody here knows is ignored.

    Raises ProviderError for what is no list, or holds nothing that is a model.
    """
    if not isinstance(body, list):
        raise ProviderError(f"{host} answered something that is no listing of models: no list.")
    found = [model for item in body if isinstance(item, dict) and (model := model_of(item)) is not None]
    if body and not found:
        raise ProviderError(f"{host} answered a listing in which nothing is a model.")
    return found


def model_of(raw: Raw) -> ModelRecord | None:
    """Read one item; None where it has no id."""
    name = text(raw, "id") or text(raw, "modelId")
    if name is None or len(name) > 300:
        return None
    task = text(raw, "pipeline_tag")
    tags = texts(raw, "tags")
    tensors, gguf = part(raw, "safetensors"), part(raw, "gguf")
    return ModelRecord(
        id=name,
        task=task,
        modality=modality_of(task),
        license=next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None),
        downloads=_count(raw, "downloads"),
        likes=_count(raw, "likes"),
        parameters=_count(tensors, "total") or _count(gguf, "total"),
        precision=_precision(part(tensors, "parameters")),
        context=_count(gguf, "context_length"),
        gated=bool(text(raw, "gated")) or flag(raw, "gated") is True,
        providers=tuple(_served(raw.get("inferenceProviderMapping"))),
        tags=tags[:_MOST_TAGS],
        source=SOURCE,
    )


def _count(raw: Raw, key: str) -> int | None:
    number = whole(raw, key)
    return number if number is not None and 0 <= number < 1 << 63 else None


def _precision(raw: Raw) -> Mapping[str, int]:
    sized = ((str(name)[:20], _count(raw, name)) for name in list(raw)[:_MOST_FORMATS])
    return {name: count for name, count in sized if count}


def _served(mapping: Any) -> Iterable[ServedBy]:
    """The mapping as an object by provider, or as an array: both are told."""
    if isinstance(mapping, dict):
        items = [(provider, item) for provider, item in mapping.items() if isinstance(item, dict)]
    elif isinstance(mapping, list):
        items = [(text(item, "provider") or "", item) for item in mapping if isinstance(item, dict)]
    else:
        return
    for provider, item in items[:_MOST_PROVIDERS]:
        if provider:
            yield ServedBy(
                provider=provider[:100],
                status=text(item, "status") or "",
                task=text(item, "task"),
                name=text(item, "providerId"),
                is_author=flag(item, "isModelAuthor") is True,
            )
