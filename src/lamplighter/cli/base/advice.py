"""Commands that texts advise, completed with the options that led here.

`lamplighter stop chat` typed after `lamplighter status chat --server URL` would act somewhere else.
"""

from __future__ import annotations

import re

import click

from lamplighter.cli.base.lazy import Session

_COMMAND = re.compile(r"`lamplighter ([^`]+)`")
_SETTLED = re.compile(r" (--server|--cloud|--token-file|--help)(?= |$)")
_ELSEWHERE = frozenset({"serve", "init", "demo", "config", "completion"})


def remember_options(options: str) -> None:
    """Keep what says where this command acts, as it would be typed again."""
    if (context := click.get_current_context(silent=True)) and (session := context.find_object(Session)):
        session.where_options = options


def completed(text: str) -> str:
    """Complete the commands in a text that is shown now."""
    context = click.get_current_context(silent=True)
    session = context.find_object(Session) if context else None
    return complete(text, session.where_options) if session else text


def complete(text: str, options: str) -> str:
    """Give each command in backquotes these options, unless it says itself where it acts, or acts nowhere."""

    def whole(found: re.Match[str]) -> str:
        words = found[1]
        settled = _SETTLED.search(words) or words.split()[0] in _ELSEWHERE
        return found[0] if settled else f"`lamplighter {words}{options}`"

    return _COMMAND.sub(whole, text) if options else text
