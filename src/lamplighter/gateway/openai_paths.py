"""The paths of OpenAI's surface that are known by name."""

from __future__ import annotations

POSTED = frozenset(
    f"/v1/{path}"
    for path in (
        "chat/completions",
        "completions",
        "embeddings",
        "responses",
        "rerank",
        "score",
        "classify",
        "moderations",
        "messages",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "images/generations",
        "images/edits",
    )
)
"""What is POSTed there works on the body alone. Endpoints are asked for other paths as well, upstreams are not."""
