"""What can be known of a configuration only where it is used: by the engines, and from the folders that are there."""

from __future__ import annotations

from collections.abc import Iterator

from lamplighter.config import ConfigErrors, Settings
from lamplighter.engines.registry import find_engine
from lamplighter.errors import ConfigError, InvalidInput

_LOCAL = "local"


def check_engines(settings: Settings) -> None:
    """Ask the engine of each endpoint on this machine, what sends alarms, and where the access log is to be.

    Raises ConfigError, or ConfigErrors.
    """
    errors = [*_of_access_log(settings), *_of_alarms(settings)]
    for name, spec in settings.specs().items():
        if settings.providers[spec.provider].type != _LOCAL:
            continue
        try:
            find_engine(spec.engine.engine).check(spec.engine)
        except InvalidInput as error:
            errors.append(settings.located(error, within=f"endpoints.{name}"))
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]


def _of_access_log(settings: Settings) -> Iterator[ConfigError]:
    """Not whether it can be written to: who checks need not be who serves."""
    place, field = settings.server.access_log, "server.access_log"
    if isinstance(place, str):
        return
    try:
        there, is_folder = place.parent.is_dir(), place.is_dir()
    except OSError:  # not for this user to look at
        return
    if not there:
        yield settings.located(InvalidInput(f"{field}: there is no folder {place.parent}; make it first", field=field))
    elif is_folder:
        yield settings.located(InvalidInput(f"{field}: {place} is a folder; name a file in it", field=field))


def _of_alarms(settings: Settings) -> Iterator[ConfigError]:
    """Only what sends to a service knows whether an address is one of its."""
    if not settings.alarms.urls and settings.alarms.webhook is None:
        return
    from lamplighter.control.places import places_of  # noqa: PLC0415 - half a second, for those who have some

    try:
        places_of(settings.alarms.urls, settings.alarms.webhook)
    except InvalidInput as error:
        yield settings.located(error)
