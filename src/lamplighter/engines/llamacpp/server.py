"""The process: checks what can be checked in milliseconds, loads the model, and serves until a signal comes.

llama.cpp's own HTTP server listens from the first moment and answers /health with 503 until the model is there.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamplighter.engines.gguf import BadGguf, Header, read_header
from lamplighter.engines.llamacpp.options import BadOption, process_parser
from lamplighter.engines.llamacpp.stopping import exit_on_signals

# The largest input of an embedding request, in tokens: llama.cpp pools over one physical batch only.
_EMBEDDING_BATCH = 2048
_ALL_LAYERS = 9999
_WHATEVER_FITS = -1


class _CannotStart(Exception):
    """Why the process ends; a person reads the text."""


def main(args: Sequence[str]) -> int:
    """Serve until a signal ends the process. Returns 2 for a wrong command line, 1 when it can't start."""
    try:
        options = process_parser().parse_args(args)
    except BadOption as error:
        _say(str(error))
        return 2
    try:
        _serve(options)
    except _CannotStart as error:
        _say(str(error))
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"llamacpp: {line}\n")
    sys.stderr.flush()


def _serve(options: argparse.Namespace) -> None:
    began = time.monotonic()
    header = _read_model(Path(options.model))
    _check_address(options.host, options.port)
    server = _start(options, header)
    # Loading has put llama.cpp's handlers in place of ours. A signal in the microseconds between is taken for a
    # wish to stop serving, without ending the process; who sent it must follow with SIGKILL, as for any hung engine.
    exit_on_signals(loading=False)
    _say(f"ready on {server.listening_address} after {time.monotonic() - began:.2f} s: {options.model}")
    threading.Event().wait()


def _read_model(path: Path) -> Header:
    try:
        return read_header(path)
    except BadGguf as error:
        raise _CannotStart(f"the model {path} {error}") from None
    except FileNotFoundError:
        raise _CannotStart(f"there is no model file {path}") from None
    except (OSError, ValueError) as error:
        raise _CannotStart(f"the model {path} can't be read: {error}") from None


def _check_address(host: str, port: int) -> None:
    """Find out before loading, and in better words than llama.cpp's, that the address can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _CannotStart(f"can't listen on {host}:{port}: {error.strerror or error}") from None


def _start(options: argparse.Namespace, header: Header) -> Any:
    try:
        import xllamacpp  # noqa: PLC0415 - after the checks, whose messages then come sooner
    except ImportError as error:
        raise _CannotStart(f"xllamacpp is not usable ({error}); pip install 'lamplighter[llamacpp]'") from None
    try:
        return xllamacpp.Server(_parameters(xllamacpp, options, header))
    except RuntimeError:
        raise _CannotStart(f"llama.cpp could not serve {options.model}; its reasons stand above") from None


def _parameters(xllamacpp: Any, options: argparse.Namespace, header: Header) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias or Path(options.model).stem}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.kv_unified = True  # a request may fill the whole context while the others are idle
    params.cache_ram_mib = options.cache_ram
    params.verbosity = options.verbosity
    # Threads that share a core with anything else wait for each other: with one per logical core a busy machine crawls.
    threads = options.threads or max(1, (os.cpu_count() or 2) // 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    _set_gpu_layers(params, options.gpu_layers)
    _close_doors(params)
    if options.embeddings:
        _set_embeddings(xllamacpp, params, options.pooling or _own_pooling(header))
    return params


def _set_gpu_layers(params: Any, layers: str) -> None:
    # Fitting reads the model twice, which is a third of a small model's start; so only where it is asked for.
    params.fit_params = layers == "auto"
    params.n_gpu_layers = {"all": _ALL_LAYERS, "auto": _WHATEVER_FITS}.get(layers) or int(layers)


def _close_doors(params: Any) -> None:
    """Leave what the gateway needs: no page, no view of other people's prompts, no calls from any web page."""
    params.ui = False
    params.endpoint_slots = False
    params.cors_origins = "localhost"


def _set_embeddings(xllamacpp: Any, params: Any, pooling: str | None) -> None:
    params.embedding = True
    params.n_batch = params.n_ubatch = _EMBEDDING_BATCH
    if pooling is not None:
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")


def _own_pooling(header: Header) -> str | None:
    """Leave the choice to a model that was made for embeddings; take the mean over a chat model's tokens."""
    return None if any(key.endswith(".pooling_type") for key in header.keys) else "mean"
