"""What the API allows, checked before it is asked. Every refusal names the field, its value, and what would be right.

The rules take the name of the field from the caller, because a form says `min_replica` where the wire says
`compute.scaling.minReplica`. Values of secrets and passwords stand in no message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from lamplighter.errors import InvalidInput

NAME_LENGTH = 32
TIMEOUT_RANGE = (15, 2880)
"""Minutes of idleness before an endpoint is scaled to zero: the least and the most."""

TYPES = ("authenticated", "private", "public")
OLD_TYPE = "protected"
OLD_TYPE_NOTE = (
    "type 'protected' is the old word for 'authenticated' (any Hugging Face token may call it), which is used"
)
ACCELERATORS = ("cpu", "gpu", "neuron", "zero_gpu")
FRAMEWORKS = ("custom", "llamacpp", "pytorch", "tensorflow")
LOCAL_VENDOR = "local"
"""Engines on this machine need no container, so images need no `url` there."""

_CONTAINER = ("url", "port", "healthRoute")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "custom": (*_CONTAINER, "credentials"),
    "huggingface": _CONTAINER,
    "huggingfaceNeuron": (*_CONTAINER, "neuronCache", "batchSize", "sequenceLength"),
    "hfServe": _CONTAINER,
    "llamacpp": (
        *_CONTAINER,
        *("modelPath", "ctxSize", "nParallel", "threadsHttp", "nGpuLayers", "mmprojModelPath", "mode", "pooling"),
        *("variant", "specModelPath"),
    ),
    "sGLang": (
        *_CONTAINER,
        *("tensorParallelSize", "kvCacheDtype", "chunkedPrefillSize", "maxPrefillTokens", "maxRunningRequests"),
    ),
    "tei": (*_CONTAINER, "maxBatchTokens", "maxConcurrentRequests", "pooling"),
    "tgi": (
        *_CONTAINER,
        *("maxBatchPrefillTokens", "maxBatchTotalTokens", "maxInputLength", "maxTotalTokens"),
        *("disableCustomKernels", "quantize"),
    ),
    "tgiNeuron": (
        *_CONTAINER,
        *("maxBatchPrefillTokens", "maxBatchTotalTokens", "maxInputLength", "maxTotalTokens"),
        *("hfAutoCastType", "hfNumCores"),
    ),
    "vLLM": (
        *_CONTAINER,
        *("tensorParallelSize", "dataParallelSize", "kvCacheDtype", "maxNumBatchedTokens", "maxNumSeqs"),
    ),
    "vLLMNeuron": _CONTAINER,
    "vLLMOmni": _CONTAINER,
}
"""The kinds of image and their own fields. Fields that are not listed are passed on, unless they look like a slip."""

WITHOUT_URL = frozenset({"huggingface", "huggingfaceNeuron"})
"""Managed images, which the provider finds by itself."""

_FLAT = ("url", "port", "healthRoute", "health_route", "credentials")
_NAME = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_SHOWN = 60
_SLIP = 0.8


Check: TypeAlias = Callable[[], object]
"""Raises InvalidInput for what is not right."""


class Mistakes(InvalidInput):
    """Several things that are not right, a line each; `errors` are they, `field` is that of the first."""

    def __init__(self, errors: Sequence[InvalidInput]) -> None:
        super().__init__("\n".join(error.message for error in errors), field=errors[0].field)
        self.errors = tuple(errors)


def each(error: InvalidInput) -> tuple[InvalidInput, ...]:
    """The mistakes that an error tells of: one, or several."""
    return error.errors if isinstance(error, Mistakes) else (error,)


def raise_all(mistakes: Iterable[InvalidInput]) -> None:
    """Raise one InvalidInput that tells of all of them, each once; nothing for none."""
    found = {mistake.message: mistake for mistake in mistakes}
    if len(found) > 1:
        raise Mistakes(list(found.values()))
    for mistake in found.values():
        raise mistake


def mistakes_of(checks: Iterable[Check]) -> list[InvalidInput]:
    """Make every check, whatever the others say."""
    found: list[InvalidInput] = []
    for check in checks:
        try:
            check()
        except InvalidInput as error:
            found += each(error)
    return found


def check_all(*checks: Check) -> None:
    """Make every check. Raises InvalidInput that tells of all mistakes."""
    raise_all(mistakes_of(checks))


def check_name(name: Any, field: str = "name") -> str:
    """Check the name of an endpoint that is to be made. Raises InvalidInput with a name that would do."""
    text = check_text(name, field)
    if len(text) <= NAME_LENGTH and re.fullmatch(_NAME, text):
        return text
    offer = proposal(text)
    would_do = f"; {offer!r} would do" if offer else ""
    raise InvalidInput(
        f"{field}: {shown(text)} is no name for an endpoint: lower-case letters, digits and hyphens, at most "
        f"{NAME_LENGTH}, with a letter or digit at both ends{would_do}",
        field=field,
    )


def proposal(name: str) -> str:
    """The nearest name that is allowed; empty where nothing is left of it."""
    import unicodedata  # noqa: PLC0415 - only for names that are refused

    plain = unicodedata.normalize("NFKD", name[:200]).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:NAME_LENGTH].rstrip("-")


def check_type(value: Any, field: str = "type") -> str:
    """Check who may call an endpoint; `protected` becomes `authenticated` (say OLD_TYPE_NOTE to people)."""
    return TYPES[0] if value == OLD_TYPE else check_word(value, TYPES, field)


def check_scaling(
    least: Any = None,
    most: Any = None,
    timeout: Any = None,
    *,
    fields: tuple[str, str, str] = ("min_replica", "max_replica", "scale_to_zero_timeout"),
) -> None:
    """Check how many replicas there may be, and after how many minutes of idleness none. None is not said, or unknown.

    `fields` names the three. Raises InvalidInput.
    """
    least_field, most_field, timeout_field = fields
    low, high = TIMEOUT_RANGE
    bounds: list[Check] = []
    if least is not None:
        bounds.append(partial(check_whole, least, least_field, low=0))
    if most is not None:
        bounds.append(partial(check_whole, most, most_field, low=1))
    if timeout is not None:
        bounds.append(partial(check_whole, timeout, timeout_field, low=low, high=high, unit=" minutes"))
    check_all(*bounds)
    if least is not None and most is not None and least > most:
        raise InvalidInput(f"{least_field}: {least} is more than {most_field}, which is {most}", field=least_field)
    if least and timeout is not None:
        raise InvalidInput(
            f"{timeout_field}: {timeout} minutes can't come to pass while {least_field} is {least}; "
            f"scale to zero needs {least_field} 0",
            field=timeout_field,
        )


def check_image(
    image: Any, field: str = "image", *, needs_url: bool = True, slips: bool = True
) -> dict[str, dict[str, Any]]:
    """Check an image and bring it into the API's shape, `{variant: {…}}`. Raises InvalidInput.

    Taken are `{variant: {…}}` for the variants of the API, and a flat container: `{"url", "port", "healthRoute",
    "credentials"}`. `health_route` is taken for `healthRoute`, which the API would silently ignore. With `slips` a
    setting that is not known but much like one that is counts as a slip; others are passed on.
    """
    given = check_map(image, field)
    if "url" in given or (given and set(given) <= set(_FLAT)):
        known = {key: value for key, value in given.items() if key in _FLAT}
        check_all(
            *(partial(_refuse_setting, key, field) for key in given if key not in known),
            partial(_container, known, "custom", field, needs_url=needs_url, slips=slips),
        )
        return {"custom": _container(known, "custom", field, needs_url=needs_url, slips=slips)}
    if len(given) != 1:
        raise InvalidInput(
            f"{field}: one variant is wanted, {{variant: {{…}}}}; known are {', '.join(VARIANTS)}", field=field
        )
    variant, inner = next(iter(given.items()))
    if variant not in VARIANTS:
        raise InvalidInput(
            f"{field}: {shown(variant)} is no variant of an image; {near(variant, VARIANTS)}", field=field
        )
    path = f"{field}.{variant}"
    if inner is None and variant in WITHOUT_URL:
        return {variant: {}}
    return {variant: _container(check_map(inner, path), variant, path, needs_url=needs_url, slips=slips)}


def _refuse_setting(key: str, field: str) -> None:
    raise InvalidInput(f"{field}.{key}: a container has no such setting; {near(key, _FLAT)}", field=field)


def _container(given: Mapping[str, Any], variant: str, path: str, *, needs_url: bool, slips: bool) -> dict[str, Any]:
    if "health_route" in given and "healthRoute" in given:
        raise InvalidInput(f"{path}: health_route and healthRoute are the same; give one", field=path)
    whole = {"healthRoute" if key == "health_route" else key: value for key, value in given.items()}
    mistakes: list[InvalidInput] = []
    if needs_url and variant not in WITHOUT_URL and whole.get("url") is None:
        text = f"{path}.url: missing: the container's image, such as vllm/vllm-openai:v0.23.0"
        mistakes.append(InvalidInput(text, field=path))
    checks = (partial(_check_setting, variant, key, value, path, slips=slips) for key, value in whole.items())
    raise_all([*mistakes, *mistakes_of(checks)])
    return whole


def _check_setting(variant: str, key: str, value: Any, above: str, *, slips: bool) -> None:
    path = f"{above}.{key}"
    if key not in VARIANTS[variant]:
        slip = difflib.get_close_matches(key[:80], VARIANTS[variant], n=1, cutoff=_SLIP) if slips else ()
        if slip:
            raise InvalidInput(f"{path}: {variant} has no such setting; did you mean {slip[0]!r}?", field=above)
        return
    if value is None:
        return
    if key == "url":
        check_word_shape(value, path)
    elif key == "port":
        check_whole(value, path, low=1, high=65535)
    elif key == "healthRoute" and not check_word_shape(value, path).startswith("/"):
        raise InvalidInput(f"{path}: {shown(value)} is no route: it begins with /, as /health does", field=path)
    elif key == "credentials":
        check_credentials(value, path)


def check_credentials(value: Any, field: str) -> None:
    """Check the login of a container registry: `{"username", "password"}`. Raises InvalidInput."""
    given = check_map(value, field)
    mistakes: list[InvalidInput] = []
    for key, item in given.items():
        if key not in {"username", "password"}:
            mistakes.append(InvalidInput(f"{field}.{key}: known are username and password", field=field))
        elif not isinstance(item, str) and not (key == "password" and item is None):
            mistakes.append(InvalidInput(f"{field}.{key}: must be text", field=field))
    if given.get("username") in (None, ""):
        mistakes.append(InvalidInput(f"{field}.username: missing", field=field))
    raise_all(mistakes)


def check_variables(env: Any, secrets: Any, *, fields: tuple[str, str] = ("env", "secrets")) -> None:
    """Check environment variables: maps of text to text that share no name; None is not said. Raises InvalidInput."""
    env_field, secrets_field = fields
    plain = {} if env is None else env
    hidden = {} if secrets is None else secrets
    check_all(partial(check_strings, plain, env_field), partial(check_strings, hidden, secrets_field, hide=True))
    if both := sorted(plain.keys() & hidden.keys()):
        raise InvalidInput(
            f"{secrets_field}.{both[0]}: stands under {env_field} too; a variable is one or the other",
            field=secrets_field,
        )


def check_strings(value: Any, field: str, *, hide: bool = False) -> Mapping[str, str]:
    """Check a map of variables. With `hide` no value stands in a message. Raises InvalidInput."""
    given = check_map(value, field)
    check_all(*(partial(_check_string, name, item, field, hide=hide) for name, item in given.items()))
    return given


def _check_string(name: str, item: Any, field: str, *, hide: bool) -> None:
    if not name or "=" in name or "\0" in name:
        raise InvalidInput(f"{field}: {shown(name)} can't be the name of a variable", field=field)
    if not isinstance(item, str):
        what = "must be text" if hide else f"{shown(item)} must be text; put it in quotes"
        raise InvalidInput(f"{field}.{name}: {what}", field=f"{field}.{name}")
    if "\0" in item:
        raise InvalidInput(f"{field}.{name}: holds a null character", field=f"{field}.{name}")


def check_words(value: Any, field: str) -> tuple[str, ...]:
    """Check a list of texts, as tags and arguments are. Raises InvalidInput."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidInput(f"{field}: {shown(value)} must be a list of texts", field=field)
    raise_all(
        InvalidInput(f"{field}[{at}]: {shown(item)} must be text; put it in quotes", field=f"{field}[{at}]")
        for at, item in enumerate(value)
        if not isinstance(item, str)
    )
    return tuple(value)


def check_tags(value: Any, field: str = "tags") -> tuple[str, ...]:
    """Check tags: texts that are not empty. Raises InvalidInput."""
    tags = check_words(value, field)
    raise_all(
        InvalidInput(f"{field}[{at}]: a tag must not be empty", field=f"{field}[{at}]")
        for at, tag in enumerate(tags)
        if not tag.strip()
    )
    return tags


def check_word(value: Any, known: Iterable[str], field: str) -> str:
    """Check that a text is one of the known words. Raises InvalidInput with the nearest."""
    words = tuple(known)
    text = check_text(value, field)
    if text not in words:
        raise InvalidInput(f"{field}: {shown(text)} is not known; {near(text, words)}", field=field)
    return text


def check_text(value: Any, field: str) -> str:
    """Check that there is a text. Raises InvalidInput."""
    if not isinstance(value, str):
        hint = "; put it in quotes" if isinstance(value, int | float) else ""
        raise InvalidInput(f"{field}: {shown(value)} must be text{hint}", field=field)
    if not value.strip():
        raise InvalidInput(f"{field}: must not be empty", field=field)
    if any(ord(character) < ord(" ") for character in value):
        raise InvalidInput(f"{field}: {shown(value)} holds control characters", field=field)
    return value


def check_word_shape(value: Any, field: str) -> str:
    """Check that a text has no blanks in it. Raises InvalidInput."""
    text = check_text(value, field)
    if any(character.isspace() for character in text):
        raise InvalidInput(f"{field}: {shown(text)} holds blanks", field=field)
    return text


def check_whole(value: Any, field: str, *, low: int, high: int | None = None, unit: str = "") -> int:
    """Check a whole number and its bounds. Raises InvalidInput."""
    right = f"{low} to {high}{unit}" if high is not None else f"{low} or more{unit}"
    if type(value) is not int:
        raise InvalidInput(f"{field}: {shown(value)} must be a whole number, {right}", field=field)
    if value < low or (high is not None and value > high):
        raise InvalidInput(f"{field}: {shown(value)} is out of range: {right}", field=field)
    return value


def check_map(value: Any, field: str) -> Mapping[str, Any]:
    """Check that there is a mapping from texts. Raises InvalidInput."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{field}: must be a mapping, with names and values", field=field)
    for key in value:
        if not isinstance(key, str):
            raise InvalidInput(f"{field}: the name {shown(key)} must be text; put it in quotes", field=field)
    return value


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the right word: the most similar one, else those that there are."""
    words = sorted(known)
    lower = {name.lower(): name for name in words}
    if match := difflib.get_close_matches(word[:80].lower(), lower, n=1):
        return f"did you mean {lower[match[0]]!r}?"
    listed = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"known are {listed}" if words else "none is known"


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
