"""Where an endpoint is that a provider elsewhere has: what people paste, told apart."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from lamplighter.domain.endpoint import Remote

CONSOLE_FORM = "https://endpoints.huggingface.co/{namespace}/endpoints/{name}"
FORMS = (
    f"should be namespace/name, a name, the console's URL ({CONSOLE_FORM}), "
    "or the endpoint's own URL (such as https://abc123.us-east-1.aws.endpoints.huggingface.cloud)"
)
URL_FORMS = (
    f"should be the console's URL, {CONSOLE_FORM}, "
    "or the endpoint's own, such as https://abc123.us-east-1.aws.endpoints.huggingface.cloud"
)

_NAMESPACE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = r"[a-z0-9][a-z0-9.-]{0,62}"
_CONSOLES = frozenset({"endpoints.huggingface.co", "ui.endpoints.huggingface.co"})
_NOT_ENDPOINTS = frozenset({"huggingface.co", "router.huggingface.co", "api.endpoints.huggingface.cloud", "hf.co"})
_BY_NAME = re.compile(rf"(?:({_NAMESPACE})/)?({_NAME})").fullmatch
_CONSOLE_PATH = re.compile(rf"/({_NAMESPACE})/endpoints/({_NAME})(?:/[\w/-]*)?").fullmatch
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:.]+").fullmatch


def parse_remote(value: object) -> Remote:
    """Read any of `FORMS`. Raises ValueError that tells what is right."""
    if isinstance(value, str) and "://" in value:
        return parse_url(value)
    found = _BY_NAME(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(FORMS)
    return Remote(namespace=found[1], name=found[2])


def parse_url(value: str) -> Remote:
    """Read the console's URL of an endpoint, or the endpoint's own. Raises ValueError that tells what is right."""
    parts = _split(value.strip())
    host = parts.hostname or ""
    if host in _CONSOLES:
        found = _CONSOLE_PATH(parts.path.rstrip("/"))
        if found is None:
            raise ValueError(f"is no endpoint's page: {URL_FORMS}")
        return Remote(namespace=found[1], name=found[2])
    if host in _NOT_ENDPOINTS:
        raise ValueError(f"is no endpoint: {URL_FORMS}")
    if parts.query or parts.fragment:
        raise ValueError(f"has a part behind its path: {URL_FORMS}")
    return Remote(url=data_plane_url(value))


def data_plane_url(value: str) -> str:
    """The URL that requests go to, without what people add for OpenAI's clients (`/v1`) and slashes at the end."""
    return value.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"is not a URL: {URL_FORMS}") from None
    if parts.scheme not in {"http", "https"} or not _HOST(parts.hostname or "") or port == 0:
        raise ValueError(f"is not a URL: {URL_FORMS}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"must not hold a user or a password: {URL_FORMS}")
    return parts
