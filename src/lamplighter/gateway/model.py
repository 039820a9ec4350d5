"""Which model a body is for, and the same body for another one; nothing else about it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from lamplighter.errors import InvalidInput

_EXAMPLE = 'Send a JSON object with the model\'s name, such as {"model": "my-endpoint", …}.'
_MAX_PARTS = 64
_MAX_PART_HEAD = 2048
_LONGEST_VALUE = 1024
_FORM = b"multipart/form-data"
_OBJECT = re.compile(rb"[ \t\r\n]*+\{")
_BOUNDARY = re.compile(rb'[;\s]boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_MODEL_FIELD = re.compile(
    rb'\r\ncontent-disposition:[ \t]*form-data;(?:[^\r\n]*;)?[ \t]*name="?model"?[ \t]*(?:;|\r|$)', re.IGNORECASE
)


class _Named(msgspec.Struct, gc=False):
    model: str


_decode = msgspec.json.Decoder(_Named).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def is_json(body: bytes) -> bool:
    """Whether a body begins as a JSON object does, perhaps after white space."""
    return body[:1] == b"{" or _OBJECT.match(body) is not None


def model_in_json(body: bytes) -> str:
    """The `model` of a JSON object. Of several members of that name the last counts, as most readers have it.

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


def rename(body: bytes, content_type: bytes, model: str) -> bytes | None:
    """The body for another model; None where it is neither a JSON object nor a form, and can't name one.

    Raises InvalidInput for an object or a form that can't be read.
    """
    if is_json(body):
        return renamed(body, model)
    if content_type[: len(_FORM)].lower() == _FORM:
        return renamed_form(body, content_type, model)
    return None


def renamed(body: bytes, model: str) -> bytes:
    """The JSON object with another `model`; all other values stay as they came, byte for byte.

    It has exactly one member of that name then, so that whoever reads it finds the same. Anything that is no object is
    left alone. Raises InvalidInput for an object that can't be read.
    """
    if not is_json(body):
        return body
    try:
        members = _members(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The body is not JSON: {error}. {_EXAMPLE}") from None
    except RecursionError:
        raise InvalidInput(f"The body is nested too deeply. {_EXAMPLE}") from None
    members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)


def model_in_form(body: bytes, content_type: bytes) -> str:
    """The `model` field of a multipart form, as audio transcriptions send it. The first counts.

    Raises InvalidInput, which says what would be right.
    """
    for head, start, end in _parts(body, _delimiter(content_type)):
        if _MODEL_FIELD.search(head) and b"filename" not in head.lower():
            return body[start : min(end, start + _LONGEST_VALUE)].strip().decode("utf-8", "replace")[:500]
    raise InvalidInput(f"The form has no field 'model' among its first {_MAX_PARTS} parts.", field="model")


def renamed_form(body: bytes, content_type: bytes, model: str) -> bytes:
    """The multipart form with another `model`; every other byte stays as it came.

    Should it have several fields of that name, all of them are changed, so that whoever reads it finds the same. Raises
    InvalidInput where there is none, and where another might be in what is not looked at: too many parts, long heads.
    """
    delimiter = _delimiter(content_type)
    kept, at, last = list[bytes](), 0, 0
    for head, start, end in _parts(body, delimiter):
        last = end
        if not head:
            raise InvalidInput(f"A part of the form has no head, or one of more than {_MAX_PART_HEAD} bytes.")
        if _MODEL_FIELD.search(head):
            kept += (body[at:start], model.encode())
            at = end
    if not kept:
        raise InvalidInput(f"The form has no field 'model' among its first {_MAX_PARTS} parts.", field="model")
    if body.find(b"\r\n" + delimiter, last + 1) >= 0:
        raise InvalidInput(f"The form has more than {_MAX_PARTS} parts.")
    return b"".join((*kept, body[at:]))


def _delimiter(content_type: bytes) -> bytes:
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidInput("The multipart body has no boundary in its Content-Type.")
    return b"--" + boundary[1]


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """A form's parts: the head of each (empty where it is too long or has no end), and where its value is."""
    at = body.find(delimiter)
    for _ in range(_MAX_PARTS):
        after = body.find(b"\r\n" + delimiter, at + len(delimiter))
        if at < 0 or after < 0:
            return
        end_of_head = body.find(b"\r\n\r\n", at, min(after, at + _MAX_PART_HEAD))
        if end_of_head < 0:
            yield b"", after, after
        else:
            yield body[at + len(delimiter) : end_of_head], min(end_of_head + 4, after), after
        at = after + 2
