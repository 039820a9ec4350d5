"""Which model a body is for, and the same body for another model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.errors import InvalidInput
from lamplighter.gateway.model import is_json, model_in_form, model_in_json, rename, renamed, renamed_form

FORM = b"multipart/form-data; boundary=b0"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b0\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b0--\r\n"


AUDIO = part("file", b"\x00\xff\r\n--b\r\nmodel\r\n" * 500, '; filename="a.wav"')


@pytest.mark.parametrize(
    ("body", "is_object"),
    [(b"{", True), (b' \r\n\t{"model":', True), (b"", False), (b"   ", False), (b"[{", False), (b"--b0{", False)],
)
def test_an_object_may_begin_with_white_space(body: bytes, is_object: bool) -> None:
    assert is_json(body) is is_object


@pytest.mark.parametrize("body", [b'{"model":"a","x":1.0e0}', b' \n{"x": 1.0e0, "model" : "a"}'])
def test_another_model_leaves_all_other_values_as_they_came(body: bytes) -> None:
    changed = renamed(body, 'b"\u00e9')
    assert json.loads(changed) == json.loads(body) | {"model": 'b"\u00e9'}
    assert b"1.0e0" in changed
    assert rename(body, b"application/json", 'b"\u00e9') == changed


@pytest.mark.parametrize("twice", [b'{"model":"a","x":1,"model":"b"}', rb'{"model":"a","x":1,"mode\u006c":"b"}'])
def test_of_several_models_the_last_counts_and_another_one_takes_the_place_of_all(twice: bytes) -> None:
    assert model_in_json(twice) == "b"
    assert json.loads(renamed(twice, "c"), object_pairs_hook=sorted) == [("model", "c"), ("x", 1)]


@pytest.mark.parametrize(
    "body", [b'{"model":"smart","\xff":1}', b'{"model":"smart"', b'{"model":"smart"}x', b'{"a":' + b"[" * 100_000]
)
def test_an_object_that_cannot_be_read_is_the_clients_mistake(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="The body is"):
        renamed(body, "a")


@pytest.mark.parametrize("body", [b"", b'["model"]', b"\x00\x01"])
def test_what_names_no_model_cannot_name_another(body: bytes) -> None:
    assert rename(body, b"application/octet-stream", "a") is None
    assert renamed(body, "a") == body


@pytest.mark.parametrize(
    ("before", "after"),
    [([], [AUDIO]), ([AUDIO], []), ([part("model_size", b"model"), AUDIO], [part("prompt", b'name="model"')])],
)
@pytest.mark.parametrize("model", ["b", "a-much-longer-name/\u00e9"])
def test_a_forms_model_is_replaced_and_every_other_byte_stays(
    before: list[bytes], after: list[bytes], model: str
) -> None:
    body = form(*before, part("model", b"whisper"), *after)
    changed = rename(body, b"Multipart/Form-Data; boundary=b0", model)
    assert changed == form(*before, part("model", model.encode()), *after)
    assert model_in_form(changed, FORM) == model


def test_of_several_model_fields_the_first_counts_and_all_are_replaced() -> None:
    fields = [part("model", b"cheap"), AUDIO, part("model", b"dear"), part("model", b"dear", '; filename="x"')]
    assert model_in_form(form(*fields), FORM) == "cheap"
    replaced = [part("model", b"m"), AUDIO, part("model", b"m"), part("model", b"m", '; filename="x"')]
    assert renamed_form(form(*fields), FORM, "m") == form(*replaced)


def test_up_to_64_parts_are_looked_at_and_a_form_with_more_is_not_given_another_model() -> None:
    model, other = part("model", b"a"), part("x", b"1")
    assert renamed_form(form(*[other] * 63, model), FORM, "b") == form(*[other] * 63, part("model", b"b"))
    with pytest.raises(InvalidInput, match="no field 'model' among its first 64 parts"):
        renamed_form(form(*[other] * 64, model), FORM, "b")
    with pytest.raises(InvalidInput, match="more than 64 parts"):
        renamed_form(form(model, *[other] * 63, model), FORM, "b")


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (form(part("model", b"a")), b"multipart/form-data", "no boundary"),
        (form(part("model", b"a")), b"multipart/form-data; xboundary=b0", "no boundary"),
        (form(AUDIO), FORM, "no field 'model'"),
        (
            form(part("model", b"a"), part("model", b"b", "\r\nX-Long: " + "x" * 2048)),
            FORM,
            "A part of the form has no head",
        ),
        (form(part("model", b"a"), b"--b0\r\nmodel\r\n"), FORM, "A part of the form has no head"),
        (form(), FORM, "no field 'model'"),
        (b"", FORM, "no field 'model'"),
    ],
)
def test_a_form_that_cannot_be_given_another_model_says_why(body: bytes, content_type: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        rename(body, content_type, "m")


@given(st.lists(st.sampled_from([b"--b0", b"\r\n", b"\r\n\r\n", b"--", b"x", part("model", b"a"), part("x", b"b")])))
def test_garbage_for_a_form_is_refused_or_renamed_alike_for_every_reader(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    try:
        changed = renamed_form(body, FORM, "new")
    except InvalidInput:
        return
    assert model_in_form(changed, FORM) == "new"
    assert renamed_form(changed, FORM, "new") == changed
