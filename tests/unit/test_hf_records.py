"""Reading what the management API answers, however odd."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.endpoint import Phase
from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, ProviderError
from lamplighter.hf.listings import hardware_of
from lamplighter.hf.paging import MOST_PAGES, Pages
from lamplighter.hf.records import Endpoint, Owner, ReplicaInfo
from tests.hf_stage import document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_every_part_of_an_endpoint_is_read() -> None:
    endpoint = Endpoint.of(document(), "me")
    assert (endpoint.name, endpoint.namespace, endpoint.type, endpoint.state) == (
        "bert",
        "me",
        "authenticated",
        "running",
    )
    assert endpoint.model.repository == "org/model"
    assert endpoint.model.args == ("--max-model-len", "4096")
    assert endpoint.model.env == {"A": "1"}
    assert endpoint.model.image["vLLM"]["port"] == 8000
    assert (endpoint.provider.vendor, endpoint.provider.region) == ("aws", "us-east-1")
    assert (endpoint.compute.instance_type, endpoint.compute.scaling.scale_to_zero_timeout) == ("nvidia-l4", 15)
    assert (endpoint.compute.scaling.min_replica, endpoint.compute.scaling.max_replica) == (0, 1)
    assert (endpoint.status.created_by, endpoint.status.ready_replica) == ("me", 1)
    assert endpoint.url == "https://abc.us-east-1.aws.endpoints.huggingface.cloud"
    assert endpoint.tags == ("nlp",)
    assert endpoint.phase is Phase.RUNNING


def test_what_nobody_knows_is_kept() -> None:
    raw = document(somethingNew={"a": 1})
    assert Endpoint.of(raw, "me").raw["somethingNew"] == {"a": 1}


def test_only_a_name_is_needed() -> None:
    endpoint = Endpoint.of({"name": "x"}, "me")
    assert (endpoint.url, endpoint.health_route, endpoint.state, endpoint.phase) == (
        None,
        "/health",
        "unknown",
        Phase.UNKNOWN,
    )
    assert (endpoint.compute.scaling.min_replica, endpoint.compute.scaling.max_replica) == (0, 1)


@pytest.mark.parametrize("raw", [{}, {"name": ""}, {"name": 3}, [], "x", None])
def test_what_has_no_name_is_no_endpoint(raw: Any) -> None:
    with pytest.raises(ProviderError):
        Endpoint.of(raw, "me")


@given(st.data())
def test_odd_parts_are_left_at_their_defaults(data: st.DataObject) -> None:
    raw = json.loads(json.dumps(document()))
    places = [raw, *(raw[key] for key in ("model", "compute", "status", "provider")), raw["compute"]["scaling"]]
    for _ in range(3):
        place = data.draw(st.sampled_from(places))
        key = data.draw(st.sampled_from(sorted(place)))
        if key != "name" or place is not raw:
            place[key] = data.draw(JSON)
    endpoint = Endpoint.of(raw, "me")
    assert endpoint.name == "bert"
    assert endpoint.phase in set(Phase)
    repr(endpoint)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("pending", Phase.STARTING),
        ("paused", Phase.SLEEPING),
        ("scaledToZero", Phase.SLEEPING),
        ("updateFailed", Phase.ERROR),
        ("hibernating", Phase.UNKNOWN),
    ],
)
def test_a_state_that_was_never_seen_is_passed_through_as_unknown(state: str, phase: Phase) -> None:
    endpoint = Endpoint.of(document(state=state), "me")
    assert (endpoint.state, endpoint.phase) == (state, phase)


@pytest.mark.parametrize(
    ("own", "phase"),
    [({"phase": "stopping"}, Phase.STOPPING), ({"phase": "dancing"}, Phase.RUNNING), ({"phase": ["x"]}, Phase.RUNNING)],
)
def test_a_lamplighter_knows_the_phase_better(own: Any, phase: Phase) -> None:
    assert Endpoint.of(document(lamplighter=own), "me").phase is phase


def test_endpoints_are_equal_by_what_they_say_and_do_not_show_the_raw_answer() -> None:
    one, other = Endpoint.of(document(), "me"), Endpoint.of(document(), "me")
    assert one == other
    assert "createdAt" not in repr(one)


def test_a_replica_needs_an_id() -> None:
    assert ReplicaInfo.of({"id": "a", "status": None}).live is None
    with pytest.raises(ProviderError):
        ReplicaInfo.of({"status": {}})


def owner(role: str = "write", scoped: Any = None) -> Owner:
    fine = {"global": ["discussion.write"], "scoped": scoped or []}
    token = {"role": role, "fineGrained": fine}
    return Owner.of(
        {
            "type": "user",
            "name": "me",
            "orgs": [{"name": "acme"}, {"no": "name"}, 3],
            "canPay": False,
            "auth": {"expiresAt": "2027-01-01T00:00:00.000Z", "accessToken": token},
        }
    )


def test_an_owner_is_read() -> None:
    mine = owner()
    assert (mine.name, mine.orgs, mine.role, mine.can_pay) == ("me", ("acme",), "write", False)
    assert mine.expires_at == "2027-01-01T00:00:00.000Z"
    assert mine.lamplighter is None
    assert Owner.of({"name": "x", "lamplighter": {"version": "1.2"}}).lamplighter == "1.2"
    with pytest.raises(ProviderError):
        Owner.of({"error": "no"})


def test_rights_are_told_by_role_and_namespace() -> None:
    write, read, call = "inference.endpoints.write", "inference.endpoints.read", "inference.endpoints.infer.write"
    assert [owner("write").may(right) for right in (write, read, call)] == [True, True, True]
    assert [owner("read").may(right) for right in (write, read, call)] == [False, True, True]
    fine = owner("fineGrained", [{"entity": {"name": "acme"}, "permissions": [write]}])
    assert (fine.may(write), fine.may(write, "acme"), fine.may(read, "acme")) == (False, True, False)
    assert fine.permissions == {write, "discussion.write"}
    assert owner("god").may(write) is None


def test_hardware_is_read_with_its_quota() -> None:
    compute = {
        "id": "aws-us-east-1-nvidia-l4-x1",
        "accelerator": "gpu",
        "numAccelerators": 1,
        "numCpus": 7,
        "memoryGb": 30.0,
        "gpuMemoryGb": 24,
        "instanceType": "nvidia-l4",
        "instanceSize": "x1",
        "architecture": "Nvidia L4",
        "status": "available",
        "pricePerHour": 0.8,
        "quota": {"maxAccelerators": 16, "usedAccelerators": 1},
    }
    region = {"name": "us-east-1", "label": "N. Virginia", "status": "available"}
    odd = [{"accelerator": "gpu"}, None, 3]
    raw = {"vendors": [{"name": "aws", "regions": [region | {"computes": [compute, *odd]}]}, {"regions": None}, 1]}
    (found,) = hardware_of(raw)
    assert (found.vendor, found.region, found.region_label, found.price_per_hour) == (
        "aws",
        "us-east-1",
        "N. Virginia",
        0.8,
    )
    assert (found.gpu_memory_gb, found.max_accelerators, found.used_accelerators) == (24.0, 16, 1)
    assert found.deployable
    closed = {"vendors": [{"name": "aws", "regions": [region | {"status": "not_available", "computes": [compute]}]}]}
    assert [item.status for item in hardware_of(closed)] == ["not_available"]
    assert hardware_of([]) == hardware_of({}) == hardware_of("x") == []


def test_a_listing_whose_cursors_are_swapped_is_followed() -> None:
    pages = Pages("name")
    assert pages.take({"items": [{"name": "a"}], "prevCursor": "1", "totalItems": 2}) == "1"
    assert pages.take({"items": [{"name": "b"}], "nextCursor": "0", "totalItems": 2}) is None
    assert [item["name"] for item in pages.items] == ["a", "b"]


def test_an_item_on_two_pages_counts_once_and_a_page_of_nothing_new_is_the_last() -> None:
    pages = Pages("name")
    assert pages.take({"items": [{"name": "a"}, {"name": "b"}], "nextCursor": "1"}) == "1"
    assert pages.take({"items": [{"name": "b"}, {"name": "c"}], "nextCursor": "2"}) == "2"
    assert pages.take({"items": [{"name": "c"}], "nextCursor": "3"}) is None
    assert [item["name"] for item in pages.items] == ["a", "b", "c"]


def test_a_listing_without_end_is_given_up() -> None:
    pages = Pages("name")
    for at in range(1, MOST_PAGES):
        assert pages.take({"items": [{"name": str(at)}], "nextCursor": str(at)}) == str(at)
    with pytest.raises(ProviderError, match="does not end"):
        pages.take({"items": [{"name": "more"}], "nextCursor": "more"})


@pytest.mark.parametrize("body", [None, {}, {"items": 3}, "x", {"error": "no"}])
def test_what_is_no_listing_is_an_error(body: Any) -> None:
    with pytest.raises(ProviderError, match="no list"):
        Pages("name").take(body)


# Secrets


def test_a_secret_is_shown_nowhere() -> None:
    secret = Secret("hf_topsecret")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), f"{secret:>20}"]
    assert not any("topsecret" in text for text in shown)
    assert secret.reveal() == "hf_topsecret"
    assert secret.scrub("token hf_topsecret!") == "token [redacted]!"


def test_a_secret_is_neither_pickled_nor_dumped() -> None:
    secret = Secret("x")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert copy.deepcopy([secret]) == [secret]
    assert copy.copy(secret) is secret


def test_secrets_are_compared_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    with pytest.raises(InvalidInput):
        Secret("")
