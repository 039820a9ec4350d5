"""Values of the file that browsers care about: origins of pages, names of hosts."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema

_ANY = "*"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*").fullmatch
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*").fullmatch
_USUAL_PORTS = {"http": 80, "https": 443}


def _origin(value: object) -> str:
    """As a browser sends it (RFC 6454 section 6.2): in lower case, without a path, without the usual port."""
    right = "should be the origin of a page, such as https://app.example.com or http://localhost:5173, or '*' for all"
    if not isinstance(value, str):
        raise ValueError(right)  # noqa: TRY004 - pydantic wants this one
    text = value.strip().lower()
    if text == _ANY:
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(right) from None
    rest = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if not _SCHEME(parts.scheme) or not parts.netloc or not _is_host(parts.hostname or ""):
        raise ValueError(right)
    if rest:
        raise ValueError(f"{right}; a path has no place in it, not even a slash")
    return text.removesuffix(f":{port}") if port == _USUAL_PORTS.get(parts.scheme) else text


def _host_name(value: object) -> str:
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _is_host(text):
        raise ValueError("should be the name of a host without a port, such as models.lan, or an address")
    return text


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and bool(_HOST(text))
    return True


PageOrigin: TypeAlias = Annotated[
    str,
    BeforeValidator(_origin),
    WithJsonSchema({"type": "string", "description": "The origin of a page: https://app.example.com; or * for all."}),
]
HostName: TypeAlias = Annotated[
    str,
    BeforeValidator(_host_name),
    WithJsonSchema({"type": "string", "description": "The name of a host, without a port."}),
]
