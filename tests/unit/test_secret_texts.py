"""What is composed of secrets blacks itself out as a secret does."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from lamplighter.domain.endpoint import EngineSpec, Spec
from lamplighter.domain.routing import Upstream
from lamplighter.domain.secret import SecretTexts
from lamplighter.engines.registry import ENGINES

HUSH = "hush-of-the-test"
TEXTS = SecretTexts({"Authorization": f"Bearer {HUSH}"})


def spec() -> EngineSpec:
    return EngineSpec(
        engine="command", command=("x", "{port}"), health_route="/h", env={"TOKEN": HUSH}, headers={"X-Key": HUSH}
    )


def test_texts_are_taken_out_as_they_are_and_shown_by_name_alone() -> None:
    assert (TEXTS["Authorization"], dict(TEXTS), len(TEXTS)) == (f"Bearer {HUSH}", {**TEXTS}, 1)
    assert {"Authorization": f"Bearer {HUSH}"} == TEXTS
    assert TEXTS != {"Authorization": "Bearer other"}
    for shown in (repr(TEXTS), str(TEXTS), f"{TEXTS}", f"{TEXTS!r}"):
        assert shown == "SecretTexts(Authorization=[redacted])"


def test_they_are_in_nothing_that_is_written_as_a_whole() -> None:
    for write in (json.dumps, pickle.dumps):
        with pytest.raises(TypeError):
            write(TEXTS)
    assert copy.deepcopy(TEXTS) is copy.copy(TEXTS) is TEXTS


@pytest.mark.parametrize("mapping", [TEXTS, {"Authorization": HUSH}])
def test_whatever_an_upstream_is_given_becomes_secret(mapping: dict[str, str]) -> None:
    upstream = Upstream(name="u", url="https://x/v1", headers=mapping)
    assert HUSH not in f"{upstream} {upstream.headers} {dataclasses.asdict(upstream)}"
    assert HUSH not in str(dataclasses.replace(upstream, url="https://y/v1").headers)


def test_the_environment_and_the_headers_of_an_engine_are_secret_all_the_way_to_its_start() -> None:
    engine = spec()
    launch = ENGINES["command"].launch(engine, name="e", host="127.0.0.1", port=1, model=None)
    assert launch.env["TOKEN"] == HUSH
    shown = (
        engine,
        engine.env,
        engine.headers,
        dataclasses.asdict(engine),
        Spec(name="e", provider="p", engine=engine),
    )
    assert HUSH not in " ".join(map(repr, (*shown, launch)))


def test_equal_specs_are_equal_whatever_they_were_given() -> None:
    assert spec() == dataclasses.replace(spec(), env=SecretTexts({"TOKEN": HUSH}))
    assert spec() != dataclasses.replace(spec(), env={"TOKEN": "other"})
