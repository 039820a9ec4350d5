"""A provider from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamplighter.hf.api import ManagementApi
from lamplighter.providers.huggingface.options import Options
from lamplighter.providers.huggingface.provider import HuggingFaceProvider
from lamplighter.secrets.sources import Secrets


def make_provider(
    options: Mapping[str, Any], resources: Mapping[str, float], secrets: Secrets | None = None
) -> HuggingFaceProvider:
    """Make one; asks nobody. Raises InvalidInput for options that it does not take, TokenMissing."""
    settings = Options.of(options)
    token = settings.find_token(secrets)
    api = ManagementApi(
        settings.base_url,
        hub=settings.hub_url,
        token=token,
        namespace=settings.namespace,
        timeout=settings.retry.deadline,
        pace=settings.retry,
    )
    return HuggingFaceProvider(api, token=token, options=settings, resources=resources)
