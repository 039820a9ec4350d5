"""What is asked for: a deployment, a change of one. Both know the JSON that the management API wants."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

from lamplighter.errors import InvalidInput
from lamplighter.hf import images, rules
from lamplighter.hf.reading import part
from lamplighter.hf.records import Endpoint

_COMPUTE = {"accelerator": "accelerator", "instance_type": "instanceType", "instance_size": "instanceSize"}
_SCALING = {
    "min_replica": "minReplica",
    "max_replica": "maxReplica",
    "scale_to_zero_timeout": "scaleToZeroTimeout",
}
_MODEL = {"repository": "repository", "framework": "framework", "revision": "revision", "task": "task"}
_LISTS = ("command", "args")
_MAPS = ("env", "secrets")

_NEEDED = ("name", "repository", "vendor", "region", "accelerator", "instance_type", "instance_size")
_SET_NOTHING = frozenset({"image", "command", "args", "tags", "env", "secrets"})
_FIXED = ("vendor", "region")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentForm:
    """Everything that a new endpoint is made from. The names are those of `lamplighter deploy` and of its file.

    `scale_to_zero_timeout` is in minutes (15 to 2880) and needs `min_replica` 0. `type` is `public`, `authenticated`
    or `private`; the old word `protected` is taken as `authenticated`, with a FutureWarning. `image` is
    `{variant: {...}}` or a flat custom container: `{"url", "port", "health_route" or "healthRoute", "credentials"}`.
    `given` tells which fields were said (by `of`), so that a change leaves the others alone; empty: all that are set.
    """

    name: str
    repository: str
    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    framework: str = "pytorch"
    revision: str | None = None
    task: str | None = None
    min_replica: int = 0
    max_replica: int = 1
    scale_to_zero_timeout: int | None = None
    type: str = "authenticated"
    image: Mapping[str, Any] | None = field(default=None, repr=False)
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: Sequence[str] = ()
    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.type == rules.OLD_TYPE:
            _use_new_type(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DeploymentForm:
        """Read a mapping such as a YAML file's.

        Raises InvalidInput that tells of all keys that are unknown (each with a near one), missing or wrong.
        """
        said, mistakes = _spelled(values, _names(cls))
        kept = {name: value for name, value in said.items() if value is not None}
        missing = [name for name in _NEEDED if name not in kept]
        if missing:
            mistakes.append(InvalidInput(f"{missing[0]}: missing; needed are {', '.join(missing)}", field=missing[0]))
        absent: dict[str, Any] = dict.fromkeys(missing)  # the others are to be checked all the same
        form = cls(**absent, **kept, given=frozenset(kept))
        rules.raise_all([*mistakes, *rules.mistakes_of(form._checks(without=missing))])
        return form

    def check(self) -> None:
        """Raise InvalidInput that tells of all that is against the rules."""
        rules.check_all(*self._checks())

    def _checks(self, without: Sequence[str] = ()) -> Iterator[rules.Check]:
        """All rules but those for the fields that are known to be missing."""
        if "name" not in without:
            yield partial(rules.check_name, self.name)
        for name in ("repository", "vendor", "region", "instance_type", "instance_size"):
            if name not in without:
                yield partial(rules.check_text, getattr(self, name), name)
        yield from _common_checks(self, needs_url=self.vendor != rules.LOCAL_VENDOR)

    def body(self) -> dict[str, Any]:
        """The body of a create. `model.task` is left out where it is None. Raises InvalidInput by the rules."""
        self.check()
        body = _body_of(self)
        body["model"]["image"] = self._whole_image() or {"huggingface": {}}
        return {
            "name": self.name,
            "type": self.type,
            "provider": {"vendor": self.vendor, "region": self.region},
            **body,
        }

    def _whole_image(self) -> dict[str, Any] | None:
        if self.image is None:
            return None
        return rules.check_image(self.image, needs_url=self.vendor != rules.LOCAL_VENDOR)

    def changes_from(self, current: Endpoint, *, commit: str | None = None, resend_secrets: bool = False) -> Changes:
        """What would have to change at `current` to be as this form says; what the form leaves out is left alone.

        The API tells commits where a branch was asked for: `commit` is what this form's revision stands for now, where
        that is known; else a branch counts as a change. It does not tell secrets: they count as changed when their
        names differ, or with `resend_secrets`. Raises InvalidInput for what can't be changed, and by the rules.
        """
        rules.raise_all([*rules.mistakes_of(self._checks()), *self._moves(current)])
        wanted = {name: getattr(self, name) for name in _names(Changes) if self._says(name)}
        changed = {name: value for name, value in wanted.items() if _differs(name, _now(name, current), value)}
        if commit is not None and current.model.revision == commit:
            changed.pop("revision", None)
        if "image" in changed:
            changed["image"] = images.completed(current.model.image, self._whole_image() or {})
        if resend_secrets and self.secrets:
            changed["secrets"] = self.secrets
        changes = Changes(**changed)
        changes.check(current)
        return changes

    def _moves(self, current: Endpoint) -> Iterator[InvalidInput]:
        """What would take an endpoint to another place, which none can go to."""
        for name in _FIXED:
            before = getattr(current.provider, name)
            if before is not None and before != getattr(self, name):
                yield InvalidInput(
                    f"{name}: an endpoint can't move from {before!r} to {getattr(self, name)!r}; "
                    "delete it and deploy it anew, or choose another name",
                    field=name,
                )

    def _says(self, name: str) -> bool:
        value = getattr(self, name)
        if self.given:
            return name in self.given
        return value is not None and not (name in _SET_NOTHING and not value)


class Placed(NamedTuple):
    """Hardware in a place."""

    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    min_replica: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A change of an endpoint: None leaves a part as it is. Scaling lives under compute in the API.

    Empty lists and maps clear what is there. `type` and `image` as in DeploymentForm; an image of the variant that runs
    already may name only what changes: ManagementApi.update sends it whole.
    """

    repository: str | None = None
    framework: str | None = None
    revision: str | None = None
    task: str | None = None
    accelerator: str | None = None
    instance_type: str | None = None
    instance_size: str | None = None
    min_replica: int | None = None
    max_replica: int | None = None
    scale_to_zero_timeout: int | None = None
    type: str | None = None
    image: Mapping[str, Any] | None = field(default=None, repr=False)
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    secrets: Mapping[str, str] | None = field(default=None, repr=False)
    tags: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.type == rules.OLD_TYPE:
            _use_new_type(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Changes:
        """Read a mapping. Raises InvalidInput: unknown key (with a near one), wrong value."""
        said, mistakes = _spelled(values, _names(cls))
        changes = cls(**said)
        rules.raise_all([*mistakes, *rules.mistakes_of(changes._checks())])
        return changes

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes; then nothing is sent."""
        return all(getattr(self, name) is None for name in _names(Changes))

    @property
    def moves(self) -> bool:
        """Whether other hardware is asked for."""
        return any(getattr(self, name) is not None for name in _COMPUTE)

    def against(self, current: Endpoint) -> Changes:
        """What of this is not so already.

        What the API does not show (values of secrets, credentials) can't be compared: it stays. Parts of the hardware
        stay together: one alone may name nothing that there is.
        """
        names = [name for name in _names(Changes) if getattr(self, name) is not None]
        kept = {name for name in names if self._is_news(name, current)}
        if kept & set(_COMPUTE):
            kept |= set(names) & set(_COMPUTE)
        return Changes(**{name: getattr(self, name) for name in names if name in kept})

    def _is_news(self, name: str, current: Endpoint) -> bool:
        after = getattr(self, name)
        if name == "secrets" and after:
            return True
        if name == "image" and images.has_credentials(after):
            return True
        return _differs(name, _now(name, current), after)

    def placed(self, current: Endpoint) -> Placed:
        """The hardware that an endpoint would have then."""
        compute, scaling = current.compute, current.compute.scaling
        return Placed(
            vendor=current.provider.vendor or "",
            region=current.provider.region or "",
            accelerator=self.accelerator or compute.accelerator or "",
            instance_type=self.instance_type or compute.instance_type or "",
            instance_size=self.instance_size or compute.instance_size or "",
            min_replica=scaling.min_replica if self.min_replica is None else self.min_replica,
        )

    @property
    def needs_current(self) -> bool:
        """Whether the present endpoint must be known to send this: an image that names only some of its settings."""
        return self.image is not None and not images.is_whole(rules.check_image(self.image, needs_url=False))

    def check(self, current: Endpoint | None = None) -> None:
        """Raise InvalidInput that tells of all that is against the rules, alone or together with how it is now."""
        checks = [*self._checks()]
        if current is not None:
            checks += [partial(self._check_scaling_with, current), partial(self._check_variables_with, current)]
        rules.check_all(*checks)

    def _checks(self) -> Iterator[rules.Check]:
        for name in ("repository", "instance_type", "instance_size"):
            if getattr(self, name) is not None:
                yield partial(rules.check_text, getattr(self, name), name)
        yield from _common_checks(self, needs_url=False)

    def _check_variables_with(self, current: Endpoint) -> None:
        if self.env is None and self.secrets is None:
            return
        there = dict.fromkeys(part(part(current.raw, "model"), "secrets"), "")
        env = current.model.env if self.env is None else self.env
        rules.check_variables(env, there if self.secrets is None else self.secrets)

    def _check_scaling_with(self, current: Endpoint) -> None:
        if all(getattr(self, name) is None for name in _SCALING):
            return
        now = current.compute.scaling
        least = now.min_replica if self.min_replica is None else self.min_replica
        most = now.max_replica if self.max_replica is None else self.max_replica
        rules.check_scaling(least, most, self.scale_to_zero_timeout)

    def body(self, current: Endpoint | None = None) -> dict[str, Any]:
        """The body of an update, holding only what changes. Raises InvalidInput by the rules.

        `current` completes an image that names only some settings.
        """
        self.check(current)
        body = _body_of(self)
        if self.image is not None:
            image = rules.check_image(self.image, needs_url=False)
            if current is not None and not images.is_whole(image):
                image = images.completed(current.model.image, image)
            body.setdefault("model", {})["image"] = image
        if self.type is not None:
            body["type"] = self.type
        return body

    def differences(self, current: Endpoint) -> list[tuple[str, Any, Any]]:
        """`(name, before, after)` of each part that differs, for showing. Secrets show their names alone.

        Variables of the environment are told one by one, as `env.NAME`, with None where there is none.
        """
        rows: list[tuple[str, Any, Any]] = []
        for name in _names(Changes):
            after, before = getattr(self, name), _now(name, current)
            if after is None:
                continue
            if name == "env":
                rows += _variables(before, after)
            elif name == "secrets":
                rows.append((name, sorted(before), sorted(after)))
            elif name == "image":
                whole = rules.check_image(after, needs_url=False)
                if images.differs(before, whole):
                    rows.append((name, images.shown(before), images.shown(whole)))
            elif _differs(name, before, after):
                rows.append((name, _plain(before), _plain(after)))
        return rows


def _use_new_type(form: DeploymentForm | Changes) -> None:
    warnings.warn(rules.OLD_TYPE_NOTE, FutureWarning, stacklevel=4)
    object.__setattr__(form, "type", rules.check_type(rules.OLD_TYPE))


def _names(kind: type[DeploymentForm | Changes]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind) if item.name != "given")


def _spelled(values: Any, known: Sequence[str]) -> tuple[dict[str, Any], list[InvalidInput]]:
    """The values under their own names (`min-replica`, as on the command line, is `min_replica`), and wrong names."""
    said: dict[str, Any] = {}
    mistakes: list[InvalidInput] = []
    for key, value in rules.check_map(values, "deployment").items():
        name = key.replace("-", "_")
        if name not in known:
            mistakes.append(InvalidInput(f"{key}: not known; {rules.near(name, known)}", field=key))
        elif name in said:
            mistakes.append(InvalidInput(f"{name}: given twice", field=name))
        else:
            said[name] = value
    return said, mistakes


def _common_checks(form: DeploymentForm | Changes, *, needs_url: bool) -> Iterator[rules.Check]:
    if form.accelerator is not None:
        yield partial(rules.check_word, form.accelerator, rules.ACCELERATORS, "accelerator")
    if form.framework is not None:
        yield partial(rules.check_word, form.framework, rules.FRAMEWORKS, "framework")
    for name in ("revision", "task"):
        if getattr(form, name) is not None:
            yield partial(rules.check_word_shape, getattr(form, name), name)
    if form.type is not None:
        yield partial(rules.check_type, form.type)
    yield partial(rules.check_scaling, form.min_replica, form.max_replica, form.scale_to_zero_timeout)
    if form.image is not None:
        yield partial(rules.check_image, form.image, needs_url=needs_url)
    for name in _LISTS:
        if getattr(form, name) is not None:
            yield partial(rules.check_words, getattr(form, name), name)
    yield partial(rules.check_variables, form.env, form.secrets)
    if form.tags is not None:
        yield partial(rules.check_tags, form.tags)


def _body_of(form: DeploymentForm | Changes) -> dict[str, Any]:
    """Compute, model and tags, with what is set in them."""
    compute = _renamed(form, _COMPUTE)
    if scaling := _renamed(form, _SCALING):
        compute["scaling"] = scaling
    model = _renamed(form, _MODEL)
    model |= {name: list(value) for name in _LISTS if (value := getattr(form, name)) is not None}
    for name in _MAPS:
        value = getattr(form, name)
        if value or (value is not None and isinstance(form, Changes)):
            model[name] = dict(value)
    body: dict[str, Any] = {"compute": compute, "model": model}
    if form.tags or (form.tags is not None and isinstance(form, Changes)):
        body["tags"] = list(form.tags)
    return {key: value for key, value in body.items() if value or key == "tags"}


def _renamed(form: DeploymentForm | Changes, names: Mapping[str, str]) -> dict[str, Any]:
    return {wire: value for name, wire in names.items() if (value := getattr(form, name)) is not None}


def _now(name: str, current: Endpoint) -> Any:
    """How a part is at an endpoint."""
    if name == "type":
        return current.type
    if name == "tags":
        return current.tags
    if name == "secrets":
        return part(part(current.raw, "model"), "secrets")
    for holder in (current.model, current.compute, current.compute.scaling):
        if hasattr(holder, name):
            return getattr(holder, name)
    raise AssertionError(name)


def _differs(name: str, before: Any, after: Any) -> bool:
    if name == "image":
        return images.differs(before, rules.check_image(after, needs_url=False))
    if name == "secrets":
        return set(before) != set(after)
    if name == "env":
        return dict(before) != dict(after)
    if name in _LISTS:
        return tuple(before) != tuple(after)
    if name == "tags":
        return sorted(before) != sorted(after)
    return bool(before != after)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _variables(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, Any, Any]]:
    rows = [(f"env.{key}", before.get(key), after.get(key)) for key in sorted({*before, *after})]
    return [row for row in rows if row[1] != row[2]]
