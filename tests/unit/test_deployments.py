"""What was made over the management API is there again after a restart, with its secrets, and once only."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lamplighter.api.hf.translate import Translator
from lamplighter.control.deployed import difference
from lamplighter.domain.endpoint import Deployment, Policy
from lamplighter.errors import Conflict, EndpointExists, StoreError
from lamplighter.providers.memory import Fault
from lamplighter.store.seal import KEY_FILE
from tests.gateway_stage import until
from tests.wire_stage import ROOT, WireStage, configured, document, wire_stage, with_model

SECRETS = {"TOKEN": "hush-hush"}
IMAGE = {"custom": {"url": "registry/image:1", "credentials": {"username": "u", "password": "quiet"}}}


def rows(data: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(data / "lamplighter.db")) as database:
        return database.execute("select name, document, secrets from deployments").fetchall()


def secrets_of(stage: WireStage, name: str) -> Mapping[str, str]:
    deployment = stage.deployments.deployment(name)
    assert deployment is not None
    return deployment.secrets


async def test_after_a_restart_an_endpoint_is_there_with_all_that_it_was_made_with(tmp_path):
    async with wire_stage(tmp_path) as here:
        made = await here.make(with_model(document(odd={"x": 1}), secrets=SECRETS, image=IMAGE))
    async with wire_stage(tmp_path) as here:
        again = await here.endpoint("made")
        assert again["model"] == made["model"]
        assert again["odd"] == {"x": 1}
        assert again["status"]["createdAt"] == made["status"]["createdAt"]
        deployment = here.fleet.endpoint("made").spec.deployment
        assert deployment is not None
        assert deployment.secrets == SECRETS
        assert deployment.document["model"]["image"] == IMAGE
        assert "lamplighter" not in deployment.document
        with pytest.raises(EndpointExists):
            await here.deployments.create(here.fleet.endpoint("made").spec, actor="me")


async def test_no_secret_is_written_in_plain_text(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS, image=IMAGE))
        deployment = here.deployments.deployment("made")
        assert "hush" not in repr(deployment)
        assert "quiet" not in repr(deployment)
    for file in tmp_path.iterdir():
        raw = file.read_bytes()
        assert b"hush-hush" not in raw
        assert b"quiet" not in raw
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_an_endpoint_whose_key_is_lost_is_listed_with_the_reason_and_can_be_mended(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS))
        await here.make(document("other"))
    (tmp_path / KEY_FILE).unlink()
    async with wire_stage(tmp_path) as here:
        raw = await here.endpoint("made")
        assert raw["status"]["state"] == "failed"
        assert "secret.key is gone" in raw["status"]["errorMessage"]
        assert [item["name"] for item in (await here.ask("GET", ROOT)).json()["items"]] == ["made", "other"]
        assert (await here.endpoint("other"))["status"]["state"] == "scaledToZero"
        assert (await here.ask("POST", f"{ROOT}/made/resume")).status_code == 400
        assert (await here.ask("POST", ROOT, document())).status_code == 409
        mended = await here.ask("PUT", f"{ROOT}/made", {"model": {"secrets": {"TOKEN": "new"}}})
        assert mended.status_code == 200, mended.text
        assert here.fleet.endpoint("made").spec.deployment is not None
        assert secrets_of(here, "made") == {"TOKEN": "new"}
    async with wire_stage(tmp_path) as here:
        assert secrets_of(here, "made") == {"TOKEN": "new"}


async def test_an_endpoint_that_can_t_be_brought_back_can_be_deleted(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS))
    (tmp_path / KEY_FILE).write_text("no key at all")
    async with wire_stage(tmp_path) as here:
        assert (await here.endpoint("made"))["status"]["state"] == "failed"
        assert (await here.ask("DELETE", f"{ROOT}/made")).json() == {}
        assert (await here.ask("GET", f"{ROOT}/made")).status_code == 404
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    "damage", ["{}", '{"name": "made"}', '{"name": "made", "provider": {}, "compute": 1}', "[]", '"x"']
)
async def test_a_damaged_row_stops_nothing(tmp_path, damage):
    async with wire_stage(tmp_path) as here:
        await here.make()
        await here.make(document("other"))
    with closing(sqlite3.connect(tmp_path / "lamplighter.db")) as database, database:
        database.execute("update deployments set document = ? where name = 'made'", (damage,))
    async with wire_stage(tmp_path) as here:
        assert (await here.endpoint("other"))["name"] == "other"
        broken = await here.endpoint("made")
        assert broken["status"]["state"] == "failed"
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200
        assert (await here.ask("GET", ROOT)).json()["totalItems"] == 1


async def test_a_provider_that_is_not_there_any_more_stops_nothing(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make()
    with closing(sqlite3.connect(tmp_path / "lamplighter.db")) as database, database:
        (text,) = database.execute("select document from deployments").fetchone()
        moved = json.loads(text) | {"lamplighter": {"provider": "gone"}}
        database.execute("update deployments set document = ?", (json.dumps(moved),))
    async with wire_stage(tmp_path) as here:
        raw = await here.endpoint("made")
        assert raw["status"]["state"] == "failed"
        assert "'gone'" in raw["status"]["errorMessage"]


async def test_a_name_that_the_configuration_took_meanwhile_is_the_configuration_s(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(document("chat"))
    async with wire_stage(tmp_path, configured()) as here:
        raw = await here.endpoint("chat")
        assert raw["status"]["createdBy"]["name"] == "configuration"
        assert (await here.ask("GET", ROOT)).json()["totalItems"] == 1
        assert (await here.ask("DELETE", f"{ROOT}/chat")).status_code == 409
    async with wire_stage(tmp_path) as here:
        assert (await here.endpoint("chat"))["model"]["repository"] == "org/model"


async def test_one_that_can_t_be_brought_up_without_its_secrets_can_be_paused_and_says_why_it_is_not_resumed(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS))
    (tmp_path / KEY_FILE).unlink()
    async with wire_stage(tmp_path) as here:
        assert here.deployments.problems()[0].startswith("endpoint made: The key file")
        refused = await here.ask("POST", f"{ROOT}/made/resume")
        assert (refused.status_code, refused.json()["code"]) == (400, "BAD_REQUEST")
        assert "secret.key is gone" in refused.json()["error"]
        assert (await here.ask("POST", f"{ROOT}/made/pause")).status_code == 200
        assert ("wake", "made") not in here.memory.calls
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200
        assert here.deployments.problems() == []
    assert rows(tmp_path) == []


async def test_a_registry_s_password_has_to_be_given_anew_too(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS, image=IMAGE))
    (tmp_path / KEY_FILE).unlink()
    async with wire_stage(tmp_path) as here:
        change: dict[str, Any] = {"model": {"secrets": {"TOKEN": "new"}}}
        refused = await here.ask("PUT", f"{ROOT}/made", change)
        assert refused.status_code == 400
        assert "model.image.custom.credentials" in refused.json()["error"]
        assert not (tmp_path / KEY_FILE).exists()
        change["model"]["image"] = IMAGE
        assert (await here.ask("PUT", f"{ROOT}/made", change)).status_code == 200
    async with wire_stage(tmp_path) as here:
        deployment = here.deployments.deployment("made")
        assert deployment is not None
        assert deployment.document["model"]["image"] == IMAGE


async def test_what_can_t_be_opened_stays_as_it_is_when_its_row_is_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("lamplighter.control.deployments.GONE_PATIENCE", 0.01)
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS))
    sealed = rows(tmp_path)[0][2]
    (tmp_path / KEY_FILE).unlink()
    async with wire_stage(tmp_path, delete_delay=60.0) as here:
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200
    assert rows(tmp_path)[0][2] == sealed
    assert json.loads(rows(tmp_path)[0][1])["lamplighter"]["leaving"] is True
    assert not (tmp_path / KEY_FILE).exists()


async def test_a_row_that_does_not_tell_the_names_of_its_secrets_wants_some(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make(with_model(document(), secrets=SECRETS))
    with closing(sqlite3.connect(tmp_path / "lamplighter.db")) as database, database:
        (text,) = database.execute("select document from deployments").fetchone()
        older = json.loads(text)
        del older["lamplighter"]["secrets"]
        database.execute("update deployments set document = ?", (json.dumps(older),))
    (tmp_path / KEY_FILE).unlink()
    async with wire_stage(tmp_path) as here:
        refused = await here.ask("PUT", f"{ROOT}/made", {"tags": ["x"]})
        assert refused.json()["error"].startswith("Bad Request: model.secrets:")
        change = {"model": {"secrets": {"TOKEN": "new"}}}
        assert (await here.ask("PUT", f"{ROOT}/made", change)).status_code == 200


async def test_a_delete_that_the_end_of_the_process_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lamplighter.control.deployments.GONE_PATIENCE", 0.01)
    async with wire_stage(tmp_path, delete_delay=60.0) as here:
        await here.make()
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200
    assert [name for name, *_ in rows(tmp_path)] == ["made"]
    async with wire_stage(tmp_path) as here:
        await until(lambda: "made" not in here.deployments.leaving)
        assert (await here.ask("GET", f"{ROOT}/made")).status_code == 404
        assert await here.store.load_deployments() == []


async def test_what_could_not_be_written_is_not_made(tmp_path, monkeypatch):
    async with wire_stage(tmp_path) as here:

        async def full(_saved):
            raise StoreError("The disk is full.")

        monkeypatch.setattr(here.store, "save_deployment", full)
        answer = await here.ask("POST", ROOT, document())
        assert (answer.status_code, answer.json()["reason"]) == (500, "store_error")
        assert "made" not in here.fleet.known()
        assert ("wake", "made") not in here.memory.calls


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_half_done(tmp_path):
    async with wire_stage(tmp_path) as here:
        here.memory.script("made", "create", Fault.HANG)
        hanging = asyncio.create_task(here.ask("POST", ROOT, document()))
        await until(lambda: rows(tmp_path))
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert (await here.make(document("other")))["name"] == "other"
    async with wire_stage(tmp_path) as here:
        assert (await here.endpoint("made"))["name"] == "made"  # on record before it was made: nothing is forgotten


async def test_a_pause_of_a_deployment_lasts(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.make()
        await here.until("made", "running")
        await here.ask("POST", f"{ROOT}/made/pause")
    async with wire_stage(tmp_path) as here:
        assert (await here.endpoint("made"))["lamplighter"]["paused"] is True


async def test_new_defaults_reach_endpoints_that_say_nothing_themselves(tmp_path):
    translator = Translator(Policy(idle_timeout=900.0))
    async with wire_stage(tmp_path, translator=translator) as here:
        await here.make()
        body = document("own")
        body["compute"]["scaling"]["scaleToZeroTimeout"] = 20
        await here.make(body)
        translator.defaults = Policy(idle_timeout=60.0, wake_timeout=7.0)
        await here.deployments.renew()
        assert here.fleet.endpoint("made").spec.policy.idle_timeout == 60.0
        assert here.fleet.endpoint("own").spec.policy.idle_timeout == 1200.0
        assert here.fleet.endpoint("own").spec.policy.wake_timeout == 7.0


async def test_a_server_that_goes_away_takes_no_more(tmp_path):
    async with wire_stage(tmp_path) as here:
        await here.deployments.close()
        answer = await here.ask("POST", ROOT, document())
        assert (answer.status_code, answer.json()["reason"]) == (503, "shutting_down")


async def test_the_configuration_s_endpoints_are_none_of_the_deployments(tmp_path):
    async with wire_stage(tmp_path, configured()) as here:
        with pytest.raises(Conflict, match="configuration file"):
            await here.deployments.delete("chat", actor="me")
        assert here.deployments.deployment("chat") is None


def test_a_difference_names_what_changed_and_no_value():
    before = Deployment(document={"model": {"env": {"A": "1"}, "args": []}, "type": "public"}, secrets={"S": "hush"})
    after = Deployment(document={"model": {"env": {"A": "2"}, "args": []}, "tags": ["x"]}, secrets={"S": "hush2"})
    assert difference(before, after) == "model.env.A, model.secrets.S, tags, type"
    assert difference(before, before) == "nothing"
