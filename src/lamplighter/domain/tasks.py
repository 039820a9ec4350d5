"""What models do, in the Hub's words, and the few words that people filter by. Pure.

The groups are those of the Hub's list of tasks (huggingface.co/tasks).
"""

from __future__ import annotations

KINDS = ("text", "image", "audio", "video", "multimodal", "embedding", "tabular", "other")
"""What `task=` takes beside a task's own name."""

_TEXT = (
    "conversational",
    "fill-mask",
    "question-answering",
    "summarization",
    "table-question-answering",
    "text-classification",
    "text-generation",
    "text2text-generation",
    "token-classification",
    "translation",
    "zero-shot-classification",
)
_IMAGE = (
    "depth-estimation",
    "image-classification",
    "image-feature-extraction",
    "image-segmentation",
    "image-to-3d",
    "image-to-image",
    "keypoint-detection",
    "mask-generation",
    "object-detection",
    "text-to-3d",
    "text-to-image",
    "unconditional-image-generation",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
)
_AUDIO = (
    "audio-classification",
    "audio-to-audio",
    "automatic-speech-recognition",
    "text-to-audio",
    "text-to-speech",
    "voice-activity-detection",
)
_VIDEO = ("image-to-video", "text-to-video", "video-classification", "video-to-video")
_EMBEDDING = ("feature-extraction", "sentence-embeddings", "sentence-similarity", "text-ranking")
_TABULAR = ("tabular-classification", "tabular-regression", "tabular-to-text", "time-series-forecasting")
_SEVERAL = {
    "any-to-any": ("multimodal", "text", "image", "audio"),
    "audio-text-to-text": ("multimodal", "text", "audio"),
    "document-question-answering": ("multimodal", "text", "image"),
    "image-text-to-text": ("multimodal", "text", "image"),
    "image-to-text": ("multimodal", "text", "image"),
    "video-text-to-text": ("multimodal", "text", "video"),
    "visual-document-retrieval": ("multimodal", "image"),
    "visual-question-answering": ("multimodal", "text", "image"),
}

_KINDS_OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TEXT, ("text",)),
    **dict.fromkeys(_IMAGE, ("image",)),
    **dict.fromkeys(_AUDIO, ("audio",)),
    **dict.fromkeys(_VIDEO, ("video",)),
    **dict.fromkeys(_EMBEDDING, ("embedding", "text")),
    **dict.fromkeys(_TABULAR, ("tabular",)),
    **_SEVERAL,
}

TASKS = tuple(sorted(_KINDS_OF))
"""The tasks that are known by name; the Hub may have others."""


def kinds_of(task: str | None) -> tuple[str, ...]:
    """The words that a task goes under, the first one being its modality."""
    return _KINDS_OF.get(task or "", ("other",))


def modality_of(task: str | None) -> str | None:
    """What a model of this task works on, in one word; None where the task is not told."""
    return None if task is None else kinds_of(task)[0]


def is_of(task: str | None, wanted: str) -> bool:
    """Whether a task is the one that is wanted, or of that kind."""
    return task == wanted or (task is not None and wanted in kinds_of(task))
