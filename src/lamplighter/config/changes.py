"""What a reload has to do."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from lamplighter.config.settings import Settings

_READ_WHEN_USED = frozenset({"drain_timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The difference of two configurations: endpoints by name, and dotted keys that take effect at the next start."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.restart)


def diff(old: Settings, new: Settings) -> Changes:
    """Compare what is in force with what the file says now.

    An endpoint has changed when its spec has: a change of `defaults` shows at those that it reaches.
    """
    before, after = old.specs(), new.specs()
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and after[name] != before[name]),
        restart=(*_differing("server", old.server, new.server), *_providers(old, new)),
    )


def _providers(old: Settings, new: Settings) -> tuple[str, ...]:
    names = sorted(old.providers.keys() | new.providers.keys())
    return tuple(f"providers.{name}" for name in names if old.providers.get(name) != new.providers.get(name))


def _differing(section: str, old: BaseModel, new: BaseModel) -> tuple[str, ...]:
    keys = [key for key in type(old).model_fields if key not in _READ_WHEN_USED]
    return tuple(f"{section}.{key}" for key in keys if getattr(old, key) != getattr(new, key))
