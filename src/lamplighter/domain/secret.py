"""A text that must not be shown: a token, a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from lamplighter.errors import InvalidInput

HIDDEN = "[redacted]"


class Secret:
    """Holds a secret text and shows `[redacted]` wherever it is printed, formatted or logged.

    It can't be pickled, and `json` refuses it like any object. Equal to a Secret of the same text, never to the text
    itself. Raises InvalidInput when the text is empty.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise InvalidInput("a secret must not be empty")
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._value

    def scrub(self, text: str) -> str:
        """`text` with every occurrence of the secret blacked out."""
        return text.replace(self._value, HIDDEN)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise TypeError("a Secret is not pickled: it would be written out in plain text")


class SecretTexts(Mapping[str, str]):
    """Texts by name, some of which hold secrets: variables for an engine, headers for an upstream.

    Whoever takes one out has it as it is; printed, formatted or logged as a whole it shows the names alone. It can't be
    pickled, `json` refuses it like any object, and it is never changed. Equal to any mapping of the same texts.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._texts = dict(texts or {})

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"SecretTexts({', '.join(f'{name}={HIDDEN}' for name in self._texts)})"

    def __copy__(self) -> SecretTexts:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> SecretTexts:
        return self

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise TypeError("SecretTexts are not pickled: they would be written out in plain text")
