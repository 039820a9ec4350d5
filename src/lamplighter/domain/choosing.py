"""Which of a route's targets a request tries, in which order, and which of them can serve it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from lamplighter.domain.routing import Fit, Route, RouteTarget

BYTES_PER_TOKEN = 3
"""Of a request's body. English has more bytes to a token, source code and most other languages about so many, and the
JSON around them counts, too: a request is rather thought too large than too small."""

TOKENS_PER_ATTACHMENT = 1000
"""An image, a recording or a file, whose bytes say nothing about its tokens. (OpenAI counts 765 for a square image of
1024 pixels: platform.openai.com, "Images and vision".)"""

_HASH_BITS = 52


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a target now.

    `is_awake`: an upstream always is. `admitted`: its breaker lets an attempt through, and it did not ask to be left
    alone. `in_flight`: attempts under way. `full`: it takes no more of them at present.
    """

    is_awake: bool = True
    admitted: bool = True
    in_flight: int = 0
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a request asks of the target that serves it.

    `tokens`: its own and those of the longest answer it allows. `answer`: the latter alone, 0 where it does not say.
    """

    tokens: int = 0
    answer: int = 0
    tools: bool = False
    images: bool = False
    json_schema: bool = False


def order(
    route: Route, standing: Callable[[str], Standing], *, sticky: str | None, draw: float
) -> Sequence[RouteTarget]:
    """The targets to try, first to last. Never empty.

    Tiers come in their order. Within a tier those that are awake come first, and then: with a `sticky` value always the
    same for it, whichever others come and go; without one the least loaded for its weight, and by chance (`draw`, from
    0 up to 1, weights counted) where that is equal. What is full or not admitted is left out, unless that were all.
    """
    if len(route.tiers) == 1 and len(route.tiers[0]) == 1:
        return route.tiers[0]
    free: list[RouteTarget] = []
    for tier in route.tiers:
        free += _ranked(
            [(target, known) for target in tier if (known := standing(target.name)).admitted and not known.full],
            sticky,
            draw,
        )
    return free or _last_resort(route, standing, sticky, draw)


def _last_resort(
    route: Route, standing: Callable[[str], Standing], sticky: str | None, draw: float
) -> list[RouteTarget]:
    tiers = [[(target, standing(target.name)) for target in tier] for tier in route.tiers]
    return [target for tier in tiers for target in _ranked(tier, sticky, draw)]


def _ranked(tier: Sequence[tuple[RouteTarget, Standing]], sticky: str | None, draw: float) -> Iterable[RouteTarget]:
    if len(tier) < 2:
        return [target for target, _ in tier]
    if sticky is not None:
        ranked = sorted(tier, key=lambda pair: (not pair[1].is_awake, -_affinity(pair[0], sticky)))
    else:
        ranked = sorted(_drawn(tier, draw), key=_burden)  # equals stay as they were drawn
    return [target for target, _ in ranked]


def _burden(pair: tuple[RouteTarget, Standing]) -> tuple[bool, float]:
    target, standing = pair
    return not standing.is_awake, standing.in_flight / target.weight


def _drawn(tier: Sequence[tuple[RouteTarget, Standing]], draw: float) -> list[tuple[RouteTarget, Standing]]:
    """A random order in which each comes first as often as its weight says.

    One random number is enough: what of it did not decide is as random as the whole was.
    """
    left, result = list(tier), []
    while len(left) > 1:
        point = draw * sum(target.weight for target, _ in left)
        at = 0
        while at < len(left) - 1 and point >= left[at][0].weight:
            point -= left[at][0].weight
            at += 1
        chosen = left.pop(at)
        draw = min(point / chosen[0].weight, 1.0)
        result.append(chosen)
    return result + left


def _affinity(target: RouteTarget, sticky: str) -> float:
    """Weighted rendezvous hashing: the greatest wins, and nothing changes for those who did not choose what left."""
    key = f"{target.name}\0{target.model or ''}\0{sticky}".encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> (64 - _HASH_BITS)
    return -target.weight / math.log((drawn + 0.5) / (1 << _HASH_BITS))


def fits(fit: Fit, demands: Demands) -> str | None:
    """Why a target can't serve a request; None if it can."""
    if fit.context is not None and demands.tokens > fit.context:
        return f"about {demands.tokens} tokens are asked of it, and its context holds {fit.context}"
    if demands.tools and not fit.tools:
        return "it has no tools"
    if demands.images and not fit.images:
        return "it takes no images"
    if demands.json_schema and not fit.json_schema:
        return "it can't answer by a JSON schema"
    return None


class _Body(msgspec.Struct, gc=False):
    """What of an OpenAI-shaped body makes demands. The parts that may be large stay as they came."""

    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None


_decode = msgspec.json.Decoder(_Body).decode

# A quote within a JSON string stands behind a backslash, so that these are not found in what somebody wrote.
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image|image)"')
_SCHEMA = re.compile(rb'"type"\s*:\s*"json_schema"')
_ATTACHMENTS = (
    re.compile(rb";base64,[A-Za-z0-9+/=\\]{1000,}+"),  # a data URL
    re.compile(rb'data"\s*:\s*"[A-Za-z0-9+/=\\]{1000,}+'),  # `data` or `file_data`, as recordings and files come
)
_NOTHING = re.compile(rb"\s*(?:null|\[\s*\]|\{\s*\})?\s*")


def demands_of(body: bytes) -> Demands:
    """Read a request's demands: chat, completions, responses, messages and embeddings alike.

    Tokens are estimated: see BYTES_PER_TOKEN and TOKENS_PER_ATTACHMENT. A body that can't be read demands nothing: who
    serves it will say what is wrong with it.
    """
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Demands()
    images = sum(1 for part in (asked.messages, asked.input) for _ in _IMAGE.finditer(part))
    answer = _answer(asked)
    return Demands(
        tokens=_tokens(body, images) + answer,
        answer=answer,
        tools=not (_NOTHING.fullmatch(asked.tools) and _NOTHING.fullmatch(asked.functions)),
        images=images > 0,
        json_schema=bool(_SCHEMA.search(asked.response_format) or _SCHEMA.search(asked.text)),
    )


def _tokens(body: bytes, images: int) -> int:
    sizes = [match.end() - match.start() for pattern in _ATTACHMENTS for match in pattern.finditer(body)]
    return (len(body) - sum(sizes)) // BYTES_PER_TOKEN + max(images, len(sizes)) * TOKENS_PER_ATTACHMENT


def _answer(asked: _Body) -> int:
    given = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens)
    return max((value for value in given if isinstance(value, int) and value > 0), default=0)
