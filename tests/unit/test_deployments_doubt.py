"""After a change without an answer the wire, the database, the fleet and the provider tell of the same endpoint."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lamplighter.providers.memory import Fault
from tests.gateway_stage import until
from tests.wire_stage import ROOT, document, wire_stage, with_model


def saved_revision(data: Path) -> str | None:
    with closing(sqlite3.connect(data / "lamplighter.db")) as database:
        (text,) = database.execute("select document from deployments where name = 'made'").fetchone()
    revision: str | None = json.loads(text)["model"]["revision"]
    return revision


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.UNREACHABLE, Fault.REFUSE])
async def test_a_change_without_a_clear_answer_leaves_the_old_one_everywhere(tmp_path, fault):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), revision="old"))
        assert (await here.ask("POST", f"{ROOT}/made/pause")).status_code == 200
        await here.until("made", "paused")
        here.memory.script("made", "update", fault)
        answer = await here.ask("PUT", f"{ROOT}/made", {"model": {"revision": "new"}})
        assert answer.status_code == 502, answer.text
        old = here.fleet.endpoint("made").spec
        assert old.deployment is not None
        assert old.deployment.document["model"]["revision"] == "old"
        assert (await here.endpoint("made"))["model"]["revision"] == "old"
        await until(lambda: saved_revision(tmp_path) == "old")
        await until(lambda: here.memory._endpoints["made"].spec == old)
        changed = await here.ask("PUT", f"{ROOT}/made", {"model": {"revision": "newer"}})
        assert changed.status_code == 200, changed.text
        assert saved_revision(tmp_path) == changed.json()["model"]["revision"] == "newer"
        assert here.memory._endpoints["made"].spec == here.fleet.endpoint("made").spec
