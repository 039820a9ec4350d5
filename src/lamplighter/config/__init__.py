"""The configuration: `lamplighter.yaml` and the environment, read once, checked whole, frozen."""

from lamplighter.config.changes import Changes, diff
from lamplighter.config.file import EndpointSettings, PolicySettings, ProviderSettings, ServerSettings, json_schema
from lamplighter.config.problems import ConfigErrors
from lamplighter.config.settings import Settings, find, load, named_places, parse, starter_yaml

__all__ = [
    "Changes",
    "ConfigErrors",
    "EndpointSettings",
    "PolicySettings",
    "ProviderSettings",
    "ServerSettings",
    "Settings",
    "diff",
    "find",
    "json_schema",
    "load",
    "named_places",
    "parse",
    "starter_yaml",
]
