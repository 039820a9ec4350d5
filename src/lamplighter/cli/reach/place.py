"""Where a command acts: at Hugging Face, or at a Lamplighter server."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lamplighter.cli.base.interruption import Terminated
from lamplighter.cli.reach.connection import DEFAULT_URL, normal_url
from lamplighter.errors import InvalidInput, NotAllowed, TokenMissing

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient

_KEY = "LAMPLIGHTER_KEY"
_URL = "LAMPLIGHTER_URL"
_PROBE_PATIENCE = 0.5

T = TypeVar("T")

NO_WAY = (
    "there is nowhere to act: for Hugging Face set HF_TOKEN (or run `hf auth login`, or give --token-file); for a "
    f"Lamplighter server start one with `lamplighter serve`, set {_URL}, or give --server"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server at `url`, or Hugging Face for None. `key` opens it; without one the environment's is taken."""

    url: str | None
    key: str | None = field(default=None, repr=False)
    namespace: str | None = None

    @property
    def is_cloud(self) -> bool:
        """Whether this is Hugging Face."""
        return self.url is None

    @property
    def title(self) -> str:
        """For people: what answers there."""
        where = f"the Lamplighter at {self.url}" if self.url else "Hugging Face"
        return f"{where}, namespace {self.namespace}" if self.namespace else where

    @property
    def options(self) -> str:
        """What leads here from any terminal, behind a verb and a name."""
        where = f" --server {shlex.quote(self.url)}" if self.url else " --cloud"
        return f"{where} -n {shlex.quote(self.namespace)}" if self.namespace else where

    def client(self) -> AsyncClient:
        """A client for it, to be used as an asynchronous context."""
        from lamplighter.sdk.client import AsyncClient  # noqa: PLC0415 - help should not pay for it

        return AsyncClient(self.url, token=self.key, namespace=self.namespace)

    def run(self, action: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Do something with a client, from a synchronous command, and close it. Raises Terminated for a SIGTERM."""
        import asyncio  # noqa: PLC0415 - help should not pay for it

        terminated = False
        task: asyncio.Task[Any] | None = None

        def on_sigterm() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        async def whole() -> T:
            nonlocal task
            task = asyncio.current_task()
            if threading.current_thread() is threading.main_thread():  # signals reach no other one
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_sigterm)
            async with self.client() as client:
                return await action(client)

        tell_of_repetitions()
        try:
            return asyncio.run(whole())
        except asyncio.CancelledError:
            if terminated:
                raise Terminated from None
            raise


def tell_of_repetitions() -> None:
    """Say on standard error when an answer is late because the question has to be asked again."""
    import logging  # noqa: PLC0415 - help should not pay for it

    told = logging.getLogger("lamplighter.hf.wire")
    if not told.handlers:
        handler = logging.Handler()
        handler.emit = lambda record: click.echo(record.getMessage(), err=True)  # type: ignore[method-assign]
        told.addHandler(handler)
        told.setLevel(logging.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options of a command say of where it acts."""

    server: str | None = None
    cloud: bool = False
    namespace: str | None = None
    key_file: Path | None = None
    token_file: Path | None = None

    @property
    def options(self) -> str:
        """The same, as it would be typed behind a verb and a name."""
        given = (("--server", self.server), ("-n", self.namespace), ("--key-file", self.key_file))
        words = ["--cloud"] if self.cloud else []
        for option, value in (*given, ("--token-file", self.token_file)):
            words += [option, shlex.quote(str(value))] if value is not None else []
        return "".join(f" {word}" for word in words)


def find_place(asked: Asked) -> Place:
    """Settle where to act: as told; else where LAMPLIGHTER_URL says; else a server on this machine; else Hugging Face.

    Raises InvalidInput for options that contradict each other, NotAllowed for a key file of no use, TokenMissing.
    """
    at_cloud = asked.cloud or asked.token_file is not None
    if at_cloud and (asked.server or asked.key_file):
        raise InvalidInput(
            "--cloud and --token-file are for Hugging Face, --server and --key-file for a server: choose"
        )
    if at_cloud:
        return Place(None, read_secret(asked.token_file, "token") if asked.token_file else None, asked.namespace)
    if url := asked.server or os.environ.get(_URL, "").strip():
        return Place(normal_url(url), read_key(asked.key_file), asked.namespace)
    if asked.key_file or is_lamplighter(DEFAULT_URL):
        return Place(DEFAULT_URL, read_key(asked.key_file), asked.namespace)
    if not has_token():
        raise TokenMissing(NO_WAY)
    return Place(None, None, asked.namespace)


def has_token() -> bool:
    """Whether there is any token for Hugging Face."""
    from lamplighter.hf.token import find_cloud_token  # noqa: PLC0415 - only where there is no server

    return find_cloud_token() is not None


def is_lamplighter(url: str) -> bool:
    """Whether a Lamplighter answers on this machine. Where nobody listens that is known at once."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_PROBE_PATIENCE)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(10_000))
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and answer.get("status") == "ok" and "version" in answer


def read_key(file: Path | None) -> str | None:
    """Find the key. It is never an argument: those are for everybody on the machine to read. Raises NotAllowed."""
    return os.environ.get(_KEY, "").strip() or None if file is None else read_secret(file, "key")


def read_secret(file: Path, what: str) -> str:
    """Read a key or a token out of a file. Raises NotAllowed."""
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise NotAllowed(f"the {what} file {file} can't be read: {reason}") from error
    if not secret:
        raise NotAllowed(f"the {what} file {file} is empty")
    return secret
