"""Whether a Lamplighter server answers, is ready, and takes our key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from lamplighter import __version__
from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.doctor.network import PATIENCE
from lamplighter.domain.loopback import is_loopback

if TYPE_CHECKING:
    import httpx2


async def examine(url: str, key: str | None, *, named: bool) -> AsyncIterator[Finding]:
    """Ask a server. `named`: somebody said that there is one; else it may be missing."""
    import httpx2  # noqa: PLC0415 - help should not pay for it

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    outside = not is_loopback(httpx2.URL(url).host)
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE, trust_env=outside) as client:
        try:
            alive = _object(await client.get("/healthz"))
        except httpx2.HTTPError as error:
            yield _absent(url, str(error) or type(error).__name__, named=named)
            return
        if "version" not in alive:
            yield bad("server", f"what answers at {url} is not a Lamplighter", "look at LAMPLIGHTER_URL or --server")
            return
        yield _version(url, str(alive["version"]))
        try:
            yield _ready(await client.get("/readyz"))
            yield _key(await client.get("/api/endpoints/status"), has_key=key is not None)
        except httpx2.HTTPError as error:
            yield bad("server", f"{url} stopped answering: {error}", "look at its log")


def _absent(url: str, reason: str, *, named: bool) -> Finding:
    if named:
        return bad("server", f"no server answers at {url}: {reason}", "start one with `lamplighter serve`")
    return note("server", f"none runs on this machine ({url})", "`lamplighter serve` runs one; Hugging Face needs none")


def _version(url: str, version: str) -> Finding:
    if version == __version__:
        return good("server", f"{url} answers, version {version}")
    return note(
        "server", f"{url} answers, version {version}; this is {__version__}", "use the same version on both sides"
    )


def _ready(response: httpx2.Response) -> Finding:
    told = _object(response)
    problems = told.get("problems")
    if response.status_code == 200 and told.get("ready"):
        return good("server readiness", "it is ready")
    why = (
        "; ".join(str(problem) for problem in problems) if isinstance(problems, list) and problems else "no reason told"
    )
    return bad("server readiness", f"it is not ready: {why}", "its log tells more")


def _key(response: httpx2.Response, *, has_key: bool) -> Finding:
    if response.status_code == 200:
        return good("server key", "our key is taken" if has_key else "it wants no key")
    if response.status_code in (401, 403):
        said = "it does not take our key" if has_key else "it wants a key, and there is none"
        return bad("server key", said, "put the right one into LAMPLIGHTER_KEY, or give --key-file", of_token=True)
    return bad(
        "server key", f"the question for endpoints was answered with {response.status_code}", "its log tells more"
    )


def _object(response: httpx2.Response) -> dict[str, Any]:
    try:
        told = response.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
