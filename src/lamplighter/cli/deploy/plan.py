"""What a file would change: compared with what runs, shown, and applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lamplighter.cli.deploy.file import Wanted, raise_all
from lamplighter.errors import EndpointNotFound, Forbidden, InvalidInput, NoCapacity, NotFound, QuotaExceeded
from lamplighter.hf import images
from lamplighter.hf.forms import Changes
from lamplighter.hf.placement import check_hardware
from lamplighter.hf.records import Endpoint

if TYPE_CHECKING:
    from lamplighter.domain.hardware import Hardware
    from lamplighter.sdk.client import AsyncClient

Difference = tuple[str, Any, Any]

_PLACED = frozenset({"accelerator", "instance_type", "instance_size"})


@dataclass(frozen=True, slots=True)
class Plan:
    """One endpoint of the file beside what is there: `current` is None for one that is to be made."""

    wanted: Wanted
    current: Endpoint | None
    changes: Changes | None
    differences: Sequence[Difference]

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.wanted.form.name

    @property
    def action(self) -> str:
        """`create`, `update` or `none`."""
        if self.changes is None:
            return "create"
        return "none" if self.changes.is_empty else "update"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told = [{"field": field, "before": before, "after": after} for field, before, after in self.differences]
        return {"name": self.name, "namespace": self.wanted.namespace, "action": self.action, "differences": told}


async def compare(client: AsyncClient, wanted: Wanted, *, resend_secrets: bool) -> Plan:
    """Look at what is there. Raises InvalidInput for a change that can't be made."""
    try:
        current = await client.get(wanted.form.name, namespace=wanted.namespace)
    except EndpointNotFound:
        return Plan(wanted, None, None, list(_new(wanted)))
    changes = wanted.form.changes_from(current, resend_secrets=resend_secrets)
    return Plan(wanted, current, changes, changes.differences(current))


async def compare_all(client: AsyncClient, wanted: Sequence[Wanted], *, resend_secrets: bool) -> Plans:
    """All of a file beside what is there. Raises InvalidInput that tells of everything that can't be made."""
    offers = _Offers(client)
    plans: list[Plan] = []
    mistakes: list[InvalidInput] = []
    for one in wanted:
        try:
            plan = await compare(client, one, resend_secrets=resend_secrets)
            await offers.check(plan)
        except InvalidInput as error:
            mistakes.append(InvalidInput(f"{one.form.name}: {error.message}", field=error.field))
        else:
            plans.append(plan)
    raise_all(mistakes)
    return Plans(tuple(plans), client.where)


class _Offers:
    """What can be deployed on, by namespace; asked for once, and only where something is to be placed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._listed: dict[str | None, list[Hardware] | None] = {}

    async def check(self, plan: Plan) -> None:
        """Raises InvalidInput for hardware that is not offered; what is only taken now is told as a note."""
        if plan.changes is not None and not _PLACED & {field for field, _, _ in plan.differences}:
            return
        offered = await self._of(plan.wanted.namespace)
        if not offered:
            return
        try:
            check_hardware(plan.wanted.form, offered)
        except (NoCapacity, QuotaExceeded) as error:
            click.echo(f"note: {plan.name}: {error.message}", err=True)

    async def _of(self, namespace: str | None) -> list[Hardware] | None:
        """None where the token may not ask, or nothing is told: then it is the making that tells."""
        if namespace not in self._listed:
            try:
                self._listed[namespace] = await self._client.hardware(namespace=namespace)
            except (Forbidden, NotFound):
                self._listed[namespace] = None
        return self._listed[namespace]


def _new(wanted: Wanted) -> Iterator[Difference]:
    form = wanted.form
    shown = {field.name: getattr(form, field.name) for field in dataclasses.fields(form)}
    shown |= {"secrets": sorted(form.secrets), "image": images.shown(form.image)}  # names alone, no passwords
    for name, value in shown.items():
        if name not in {"name", "given"} and value not in (None, {}, [], ()):
            yield name, None, value


@dataclass(frozen=True, slots=True)
class Plans:
    """All of a file, and where it is to be so."""

    all: tuple[Plan, ...]
    where: str

    @property
    def changing(self) -> list[Plan]:
        """Those that do something."""
        return [plan for plan in self.all if plan.action != "none"]

    def drawn(self) -> RenderableType:
        """The differences for people."""
        return Group(Text(f"at {self.where}", style="dim"), *(_drawn(plan) for plan in self.all))


def _drawn(plan: Plan) -> RenderableType:
    name = (plan.name, "bold")
    if plan.action == "none":
        return Text.assemble("  ", name, " is as the file says")
    if plan.current is None:
        head = Text.assemble(("+ ", "green"), name, " will be made, and is billed from then on")
        return Group(head, differences(plan.differences, new=True))
    return Group(Text.assemble(("~ ", "yellow"), name, " will be changed"), differences(plan.differences))


def differences(found: Sequence[Difference], *, new: bool = False) -> RenderableType:
    """Each part that differs, before and after; of a new endpoint what it will have."""
    lines = Table.grid(padding=(0, 1))
    for field, before, after in found:
        shown = _short(after) if new else f"{_short(before)} -> {_short(after)}"
        lines.add_row("   ", Text(field, style="dim"), Text(shown, overflow="fold"))
    return lines


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def applier(client: AsyncClient, plans: Sequence[Plan]) -> Callable[[str], Awaitable[Endpoint]]:
    """What makes one endpoint, by its name, as its plan says."""
    by_key = {key_of(plan): plan for plan in plans}

    async def apply(key: str) -> Endpoint:
        plan = by_key[key]
        if plan.current is None:
            return await client.create(plan.wanted.form, namespace=plan.wanted.namespace)
        if plan.action == "none":
            return plan.current
        return await client.update(plan.name, plan.changes, namespace=plan.wanted.namespace)

    return apply


def key_of(plan: Plan) -> str:
    """A name that no other plan has."""
    return f"{plan.wanted.namespace}/{plan.name}" if plan.wanted.namespace else plan.name
