"""Comparing and completing images. The API takes an image whole, and never gives registry credentials back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamplighter.errors import InvalidInput
from lamplighter.hf.rules import WITHOUT_URL

HIDDEN = "…"


def split(image: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """An image's variant and its settings; None for no image."""
    for variant, inner in image.items():
        return variant, dict(inner) if isinstance(inner, Mapping) else {}
    return None, {}


def differs(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an image would change. What is not wanted counts as it is; credentials that are there count as right."""
    now_variant, now = split(current)
    variant, inner = split(wanted)
    if variant != now_variant:
        return True
    return any(_setting_differs(key, now.get(key), value) for key, value in inner.items())


def has_credentials(image: Mapping[str, Any]) -> bool:
    """Whether an image comes with a login of its own."""
    return bool(split(image)[1].get("credentials"))


def _setting_differs(key: str, now: Any, wanted: Any) -> bool:
    if key == "credentials":
        return bool(wanted) != (now is not None)
    return bool(now != wanted)


def completed(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The whole image to send, so that what is not named of the same variant stays as it is.

    Raises InvalidInput where that would need credentials that the API has blanked.
    """
    now_variant, now = split(current)
    variant, inner = split(wanted)
    if variant is None or variant != now_variant:
        return dict(wanted)
    blanked = now.pop("credentials", None)
    if blanked is not None and "credentials" not in inner:
        raise InvalidInput(
            f"image.{variant}.credentials: this image is pulled with a login that the API does not show, and an image "
            "is replaced whole; give the credentials again",
            field="image",
        )
    return {variant: now | inner}


def is_whole(image: Mapping[str, Any]) -> bool:
    """Whether an image can be sent without knowing the present one."""
    variant, inner = split(image)
    return variant in WITHOUT_URL or inner.get("url") is not None


def shown(image: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An image for people: registry credentials are hidden."""
    if image is None:
        return None
    return {variant: _hide(inner) for variant, inner in image.items()}


def _hide(inner: Any) -> Any:
    if not isinstance(inner, Mapping) or inner.get("credentials") is None:
        return inner
    return {**inner, "credentials": HIDDEN}
