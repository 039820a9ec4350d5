"""The configuration: `lamplighter.yaml` and the environment, read once, checked whole, frozen."""

from lamplighter.config.changes import Changes, diff
from lamplighter.config.file import EndpointSettings, PolicySettings, ProviderSettings, ServerSettings, json_schema
from lamplighter.config.in_force import InForce, in_force, in_force_since
from lamplighter.config.problems import ConfigErrors
from lamplighter.config.settings import Settings, find, load, named_places, parse, starter_yaml

__all__ = [
    "Changes",
    "ConfigErrors",
    "EndpointSettings",
    "InForce",
    "PolicySettings",
    "ProviderSettings",
    "ServerSettings",
    "Settings",
    "diff",
    "find",
    "in_force",
    "in_force_since",
    "json_schema",
    "load",
    "named_places",
    "parse",
    "starter_yaml",
]
