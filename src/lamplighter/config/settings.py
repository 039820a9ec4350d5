"""Reads the configuration. The last one wins: built in, the file's `defaults`, the environment, an endpoint's own."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lamplighter.config import document as documents
from lamplighter.config import elsewhere
from lamplighter.config.budgets import BudgetSettings
from lamplighter.config.checks import ALWAYS_THERE, budget_warnings, check
from lamplighter.config.complaints import problems_of
from lamplighter.config.document import Document
from lamplighter.config.environment import apply, names_endpoints
from lamplighter.config.file import (
    AlarmSettings,
    EndpointSettings,
    File,
    PolicySettings,
    ProviderSettings,
    ServerSettings,
)
from lamplighter.config.ledger import LedgerSettings
from lamplighter.config.prices import PricesSettings
from lamplighter.config.problems import Place as Spot
from lamplighter.config.problems import Problem, dotted, raise_for
from lamplighter.config.routes import BreakerSettings, RetrySettings, RouteSettings, UpstreamSettings
from lamplighter.config.secret_places import places_of, variables_of
from lamplighter.config.tariff import tariff_of
from lamplighter.config.values import Context, path_of
from lamplighter.domain.budgets import Budget
from lamplighter.domain.endpoint import Spec
from lamplighter.domain.prices import Tariff
from lamplighter.domain.routing import BreakerPolicy, RetryPolicy, Route, Upstream
from lamplighter.errors import ConfigError, InvalidInput
from lamplighter.secrets.places import Place, parse_place
from lamplighter.secrets.sources import Secrets

FILE_NAME = "lamplighter.yaml"
ENVIRONMENT = "the environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A configuration that can be used. `source` is the file it came from; `warnings` are for whoever starts it.

    `secret_variables` are the environment variables that hold keys and tokens, by what the file says. `secrets` has
    read what the file names by its place, and remembers it for a reload.
    """

    source: str
    server: ServerSettings
    defaults: PolicySettings
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    providers: Mapping[str, ProviderSettings]
    endpoints: Mapping[str, EndpointSettings]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upstream_settings: Mapping[str, UpstreamSettings] = field(default_factory=dict)
    route_settings: Mapping[str, RouteSettings] = field(default_factory=dict)
    breaker_settings: BreakerSettings = field(default_factory=BreakerSettings)
    retry_settings: RetrySettings = field(default_factory=RetrySettings)
    prices: PricesSettings = field(default_factory=PricesSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    budget_settings: Mapping[str, BudgetSettings] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    secret_variables: frozenset[str] = frozenset()
    places: Mapping[str, Spot] = field(default_factory=dict, repr=False, compare=False)
    """Where each key stands, by its dotted name: for what is found out later than by reading."""
    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the file and the environment say, word by word: for showing values that are taken from elsewhere."""
    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)

    def specs(self) -> dict[str, Spec]:
        """The endpoints by name, with their policies filled in."""
        return {name: self._spec(name, endpoint) for name, endpoint in self.endpoints.items()}

    def routes(self) -> dict[str, Route]:
        """The routes by name, without those that endpoints have by themselves."""
        return {name: route.route(name) for name, route in self.route_settings.items()}

    def upstreams(self) -> dict[str, Upstream]:
        """The upstreams by name."""
        return {name: upstream.upstream(name) for name, upstream in self.upstream_settings.items()}

    def tariff(self) -> Tariff:
        """The prices that stand in the configuration."""
        return tariff_of(self.endpoints, self.providers, self.upstream_settings)

    def budgets(self) -> tuple[Budget, ...]:
        """The budgets, in the order of the file."""
        return tuple(budget.budget(name) for name, budget in self.budget_settings.items())

    @property
    def breaker(self) -> BreakerPolicy | None:
        """When targets are left alone; None: never."""
        return self.breaker_settings.policy()

    @property
    def retry(self) -> RetryPolicy:
        """How attempts are repeated."""
        return self.retry_settings.policy()

    def located(self, error: InvalidInput, within: str = "") -> ConfigError:
        """The same error with the place of its field, or of what that stands in; `within` is the section of both."""
        key = f"{within}.{error.field or ''}".strip(".")
        place, above = None, key
        while above and place is None:
            place = self.places.get(above)
            above = above[: max(above.rfind("."), above.rfind("["), 0)]
        place = place or Spot(source=self.source)
        message = f"{within}.{error.message}" if within else error.message
        return ConfigError(message, field=key or None, source=place.source, line=place.line)

    def _spec(self, name: str, endpoint: EndpointSettings) -> Spec:
        return elsewhere.spec_of(name, endpoint, self.defaults, self.providers[endpoint.provider].type)


def load(
    path: str | Path | None = None, environ: Mapping[str, str] = os.environ, secrets: Secrets | None = None
) -> Settings:
    """Read the configuration from `path`, or from where `find` finds it. Raises ConfigError.

    With the `secrets` of an earlier reading, what a source that is down now held then goes on to count.
    """
    file = Path(path) if path else find(environ)
    if file is None:
        return parse("", ENVIRONMENT, environ, secrets)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The configuration can't be read: {reason}.", source=str(file)) from error
    return parse(text, str(file), environ, secrets)


def find(environ: Mapping[str, str]) -> Path | None:
    """The first of $LAMPLIGHTER_CONFIG, ./lamplighter.yaml and the user's configuration folder.

    None where there is no file and none is needed: the environment names endpoints. Raises ConfigError that tells where
    it looked and how to make one.
    """
    if named := environ.get("LAMPLIGHTER_CONFIG"):
        return Path(named)
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    places = [Path(FILE_NAME), home / "lamplighter" / FILE_NAME]
    for place in places:
        if place.is_file():
            return place
    if names_endpoints(environ):
        return None
    looked = " and ".join(str(place) for place in places)
    raise ConfigError(
        f"There is no configuration: looked for {looked}. "
        "`lamplighter init` writes one; --config or LAMPLIGHTER_CONFIG names one that lies elsewhere. "
        "For Hugging Face endpoints none is needed: HF_TOKEN, and HF_BASE_URL_<NAME> for each of them."
    )


def parse(text: str, source: str, environ: Mapping[str, str], secrets: Secrets | None = None) -> Settings:
    """Read the text of a configuration file.

    Relative paths begin at the folder of `source`. Raises ConfigError, or ConfigErrors where several things are wrong.
    """
    document = documents.read(text, source)
    warnings = apply(environ, document)
    secrets = secrets or Secrets(environ)
    secrets.begin()
    context = Context(environ, Path(source).absolute().parent, secrets)
    file, problems = _validate(document, context)
    providers = _all_providers(file, context.folder)
    raise_for([*document.problems, *problems, *check(file, document), *_tokens(providers, document, secrets)])
    return Settings(
        source=source,
        server=file.server,
        defaults=file.defaults,
        alarms=file.alarms,
        providers=providers,
        endpoints=file.endpoints,
        groups=file.groups,
        upstream_settings=file.upstreams,
        route_settings=file.routes,
        breaker_settings=file.breaker,
        retry_settings=file.retry,
        prices=file.prices,
        ledger=file.ledger,
        budget_settings=file.budgets,
        warnings=(*warnings, *budget_warnings(file)),
        secret_variables=variables_of(document, environ),
        secrets=secrets,
        written=document.data,
        places={dotted(path): place for path, place in document.places.items()},
    )


def _tokens(providers: Mapping[str, ProviderSettings], document: Document, secrets: Secrets) -> Iterator[Problem]:
    """Whether the tokens of providers can be had, where it is said where they are."""
    for name, provider in providers.items():
        path = ("providers", name, "options", "token")
        if problem := elsewhere.token_problem(provider, secrets):
            yield Problem(place=document.place(path), key=dotted(path), text=problem)


def named_places(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, Place]:
    """What the configuration names as places, by dotted keys; reads none of them. Without a configuration: nothing.

    What is not well written is left out. Raises ConfigError for a file that is named and can't be read.
    """
    if path is None:
        try:
            path = find(environ)
        except ConfigError:  # it raises for nothing but that there is none
            return {}
    if path is None:
        return {}
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The configuration can't be read.", source=str(path)) from error
    document = documents.read(text, str(path))
    apply(environ, document)
    context = Context(environ, Path(path).absolute().parent)
    found = {}
    for key, said in places_of(document):
        with contextlib.suppress(ValueError):
            if place := parse_place(said, lambda text: path_of(text, context)):
                found[key] = place
    return found


def starter_yaml() -> str:
    """The file that `lamplighter init` writes: a small model on this machine, and what else can be set."""
    return resources.files("lamplighter.config").joinpath("starter.yaml").read_text("utf-8")


def _all_providers(file: File, folder: Path) -> dict[str, ProviderSettings]:
    """Those of the file, with their types, and those that need not stand there."""
    implied = [ALWAYS_THERE]
    if any(endpoint.provider == elsewhere.HUGGING_FACE for endpoint in file.endpoints.values()):
        implied.append(elsewhere.HUGGING_FACE)  # not before: it needs a token
    every = {name: ProviderSettings() for name in implied} | file.providers
    typed = {name: one if one.type else one.model_copy(update={"type": name}) for name, one in every.items()}
    return {name: elsewhere.resolved(one, folder) for name, one in typed.items()}


def _validate(document: Document, context: Context) -> tuple[File, list[Problem]]:
    """Check each value; what is sound goes on to be checked as a whole, so that all problems are told at once."""
    try:
        return File.model_validate(document.data, context=context), []
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    problems = problems_of(errors, document)
    sound = _without(document.data, [error["loc"] for error in errors])
    return File.model_validate(sound, context=context), problems


def _without(data: dict[str, Any], paths: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """Leave out what is wrong. A provider stays, without bounds, so that what refers to it is not blamed."""
    rest = copy.deepcopy(data)
    for path in paths:
        match path:
            case ("groups", name, *_) if isinstance(rest.get("groups"), dict):
                rest["groups"].pop(name, None)
            case ("endpoints" | "upstreams" | "routes" | "budgets" as section, name, *_) if isinstance(
                rest.get(section), dict
            ):
                rest[section].pop(name, None)
            case ("providers", name, *_):
                rest["providers"][name] = {}
            case (section, *_):
                rest.pop(str(section), None)
    return rest
