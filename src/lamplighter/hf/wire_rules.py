"""The same rules for the JSON of the wire, where a server reads it. Fields are named by their paths there.

Fields that nobody knows are ignored, as the API does. Null is taken where clients send it: `scaleToZeroTimeout`,
`revision`, the values of `measure`, and whole parts that are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamplighter.errors import InvalidInput
from lamplighter.hf import rules

REPLACED_WHOLE = frozenset(
    {("model", "image"), ("model", "env"), ("model", "secrets"), ("compute", "scaling", "measure")}
)
"""Paths of the objects that an update replaces, where all others are merged."""

_SCALING = "compute.scaling."
_SCALING_FIELDS = (_SCALING + "minReplica", _SCALING + "maxReplica", _SCALING + "scaleToZeroTimeout")
_NEEDED = {
    "provider": ("vendor", "region"),
    "compute": ("accelerator", "instanceType", "instanceSize", "scaling"),
    "model": ("repository", "framework", "image"),
}
_TEXTS = {
    "provider": ("vendor", "region"),
    "compute": ("instanceType", "instanceSize"),
    "model": ("repository", "task"),
}


def check_create_body(body: Any) -> None:
    """Check the body of a create. Raises InvalidInput with the path of the field."""
    given = _object(body)
    for part in ("name", "type", *_NEEDED):
        if given.get(part) is None:
            raise _missing(part)
    for part, fields in _NEEDED.items():
        inner = rules.check_map(given[part], part)
        for field in fields:
            if inner.get(field) is None:
                raise _missing(f"{part}.{field}")
    scaling = rules.check_map(given["compute"]["scaling"], "compute.scaling")
    for field in ("minReplica", "maxReplica"):
        if scaling.get(field) is None:
            raise _missing(_SCALING + field)
    rules.check_name(given["name"])
    _check_parts(given, needs_url=given["provider"]["vendor"] != rules.LOCAL_VENDOR)


def check_update_body(body: Any, current: Mapping[str, Any] | None = None) -> None:
    """Check the body of an update, and with the present document that both fit together. Raises InvalidInput.

    `current` has the shape of a create body.
    """
    given = _object(body)
    vendor = _part(current or {}, "provider").get("vendor")
    _check_parts(given, needs_url=vendor != rules.LOCAL_VENDOR)
    if current is None:
        return
    now = dict(_part(_part(current, "compute"), "scaling"))
    asked = {key: value for key, value in _part(_part(given, "compute"), "scaling").items() if value is not None}
    if now.get("minReplica") == 0 and asked.get("minReplica"):
        now.pop("scaleToZeroTimeout", None)  # it has no meaning any more, and nobody named it
    both = now | asked
    rules.check_scaling(
        both.get("minReplica"), both.get("maxReplica"), both.get("scaleToZeroTimeout"), fields=_SCALING_FIELDS
    )
    model = _part(current, "model") | {k: v for k, v in _part(given, "model").items() if v is not None}
    rules.check_variables(model.get("env"), model.get("secrets"), fields=("model.env", "model.secrets"))


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise InvalidInput("the body must be a JSON object", field="body")
    return body


def _missing(path: str) -> InvalidInput:
    return InvalidInput(f"{path}: missing field", field=path)


def _part(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _check_parts(body: Mapping[str, Any], *, needs_url: bool) -> None:
    if body.get("type") is not None:
        rules.check_type(body["type"])
    if body.get("tags") is not None:
        rules.check_tags(body["tags"])
    for part, fields in _TEXTS.items():
        inner = _given(body, part)
        for field in fields:
            if field in inner:  # null too: `model.task` must be left out instead
                rules.check_text(inner[field], f"{part}.{field}")
    _check_compute(_given(body, "compute"))
    _check_model(_given(body, "model"), needs_url=needs_url)


def _given(body: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return {} if body.get(part) is None else rules.check_map(body[part], part)


def _check_compute(compute: Mapping[str, Any]) -> None:
    if compute.get("accelerator") is not None:
        rules.check_word(compute["accelerator"], rules.ACCELERATORS, "compute.accelerator")
    if compute.get("scaling") is None:
        return
    scaling = rules.check_map(compute["scaling"], "compute.scaling")
    rules.check_scaling(
        scaling.get("minReplica"), scaling.get("maxReplica"), scaling.get("scaleToZeroTimeout"), fields=_SCALING_FIELDS
    )
    if scaling.get("measure") is not None:
        _check_measure(rules.check_map(scaling["measure"], _SCALING + "measure"))


def _check_measure(measure: Mapping[str, Any]) -> None:
    for key, value in measure.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            path = f"{_SCALING}measure.{key}"
            raise InvalidInput(f"{path}: {rules.shown(value)} must be a number, 0 or more", field=path)


def _check_model(model: Mapping[str, Any], *, needs_url: bool) -> None:
    if model.get("framework") is not None:
        rules.check_word(model["framework"], rules.FRAMEWORKS, "model.framework")
    if model.get("revision") is not None:
        rules.check_word_shape(model["revision"], "model.revision")
    for field in ("command", "args"):
        if model.get(field) is not None:
            rules.check_words(model[field], f"model.{field}")
    rules.check_variables(model.get("env"), model.get("secrets"), fields=("model.env", "model.secrets"))
    if model.get("image") is not None:
        _check_wire_image(model["image"], needs_url=needs_url)


def _check_wire_image(image: Any, *, needs_url: bool) -> None:
    given = rules.check_map(image, "model.image")
    if "url" in given:
        path = "model.image"
        raise InvalidInput(f'{path}: a container stands under its variant here: {{"custom": {{…}}}}', field=path)
    rules.check_image(given, "model.image", needs_url=needs_url, slips=False)
