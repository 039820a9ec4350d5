"""What of a configuration is in force, key by key, and who said so. Secrets are told by their places alone.

A field whose `repr` is off may hold a secret; that is what decides here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from lamplighter.config.changes import diff
from lamplighter.config.problems import Path, Place, dotted
from lamplighter.config.quantities import NEVER, parse_duration, parse_size
from lamplighter.config.settings import Settings
from lamplighter.config.values import NEVER_READERS
from lamplighter.config.withheld import HIDDEN, inside, shown, shown_keys, shown_words, without_query
from lamplighter.domain.endpoint import Remote
from lamplighter.domain.secret import HIDDEN as REDACTED
from lamplighter.secrets.places import BRACED, is_place

Origin: TypeAlias = Literal["file", "environment", "built in"]
Unit: TypeAlias = Literal["seconds", "bytes"]

NOT_SET = "not set"
_VARIABLE = "environment variable "
_WHOLE = ("server", "defaults", "alarms", "breaker", "retry", "prices", "ledger")
_NAMED = {"providers": "providers", "endpoints": "endpoints", "groups": "groups", "upstreams": "upstream_settings"} | {
    "routes": "route_settings",
    "budgets": "budget_settings",
}
_ATTRIBUTES = {"breaker": "breaker_settings", "retry": "retry_settings"}
_COMMANDS = frozenset({"command", "args"})
_READS_PLACES = frozenset({"server", "alarms", "providers", "upstreams"})
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_SPANS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A key of the configuration, as it counts now.

    `text` is its value as one would write it; of what may be secret its place, or that it is not shown (`is_secret`).
    `amount` is the same as a number, in `unit`, where it is one. `next_start` is what the configuration says by now and
    counts from the next start on.
    """

    key: str
    section: str
    text: str
    amount: float | None = None
    unit: Unit | None = None
    is_secret: bool = False
    origin: Origin
    place: Place | None = None
    next_start: str | None = None


def in_force(settings: Settings) -> list[InForce]:
    """All keys of a configuration: every one of the sections that are always there, of named ones what they say.

    What an endpoint does not say is as `defaults` has it.
    """
    return list(_Walk(settings).all())


def in_force_since(started: Settings, now: Settings) -> list[InForce]:
    """The same for a server that started with one configuration, and has taken another one since."""
    if started is now:
        return in_force(now)
    late = diff(started, now).restart
    before = {one.key: one for one in in_force(started) if _below(one.key, late)}
    after = in_force(now)
    rows = [one if not _below(one.key, late) else _waiting(before.pop(one.key, None), one) for one in after]
    return rows + [replace(one, next_start=NOT_SET) for one in before.values()]


def _below(key: str, tops: Sequence[str]) -> bool:
    return any(key == top or key.startswith((f"{top}.", f"{top}[")) for top in tops)


def _waiting(before: InForce | None, after: InForce) -> InForce:
    if before is None:
        return replace(after, text=NOT_SET, amount=None, next_start=after.text)
    changed = before.text != after.text or before.is_secret
    return replace(before, next_start=after.text) if changed else after


class _Walk:
    """Goes through a configuration's models, beside what is written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scrub = settings.secrets.scrub

    def all(self) -> Iterator[InForce]:
        """Every key, in the order of the schema."""
        settings = self._settings
        for section in _WHOLE[:3]:
            yield from self._whole(section)
        for section, attribute in _NAMED.items():
            for name, one in getattr(settings, attribute).items():
                written = inside(inside(settings.written, section), name)
                yield from self._any((section, name), one, written, secret=False)
        for section in _WHOLE[3:]:
            yield from self._whole(section)

    def _whole(self, section: str) -> Iterator[InForce]:
        model = getattr(self._settings, _ATTRIBUTES.get(section, section))
        return self._model((section,), model, inside(self._settings.written, section), every=True)

    def _model(self, path: Path, model: BaseModel, written: object, *, every: bool) -> Iterator[InForce]:
        for name, info in type(model).model_fields.items():
            if every or name in model.model_fields_set:
                value = getattr(model, name)
                yield from self._field((*path, name), info, value, inside(written, name))

    def _field(self, path: Path, info: FieldInfo, value: Any, written: object) -> Iterator[InForce]:
        name = path[-1]
        if path == ("server", "keys"):
            yield self._row(path, shown_keys(written if written is not None else value), is_secret=True)
        elif name in _COMMANDS and isinstance(value, tuple):
            yield self._row(path, shown_words(value, command=name == "command"), is_secret=bool(value))
        elif info.repr is False:
            yield from self._any(path, value, written, secret=True)
        elif (unit := _unit(info)) is not None:
            yield self._measured(path, value, unit, can_be_never=_can_be_never(info))
        else:
            yield from self._any(path, value, written, secret=False)

    def _any(self, path: Path, value: Any, written: object, *, secret: bool) -> Iterator[InForce]:
        if isinstance(value, BaseModel):
            yield from self._model(path, value, written, every=False)
        elif isinstance(value, Mapping) and value:
            for name, inner in value.items():
                yield from self._any((*path, name), inner, inside(written, name), secret=secret)
        elif isinstance(value, list | tuple) and value and (secret or _has_models(value)):
            for index, inner in enumerate(value):
                yield from self._any((*path, index), inner, inside(written, index), secret=secret)
        elif secret and value not in (None, (), {}):
            said = written if written is not None else HIDDEN
            text = shown(said, path, may_be_place=path[0] in _READS_PLACES)
            yield self._row(path, text, is_secret=text != _plain(value, None))
        else:
            yield self._row(path, _plain(value, written), is_secret=secret, amount=_number(value))

    def _measured(self, path: Path, value: float | None, unit: Unit, *, can_be_never: bool) -> InForce:
        if value is None:
            return self._row(path, NEVER if can_be_never else NOT_SET, unit=unit)
        text = span_text(value) if unit == "seconds" else size_text(int(value))
        return self._row(path, text, amount=float(value), unit=unit)

    def _row(
        self,
        path: Path,
        text: str,
        *,
        is_secret: bool = False,
        amount: float | None = None,
        unit: Unit | None = None,
    ) -> InForce:
        place = self._place(path)
        origin: Origin = "built in"
        if place is not None:
            origin = "environment" if place.source.startswith(_VARIABLE) else "file"
            if origin == "environment":
                place = replace(place, source=place.source.removeprefix(_VARIABLE))
        return InForce(
            key=dotted(path),
            section=str(path[0]),
            text=self._scrub(text).replace(REDACTED, HIDDEN),
            amount=amount,
            unit=unit,
            is_secret=is_secret and text not in {NOT_SET, "none"},
            origin=origin,
            place=place,
        )

    def _place(self, path: Path) -> Place | None:
        """Where it stands, or what it stands in; None for what nobody has said."""
        places = self._settings.places
        top = isinstance(inside(self._settings.written, path[0]), bool | str)  # the section in a word: `breaker: false`
        for end in range(len(path), 0 if top else 1, -1):
            if place := places.get(dotted(path[:end])):
                return place
        return None


def _unit(info: FieldInfo) -> Unit | None:
    readers = _readers(info)
    if parse_size in readers:
        return "bytes"
    return "seconds" if parse_duration in readers or _can_be_never(info) else None


def _can_be_never(info: FieldInfo) -> bool:
    return not _readers(info).isdisjoint(NEVER_READERS)


def _readers(info: FieldInfo) -> set[Callable[..., Any]]:
    return {one.func for one in info.metadata if isinstance(one, BeforeValidator)}


def _has_models(values: Sequence[object]) -> bool:
    return any(isinstance(one, BaseModel) for one in values)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(value: object, written: object) -> str:
    """A value that is no secret. What it takes from elsewhere stays as it is written."""
    if isinstance(written, str) and (BRACED.search(written) or is_place(written)):
        return without_query(written)
    if value is None or value == "":
        return NOT_SET
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"
    if isinstance(value, list | tuple | frozenset):
        items = sorted(value, key=str) if isinstance(value, frozenset) else value
        return ", ".join(_plain(item, None) for item in items) or "none"
    if isinstance(value, Mapping):
        return "none"
    if isinstance(value, Remote):
        return without_query(value.url or "/".join(part for part in (value.namespace, value.name) if part) or NOT_SET)
    return without_query(str(value) if isinstance(value, str | FilePath) else str(written or value))


def span_text(seconds: float) -> str:
    """Write a duration as the file has it: 900 → 15m, 5400 → 1h30m, 0.25 → 0.25s."""
    if seconds != int(seconds) or seconds == 0:
        return f"{seconds:.15g}s"
    left, text = int(seconds), ""
    for unit, size in _SPANS:
        if left >= size:
            text += f"{left // size}{unit}"
            left %= size
    return text


def size_text(size: int) -> str:
    """Write a size as the file has it: 64000000 → 64MB, 65536 → 64KiB."""
    exact = [f"{size // unit}{name}" for name, unit in _SIZES if size and size % unit == 0]
    return min([*exact, str(size)], key=len)
