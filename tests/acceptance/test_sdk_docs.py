"""Every example of the page on Python runs as it stands there."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.acceptance.test_sdk_embedded import configuration

pytestmark = pytest.mark.acceptance

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
TOKEN = "hf_of_the_examples"

APPLICATION = """
from starlette.testclient import TestClient
with TestClient(app) as http:
    assert set(http.get("/where").json()) == {"mert", "embedder"}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    """A Lamplighter in the place of Hugging Face."""
    folder = tmp_path_factory.mktemp("examples")
    text = yaml.safe_dump(configuration(folder))
    keys = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
    with lamplighter(folder, text, environ={"LAMPLIGHTER_KEYS": keys}) as one:
        yield one


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(cloud: LamplighterProcess, number: int) -> None:
    example = EXAMPLES[number]
    environ = {
        "HF_TOKEN": TOKEN,
        "LAMPLIGHTER_CLOUD_URL": cloud.url,
        "XDG_STATE_HOME": str(cloud.folder / "state"),
        "HOME": str(cloud.folder),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    code = example + (APPLICATION if "lifespan=" in example else "")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
