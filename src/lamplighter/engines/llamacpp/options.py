"""The process's options: written by the engine, given by a spec's `args`, read by the process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

POOLINGS = ("none", "mean", "cls", "last", "rank")


class BadOption(ValueError):
    """An option that does not exist or a value that it can't have; the text is argparse's."""


class Parser(argparse.ArgumentParser):
    """A parser that raises BadOption where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(message)


def tuning_parser(*, add_help: bool = False) -> Parser:
    """Parse what a spec's `args` may hold; where the process listens and what it loads is not theirs to say."""
    parser = Parser(
        prog="lamplighter.engines.llamacpp",
        description="Serves one GGUF model over HTTP: OpenAI chat, completions and embeddings.",
        add_help=add_help,
        allow_abbrev=False,
    )
    parser.add_argument(
        *("--ctx-size",), type=_count, default=8192, metavar="TOKENS", help="context, shared by the requests (8192)"
    )
    parser.add_argument("--parallel", type=_positive, default=4, metavar="N", help="requests at a time (4)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="processor threads (half the logical cores)")
    parser.add_argument(
        "--gpu-layers",
        type=_layers,
        default="all",
        metavar="N",
        help="'all' (default), 'auto' (what fits), or a number",
    )
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings, beside chat")
    parser.add_argument("--pooling", choices=POOLINGS, help="of embeddings: the model's own, else mean")
    parser.add_argument(
        "--cache-ram", type=_count, default=256, metavar="MIB", help="memory for the prompts of earlier requests (256)"
    )
    parser.add_argument(
        "--verbosity", type=int, default=1, choices=range(6), help="llama.cpp's log: 1 errors (default), 3 information"
    )
    return parser


def process_parser() -> Parser:
    """Parse the whole command line of the process."""
    parser = tuning_parser(add_help=True)
    parser.add_argument("--model", required=True, metavar="FILE", help="the GGUF file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, required=True)
    parser.add_argument("--alias", metavar="NAME", help="the model's name in answers (the file's name)")
    return parser


def check_tuning(args: Sequence[str]) -> None:
    """Raise BadOption where `args` can't be understood."""
    options, unknown = tuning_parser().parse_known_args(args)
    if unknown:
        known = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(vars(options)))
        raise BadOption(f"unknown: {' '.join(unknown)[:200]}; known: {known}")


def _count(text: str) -> int:
    return _at_least(0, text)


def _positive(text: str) -> int:
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def _layers(text: str) -> str:
    return text if text in ("all", "auto") else str(_count(text))


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)
