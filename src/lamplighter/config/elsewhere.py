"""Endpoints that live at a provider elsewhere: what may stand under them, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from lamplighter.config.file import EndpointSettings, File, PolicySettings, ProviderSettings
from lamplighter.config.problems import Path
from lamplighter.domain.endpoint import Deployment, Policy, Remote, Spec
from lamplighter.errors import InvalidInput, NotAllowed
from lamplighter.hf.forms import DeploymentForm
from lamplighter.hf.rules import each
from lamplighter.hf.token import checked
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets

HUGGING_FACE = "huggingface"
"""A kind of provider, and the name of one that is there as soon as an endpoint lives at it."""

HERE = frozenset({"local", "memory"})
"""Kinds of providers whose endpoints run for this server alone."""
_ONLY_ELSEWHERE = ("remote", "create", "deployment")
_ONLY_HERE = ("engine", "command", "args", "env", "cwd", "start_timeout", "stop_grace", "replicas")
_SHORTEST, _LONGEST = 15 * 60.0, 2880 * 60.0

Complaint = tuple[Path, str]


def spec_of(name: str, endpoint: EndpointSettings, defaults: PolicySettings, kind: str) -> Spec:
    """The endpoint as the rest of the program knows it; `kind` is its provider's. Raises InvalidInput."""
    if kind != HUGGING_FACE and (kind in HERE or endpoint.remote is None):
        return endpoint.spec(name, defaults)
    return endpoint.spec(name, defaults, remote=endpoint.place(), deployment=_deployment(name, endpoint))


def kinds_of(file: File) -> dict[str, str]:
    """Each provider's kind, by its name."""
    named = {name: provider.type or name for name, provider in file.providers.items()}
    return {"local": "local", HUGGING_FACE: HUGGING_FACE} | named


def complaints(file: File) -> Iterator[Complaint]:
    """What is wrong with where endpoints live, and what they are made of."""
    kinds = kinds_of(file)
    for name, provider in file.providers.items():
        if kinds[name] == HUGGING_FACE:
            yield from ((("providers", name, "options", *path), text) for path, text in _options(provider))
    seen: dict[tuple[str, Remote], str] = {}
    for name, endpoint in file.endpoints.items():
        kind = kinds.get(endpoint.provider)
        found = _elsewhere(name, endpoint, file, seen) if kind == HUGGING_FACE else _here(endpoint, kind)
        yield from ((("endpoints", name, *path), text) for path, text in found)


def resolved(provider: ProviderSettings, folder: FilePath) -> ProviderSettings:
    """The same, with the file of its token found from the configuration's folder."""
    token = provider.options.get("token")
    if provider.type != HUGGING_FACE or not isinstance(token, str) or not token.startswith("file:"):
        return provider
    path = folder / FilePath(token.removeprefix("file:")).expanduser()
    return provider.model_copy(update={"options": {**provider.options, "token": f"file:{path}"}})


def token_problem(provider: ProviderSettings, secrets: Secrets) -> str | None:
    """Why the token of a provider can't be had, where it is said where that is. Other mistakes are told elsewhere."""
    if provider.type != HUGGING_FACE:
        return None
    from lamplighter.providers.huggingface.options import Options  # noqa: PLC0415 - who has none should not pay for it

    try:
        place = Options.of(provider.options).token_place(secrets.environ)
        if place is not None:
            checked(secrets.read(place).reveal(), "what it names")
    except InvalidInput:
        return None
    except SecretError as error:
        return f"names {error.message}"
    except NotAllowed as error:
        return error.message
    return None


def _options(provider: ProviderSettings) -> Iterator[Complaint]:
    from lamplighter.providers.huggingface.options import Options  # noqa: PLC0415 - who has none should not pay for it

    try:
        Options.of(provider.options)
    except InvalidInput as error:
        yield tuple((error.field or "").split(".")), error.message.removeprefix(f"{error.field}: ")


def _here(endpoint: EndpointSettings, kind: str | None) -> Iterator[Complaint]:
    if kind in HERE:
        for key in sorted(endpoint.model_fields_set.intersection(_ONLY_ELSEWHERE)):
            text = f"is for endpoints at a provider elsewhere; {endpoint.provider!r} is of type {kind}"
            yield (key,), f"{text}. Did you forget `provider: {HUGGING_FACE}`?"
        if "slept_by" in endpoint.model_fields_set and endpoint.slept_by == "provider":
            yield ("slept_by",), f"a provider of type {kind} puts nothing to sleep by itself; leave it at lamplighter"
    if endpoint.engine is None and not endpoint.command:
        yield (), "needs an `engine`, such as llamacpp, or a `command`"


def _elsewhere(
    name: str, endpoint: EndpointSettings, file: File, seen: dict[tuple[str, Remote], str]
) -> Iterator[Complaint]:
    for key in [key for key in _ONLY_HERE if key in endpoint.model_fields_set]:
        yield (key,), f"is for engines that run here; what runs at {endpoint.provider!r} is said by `deployment`"
    place = endpoint.remote or Remote(name=name)
    other = seen.setdefault((endpoint.provider, place), name)
    if other != name:
        yield (("remote",) if endpoint.remote else ()), f"is the same endpoint as endpoints.{other}; give that an alias"
    yield from _making(name, endpoint, place)
    yield from _sleeping(endpoint.over(file.defaults))


def _making(name: str, endpoint: EndpointSettings, place: Remote) -> Iterator[Complaint]:
    if endpoint.create == "never":
        if endpoint.deployment is not None:
            yield ("deployment",), "makes nothing without `create: if-missing`"
        return
    if place.url:
        yield ("create",), "needs an endpoint that is named: one that is found by its URL can't be made"
    if endpoint.deployment is None:
        yield ("create",), "needs a `deployment` that says what to make"
        return
    try:
        _form(name, endpoint)
    except InvalidInput as error:
        for one in each(error):
            field = one.field.split(".") if one.field else []
            yield ("deployment", *field), one.message.removeprefix(f"{one.field}: ")


def _sleeping(policy: Policy) -> Iterator[Complaint]:
    timeout = policy.idle_timeout
    if policy.slept_by_provider and timeout is not None and not _SHORTEST <= timeout <= _LONGEST:
        text = f"the provider can put it to sleep after 15m to 48h without a request; idle_timeout is {timeout:g} s"
        yield ("slept_by",), text


def _form(name: str, endpoint: EndpointSettings) -> DeploymentForm:
    values = endpoint.deployment or {}
    if "name" in values:
        raise InvalidInput("name: is the endpoint's own; give `remote` for another one", field="name")
    return DeploymentForm.of({**values, "name": endpoint.place().name or name})


def _deployment(name: str, endpoint: EndpointSettings) -> Deployment | None:
    if endpoint.deployment is None:
        return None
    return deployment_of(_form(name, endpoint))


def deployment_of(form: DeploymentForm) -> Deployment:
    """The document of a form, with its secrets kept apart."""
    document = form.body()
    model: Mapping[str, Any] = document["model"]
    open_parts = {key: value for key, value in model.items() if key != "secrets"}
    return Deployment(document={**document, "model": open_parts}, secrets=dict(form.secrets))
