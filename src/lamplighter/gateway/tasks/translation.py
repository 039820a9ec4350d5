"""What a translation is: a request for the engine, and its answer in the client's form. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """A POST for the engine. `path` begins with a slash."""

    path: bytes
    body: bytes


class StreamTranslator(Protocol):
    """Turns an engine's stream into the client's, piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """What a piece of the engine's stream, cut anywhere, is for the client. Raises UpstreamError."""

    def end(self) -> bytes:
        """What is left to say when the engine's stream has ended. Raises UpstreamError when it was not at its end."""


class Translation(Protocol):
    """One request in task form, read and found right."""

    request: EngineRequest

    def stream(self) -> StreamTranslator | None:
        """A translator for the engine's stream, or None where the answer comes whole."""

    def answer(self, body: bytes) -> bytes:
        """The client's answer, of an engine's answer with status 200. Raises UpstreamError, TaskInvalid."""
