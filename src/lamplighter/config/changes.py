"""What a reload has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from lamplighter.config.settings import Settings

_KEYS = "server.keys"
_READ_WHEN_USED = frozenset({"drain_timeout", "takeover_wait"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The difference of two configurations.

    Endpoints, groups, upstreams, routes and budgets by name; `access` is `server.keys`; `policies` are sections that
    hold for all targets (`breaker`, `retry`); `restart` are dotted keys that take effect at the next start.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def parts(self) -> dict[str, tuple[str, ...]]:
        """What differs, by kind of change; those that there are none of are left out."""
        return {name: keys for name in self.__slots__ if (keys := getattr(self, name))}

    def __str__(self) -> str:
        """For the record: `added coder; changed chat, mert; routes best`. Empty where nothing differs."""
        return "; ".join(f"{name} {', '.join(keys)}" for name, keys in self.parts().items())

    def __bool__(self) -> bool:
        return bool(self.parts())


def diff(old: Settings, new: Settings) -> Changes:
    """Compare what is in force with what the file says now.

    An endpoint has changed when its spec has: a change of `defaults` shows at those that it reaches.
    """
    before, after = old.specs(), new.specs()
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and after[name] != before[name]),
        groups=_unequal(old.groups, new.groups),
        upstreams=_unequal(old.upstreams(), new.upstreams()),
        routes=_unequal(old.routes(), new.routes()),
        budgets=_unequal(old.budget_settings, new.budget_settings),
        access=_access(old, new),
        policies=tuple(name for name in ("breaker", "retry", "prices") if getattr(old, name) != getattr(new, name)),
        restart=(
            *(key for key in _differing("server", old.server, new.server) if key not in _access(old, new)),
            *_providers(old, new),
            *(f"ledger.{key}" for key in type(old.ledger).model_fields if old.ledger != new.ledger),
        ),
    )


def _access(old: Settings, new: Settings) -> tuple[str, ...]:
    """Other keys count at once. No keys at all would open the server to everybody: that takes a restart."""
    return (_KEYS,) if new.server.keys and old.server.keys != new.server.keys else ()


def _providers(old: Settings, new: Settings) -> tuple[str, ...]:
    before, after = _apart_from_prices(old), _apart_from_prices(new)
    return tuple(f"providers.{name}" for name in _unequal(before, after))


def _apart_from_prices(settings: Settings) -> Mapping[str, object]:
    """The providers without what is taken at once."""
    none = {"price_per_hour": None, "watts": None, "price_per_kwh": None}
    return {name: provider.model_copy(update=none) for name, provider in settings.providers.items()}


def _unequal(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    """The names whose values differ, or that only one of them has."""
    return tuple(name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name))


def _differing(section: str, old: BaseModel, new: BaseModel) -> tuple[str, ...]:
    keys = [key for key in type(old).model_fields if key not in _READ_WHEN_USED]
    return tuple(f"{section}.{key}" for key in keys if getattr(old, key) != getattr(new, key))
