"""Finding out which model a body is for, and nothing else about it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from lamplighter.errors import InvalidInput

_EXAMPLE = 'Send a JSON object with the model\'s name, such as {"model": "my-endpoint", …}.'
_MAX_PARTS = 64
_MAX_PART_HEAD = 2048
_BOUNDARY = re.compile(rb'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_MODEL_FIELD = re.compile(
    rb'content-disposition:[ \t]*form-data;(?:[^\r\n]*;)?[ \t]*name="?model"?[ \t]*(?:;|\r|$)', re.IGNORECASE
)


class _Named(msgspec.Struct, gc=False):
    model: str


_decode = msgspec.json.Decoder(_Named).decode


def model_in_json(body: bytes) -> str:
    """The `model` of a JSON object.

    Raises InvalidInput, which says what would be right.
    """
    try:
        return _decode(body).model
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The body does not name a model: {error}. {_EXAMPLE}", field="model") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"The body is not JSON: {error}." if body.strip() else "The body is empty."
        raise InvalidInput(f"{problem} {_EXAMPLE}") from None
    except RecursionError:
        raise InvalidInput(f"The body is nested too deeply. {_EXAMPLE}") from None


def renamed(body: bytes, model: str) -> bytes:
    """The JSON object with another `model`; all other values stay as they came, byte for byte.

    Anything else, such as a multipart form, is left alone.
    """
    if body[:1] != b"{":
        return body
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)


def model_in_form(body: bytes, content_type: bytes) -> str:
    """The `model` field of a multipart form, as audio transcriptions send it.

    Raises InvalidInput, which says what would be right.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidInput("The multipart body has no boundary in its Content-Type.")
    for head, value in _parts(body, b"--" + boundary[1]):
        if _MODEL_FIELD.search(head) and b"filename" not in head.lower():
            return value.strip().decode("utf-8", "replace")[:500]
    raise InvalidInput(f"The form has no field 'model' among its first {_MAX_PARTS} parts.", field="model")


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Heads of a form's parts, each with at most the first KiB of what it holds."""
    at = body.find(delimiter)
    for _ in range(_MAX_PARTS):
        after = body.find(b"\r\n" + delimiter, at + len(delimiter))
        if at < 0 or after < 0:
            return
        end_of_head = body.find(b"\r\n\r\n", at, min(after, at + _MAX_PART_HEAD))
        if end_of_head >= 0:
            value = end_of_head + 4
            yield body[at + len(delimiter) : end_of_head], body[value : min(after, value + 1024)]
        at = after + 2
