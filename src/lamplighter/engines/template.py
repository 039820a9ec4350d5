"""Fills in the words of a command. Only the four known names are replaced, so that JSON arguments keep their braces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lamplighter.errors import InvalidInput

_PLACEHOLDER = re.compile(r"\{(host|model|name|port)\}")

# The shapes of Hugging Face, OpenAI and GitHub tokens. Every user of a machine can read the arguments of a process.
_TOKEN = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,})")


def fill(words: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Replace `{host}`, `{model}`, `{name}` and `{port}`, each word once; a name without a value stays as it is."""
    return tuple(_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word) for word in words)


def uses(words: Iterable[str], name: str) -> bool:
    """Tell whether `{name}` occurs in any of the words."""
    return any(f"{{{name}}}" in word for word in words)


def check_words(words: Iterable[str], *, field: str) -> None:
    """Raise InvalidInput where a word can't be an argument, or holds what looks like an access token."""
    for word in words:
        if "\0" in word:
            raise InvalidInput(f"{field}: an argument can't hold a NUL character.", field=field)
        if _TOKEN.search(word):
            raise InvalidInput(
                f"{field}: there is what looks like an access token, and arguments can be read by every user of the "
                f"machine. Put it into `env`, or export it before Lamplighter starts.",
                field=field,
            )
