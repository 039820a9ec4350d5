"""A provider that a package of its own brings: installed as users install one, and found by its entry point alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, lamplighter

pytestmark = pytest.mark.acceptance

PACKAGE = Path(__file__).parents[1] / "plugin"
CONFIGURATION = """
providers:
  lantern: {options: {oil: whale}}
endpoints:
  glow: {provider: lantern, model: org/glow, command: "none --port {port}", health_route: /health}
"""
ASK = {"messages": [{"role": "user", "content": "Is it dark?"}]}


def wheel(folder: Path) -> Path:
    """The package as a wheel, by what its pyproject.toml says; the tests need no build backend."""
    project: dict[str, Any] = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    about = f"{name}-{version}.dist-info"
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {place}\n" for key, place in entries.items())
        for group, entries in project["entry-points"].items()
    )
    files = {f"lantern/{file.name}": file.read_text("utf-8") for file in (PACKAGE / "lantern").glob("*.py")}
    files |= {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": points,
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel(folder))], check=True, timeout=60, stdout=subprocess.DEVNULL)
    return target


def environ(site: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LAMPLIGHTER_"))}
    home = str(site.parent)
    return kept | {"PYTHONPATH": str(site), "HOME": home, "HF_HOME": home, "XDG_CONFIG_HOME": home} | more


@pytest.fixture(scope="module")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    # Nobody listens at the stand-in: what is answered comes from the plug-in alone.
    there = environ(site, LAMPLIGHTER_CLOUD_URL="http://127.0.0.1:9")
    with lamplighter(tmp_path_factory.mktemp("server"), CONFIGURATION, environ=there) as one:
        yield one


def providers(site: Path, *options: str, **more: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "lamplighter", "providers", "--json", *options]
    done = subprocess.run(
        command, env=environ(site, **more), cwd=site.parent, capture_output=True, text=True, check=True, timeout=60
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_it_is_listed_with_its_package_and_what_it_can(site: Path) -> None:
    (found,) = [one for one in providers(site) if one["key"] == "lantern"]
    assert found["origin"] == "lamplighter-lantern 1.2.0"
    assert found["abilities"] == {
        "deploys": False,
        "sleeps": True,
        "lists_models": True,
        "prices": True,
        "runs_inference": True,
    }
    assert (found["missing"], found["configured"]) == (["No oil: set LANTERN_OIL."], False)


def test_what_it_lacked_is_missing_no_more_and_where_it_is_configured_is_said(
    site: Path, server: LamplighterProcess
) -> None:
    (found,) = [
        one for one in providers(site, "--config", str(server.config), LANTERN_OIL="1") if one["key"] == "lantern"
    ]
    assert (found["missing"], found["configured"], found["names"]) == ([], True, ["lantern"])


def test_without_the_package_it_is_not_there(site: Path) -> None:
    assert "lantern" not in [one["key"] for one in providers(site, PYTHONPATH="")]


def test_it_runs_an_endpoint_that_a_request_wakes(server: LamplighterProcess) -> None:
    answered = httpx2.post(f"{server.url}/v1/chat/completions", json={**ASK, "model": "glow"}, timeout=30)
    assert answered.json()["choices"][0]["message"]["content"] == "light from an endpoint"


def test_it_lists_and_offers_its_model(server: LamplighterProcess) -> None:
    listed = httpx2.get(f"{server.url}/api/models", params={"market": "lantern"}, timeout=30).json()
    assert [model["id"] for model in listed["models"]] == ["lantern/wick-1"]
    offered = httpx2.get(f"{server.url}/api/offers", params={"provider": "lantern", "kind": "serverless"}, timeout=60)
    (found,) = offered.json()["offers"]
    assert (found["model"], found["price_per_million"], found["tags"]) == (
        "lantern/wick-1",
        "0.25",
        ["region=eu", "gdpr"],
    )


def test_it_answers_an_inference(server: LamplighterProcess) -> None:
    answered = httpx2.post(
        f"{server.url}/api/inference/lantern/wick-1", json=ASK, params={"market": "lantern"}, timeout=30
    )
    assert answered.json()["choices"][0]["message"]["content"] == "light from the market"
    assert answered.headers["x-lamplighter-provider"] == "lantern"
