"""What only the engines know of a configuration."""

from __future__ import annotations

from lamplighter.config import ConfigErrors, Settings
from lamplighter.engines.registry import find_engine
from lamplighter.errors import ConfigError, InvalidInput

_LOCAL = "local"


def check_engines(settings: Settings) -> None:
    """Ask the engine of each endpoint on this machine. Raises ConfigError, ConfigErrors for several."""
    errors = []
    for name, spec in settings.specs().items():
        if settings.providers[spec.provider].type != _LOCAL:
            continue
        try:
            find_engine(spec.engine.engine).check(spec.engine)
        except InvalidInput as error:
            errors.append(ConfigError(f"endpoints.{name}.{error.message}", field=error.field, source=settings.source))
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]
