"""What the page may do in a browser, and what keeps others from using it. Pure.

Scripts run that come from this server as files, or carry the nonce of their answer; nothing is evaluated, no text
becomes HTML (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/), and no other host is asked.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from lamplighter.gateway.asgi import Headers

_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
    "font-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types vue dompurify"
)
_WITHOUT_SCRIPT = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_INLINE = re.compile(rb"<(script|style)(?=[\s>])")
_HIDDEN = b' style="display: none"'

HARDENING: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""Goes with every answer of the page."""


INERT: Headers = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")]
"""Goes with what others wrote: opened as a page of its own it runs nothing, and belongs to no site."""


def content_policy(nonce: str) -> bytes:
    """The content security policy of an answer whose inline scripts and styles carry `nonce`."""
    return _POLICY.replace("{nonce}", nonce).encode()


def plain_policy() -> bytes:
    """That of an answer without any script."""
    return _WITHOUT_SCRIPT.encode()


def with_nonce(document: bytes, nonce: str) -> bytes:
    """Mark the toolkit's own inline scripts and styles as meant, and write its one style attribute another way.

    What users typed stands in such a document only as JSON without `<`, so no tag in it is theirs.
    """
    return _INLINE.sub(rb'<\1 nonce="' + nonce.encode() + b'"', document.replace(_HIDDEN, b" hidden"))


def is_own_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request that tells an origin comes from a page of the server that is asked as `host`."""
    if not origin or not host:
        return False
    try:
        site = urlsplit(origin)
    except ValueError:
        return False
    return site.scheme in {"http", "https"} and site.netloc == host
