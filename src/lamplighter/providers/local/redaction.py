"""Keeping secrets out of what engines are quoted with."""

from __future__ import annotations

from lamplighter.domain.endpoint import EngineSpec

_SHORTEST = 8


class Redactor:
    """Hides the values of an engine's variables and headers. Paths and short values (a number, a flag) are shown."""

    def __init__(self, spec: EngineSpec) -> None:
        values = {*spec.env.values(), *spec.headers.values()}
        values |= {value.removeprefix("Bearer ") for value in spec.headers.values()}
        secret = [value for value in values if len(value) >= _SHORTEST and not value.startswith("/")]
        self._secrets = sorted(secret, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text
