"""Which of a route's targets a request tries, in which order, and which of them can serve it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

from lamplighter.domain.routing import Fit, Route, RouteTarget

BYTES_PER_TOKEN = 3
"""Of a request's body. English has more bytes to a token, source code and most other languages about so many, and the
JSON around them counts, too: a request is rather thought too large than too small."""

TOKENS_PER_ATTACHMENT = 1000
"""An image, a recording or a file, whose bytes say nothing about its tokens. (OpenAI counts 765 for a square image of
1024 pixels: platform.openai.com, "Images and vision".)"""

LOOKED_AT = 2 * 1024 * 1024
"""How many bytes of a request are searched for images and attachments, not counting the bytes of attachments. What lies
beyond is taken for text: by then more tokens are demanded than nearly any context holds."""

MOST_ATTACHMENTS = 1000
"""After so many images or attachments no more are looked for."""

_MOST_TOKENS = 2**40
"""That a request can say its answer may have: a larger number is no number of tokens."""

_HASH_BITS = 52


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a target now.

    `is_awake`: an upstream always is. `is_starting`: it is asleep, and on its way. `admitted`: its breaker lets an
    attempt through, and it did not ask to be left alone. `in_flight`: attempts under way. `full`: it takes no more of
    them at present.
    """

    is_awake: bool = True
    is_starting: bool = False
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
    route: Route, standing: Callable[[RouteTarget], Standing], *, sticky: str | None, draw: float
) -> Sequence[RouteTarget]:
    """The targets to try, first to last. Never empty.

    Tiers come in their order. Within a tier those that are awake come first, and then: with a `sticky` value always the
    same for it, whichever others come and go; without one the least loaded for its weight, and by chance (`draw`, from
    0 up to 1, weights counted) where that is equal. Of those that are asleep the one that is starting comes first, else
    the first of the tier. What is full or not admitted is left out, unless that were all.
    """
    if len(route.tiers) == 1 and len(route.tiers[0]) == 1:
        return route.tiers[0]
    free: list[RouteTarget] = []
    for tier in route.tiers:
        free += _ranked(
            [(target, known) for target in tier if (known := standing(target)).admitted and not known.full],
            sticky,
            draw,
        )
    return free or _last_resort(route, standing, sticky, draw)


@dataclass(frozen=True, slots=True)
class Bid:
    """What one more request is expected to cost at a target ($); None: not known. `why`: one word for people."""

    target: RouteTarget
    cost: float | None
    why: str


def by_cost(
    bids: Sequence[Bid], standing: Callable[[RouteTarget], Standing], *, sticky: str | None, draw: float
) -> list[Bid]:
    """The bids in the order in which their targets are tried: the cheapest first, the unknown last. Never empty.

    Where they cost the same it goes as among equals of a route. What is full comes behind the others, since it makes a
    request wait, and what is not admitted is left out, unless that were all.
    """
    known = [(bid, standing(bid.target)) for bid in bids]
    known = [pair for pair in known if pair[1].admitted] or known
    ordered: list[Bid] = []
    for rank in sorted({_rank(*pair) for pair in known}):
        alike = {bid.target: (bid, one) for bid, one in known if _rank(bid, one) == rank}
        pairs = [(target, one) for target, (_, one) in alike.items()]
        ordered += [as_it_stands(*alike[target]) for target in _ranked(pairs, sticky, draw)]
    return ordered


def as_it_stands(bid: Bid, standing: Standing) -> Bid:
    """The bid as people are to be told of it: what is left alone or full is not asked, whatever it would cost."""
    if not standing.admitted:
        return replace(bid, cost=None, why="left-alone")
    return replace(bid, why="full") if standing.full else bid


def _rank(bid: Bid, standing: Standing) -> tuple[bool, bool, float]:
    return standing.full, bid.cost is None, bid.cost or 0.0


def _last_resort(
    route: Route, standing: Callable[[RouteTarget], Standing], sticky: str | None, draw: float
) -> list[RouteTarget]:
    tiers = [[(target, standing(target)) for target in tier] for tier in route.tiers]
    return [target for tier in tiers for target in _ranked(tier, sticky, draw)]


def _ranked(tier: Sequence[tuple[RouteTarget, Standing]], sticky: str | None, draw: float) -> Iterable[RouteTarget]:
    if len(tier) < 2:
        return [target for target, _ in tier]
    awake = [pair for pair in tier if pair[1].is_awake]
    asleep = [pair for pair in tier if not pair[1].is_awake]
    if sticky is not None:
        awake.sort(key=lambda pair: -_affinity(pair[0], sticky))
    else:
        awake = sorted(_drawn(awake, draw), key=_burden)  # equals stay as they were drawn
    asleep.sort(key=lambda pair: not pair[1].is_starting)  # all requests wait for the same one: each wake costs
    return [target for target, _ in awake + asleep]


def _burden(pair: tuple[RouteTarget, Standing]) -> float:
    target, standing = pair
    return standing.in_flight / target.weight


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
_ATTACHED = re.compile(rb';base64,|data"\s*:\s*"')  # a data URL; `data` or `file_data`, as recordings and files come
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\\]++")
_SHORTEST_ATTACHMENT = 1000
_SAMPLE = 500
_HOP = 16 * 1024
_LONGEST_NOTHING = 64
_NOTHING = re.compile(rb"\s*(?:null|\[\s*\]|\{\s*\})?\s*")


def demands_of(body: bytes) -> Demands:
    """Read a request's demands: chat, completions, responses, messages and embeddings alike.

    Tokens are estimated: see BYTES_PER_TOKEN and TOKENS_PER_ATTACHMENT. A body that can't be read demands nothing: who
    serves it will say what is wrong with it.

    Beyond one pass of the JSON reader (0.3 to 2 ms for a MiB) the work is bounded: see LOOKED_AT and MOST_ATTACHMENTS.
    """
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Demands()
    images = _images(bytes(asked.messages)) + _images(bytes(asked.input))
    answer = _answer(asked)
    return Demands(
        tokens=_tokens(body, images) + answer,
        answer=answer,
        tools=not (_is_nothing(asked.tools) and _is_nothing(asked.functions)),
        images=images > 0,
        json_schema=_has_schema(asked.response_format) or _has_schema(asked.text),
    )


def _is_nothing(value: msgspec.Raw) -> bool:
    return _NOTHING.fullmatch(value, 0, _LONGEST_NOTHING) is not None


def _has_schema(value: msgspec.Raw) -> bool:
    return _SCHEMA.search(value, 0, LOOKED_AT) is not None


def _tokens(body: bytes, images: int) -> int:
    attached = _attachments(body)
    text = len(body) - sum(end - start for start, end in attached)
    return text // BYTES_PER_TOKEN + max(images, len(attached)) * TOKENS_PER_ATTACHMENT


def _images(part: bytes) -> int:
    """How many images are named in what is not within an attachment."""
    count, at, left = 0, 0, LOOKED_AT
    for start, end in (*_attachments(part), (len(part), len(part))):
        stop = min(start, at + left)
        count += sum(1 for _ in islice(_IMAGE.finditer(part, at, stop), MOST_ATTACHMENTS - count))
        at, left = end, left - (stop - at)
    return count


def _attachments(data: bytes) -> list[tuple[int, int]]:
    """Where the bytes of attachments begin and end."""
    spans, at, left, quote = list[tuple[int, int]](), 0, LOOKED_AT, -1
    for _ in range(MOST_ATTACHMENTS):
        found = _ATTACHED.search(data, at, at + left)
        if found is None:
            break
        left -= found.end() - at
        at = found.end()
        if quote < at:
            quote = data.find(b'"', at)
        end = _end_of_base64(data, at, quote)
        if end - at >= _SHORTEST_ATTACHMENT:
            spans.append((at, end))
            at = end
    return spans


def _end_of_base64(data: bytes, start: int, quote: int) -> int:
    """Where it ends within its JSON string, which ends at `quote`. Only a sample of what is long is looked at."""
    at = start
    while at + _SAMPLE <= quote and _BASE64.fullmatch(data, at, at + _SAMPLE):
        at += _HOP
    at = max(start, at - _HOP)
    run = _BASE64.match(data, at, quote)
    return run.end() if run else at


def _answer(asked: _Body) -> int:
    given = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens)
    most = max((value for value in given if isinstance(value, int) and value > 0), default=0)
    return min(most, _MOST_TOKENS)
