"""What is asked for, by which rules, and how it differs from what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.hardware import Hardware
from lamplighter.errors import InvalidInput, NoCapacity, QuotaExceeded
from lamplighter.hf import rules
from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.placement import check_hardware
from lamplighter.hf.records import Endpoint
from lamplighter.hf.rules import Mistakes
from lamplighter.hf.wire_rules import check_create_body, check_update_body
from tests.hf_stage import document, form

FILE: dict[str, Any] = {
    "name": "bert",
    "repository": "org/model",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "gpu",
    "instance-type": "nvidia-l4",
    "instance_size": "x1",
}


def there(**more: Any) -> Endpoint:
    return Endpoint.of(document(**more), "me")


# Rules


@pytest.mark.parametrize("name", ["a", "bert", "my-model-2", "0", "x" * 32])
def test_a_name_by_the_rule_is_taken(name: str) -> None:
    assert rules.check_name(name) == name


@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("My_Model", "my-model"),
        ("a" * 40, "a" * 32),
        ("-x-", "x"),
        ("Größe 2", "groe-2"),
        ("a.b/c", "a-b-c"),
        ("x" * 31 + "-y", "x" * 31),
    ],
)
def test_a_name_against_the_rule_is_told_the_rule_and_one_that_would_do(name: str, offer: str) -> None:
    with pytest.raises(InvalidInput, match="at most 32") as caught:
        rules.check_name(name)
    assert f"{offer!r} would do" in str(caught.value)
    assert rules.check_name(offer) == offer
    assert caught.value.field == "name"


@given(st.text(max_size=60))
def test_a_proposal_is_a_name_or_nothing(text: str) -> None:
    offer = rules.proposal(text)
    assert offer == "" or rules.check_name(offer) == offer


@pytest.mark.parametrize("name", ["", "   ", 3, None, "!!!"])
def test_what_can_be_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInput):
        rules.check_name(name)


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"min_replica": 2}, "min_replica", "more than max_replica"),
        ({"min_replica": -1}, "min_replica", "0 or more"),
        ({"max_replica": 0}, "max_replica", "1 or more"),
        ({"max_replica": True}, "max_replica", "whole number"),
        ({"max_replica": "2"}, "max_replica", "whole number"),
        ({"scale_to_zero_timeout": 14}, "scale_to_zero_timeout", "15 to 2880 minutes"),
        ({"scale_to_zero_timeout": 2881}, "scale_to_zero_timeout", "15 to 2880 minutes"),
        ({"scale_to_zero_timeout": 15, "min_replica": 1}, "scale_to_zero_timeout", "min_replica 0"),
        ({"type": "secret"}, "type", "known are authenticated, private, public"),
        ({"type": "publik"}, "type", "did you mean 'public'"),
        ({"accelerator": "gpus"}, "accelerator", "did you mean 'gpu'"),
        ({"framework": "pytroch"}, "framework", "did you mean 'pytorch'"),
        ({"image": {"vllm": {"url": "x"}}}, "image", "did you mean 'vLLM'"),
        ({"image": {"vLLM": {"port": 80}}}, "image.vLLM", "url: missing"),
        ({"image": {"vLLM": {"url": "x", "tensorParalelSize": 2}}}, "image.vLLM", "did you mean 'tensorParallelSize'"),
        ({"image": {"url": "x", "prot": 80}}, "image", "did you mean 'port'"),
        ({"image": {"url": "x", "port": 0}}, "image.port", "1 to 65535"),
        ({"image": {"url": "x y"}}, "image.url", "blanks"),
        ({"image": {"url": "x", "health_route": "health"}}, "image.healthRoute", "begins with /"),
        ({"image": {"url": "x", "health_route": "/a", "healthRoute": "/b"}}, "image", "give one"),
        ({"image": {"url": "x", "credentials": {"password": "p4ss"}}}, "image.credentials", "username: missing"),
        ({"image": {"url": "x", "credentials": {"username": "u", "pass": "p4ss"}}}, "image.credentials", "known are"),
        ({"image": {"port": 80}}, "image", "url: missing"),
        ({"image": {}}, "image", "one variant"),
        ({"image": {"tgi": {"url": "x"}, "tei": {"url": "y"}}}, "image", "one variant"),
        ({"image": "vllm"}, "image", "mapping"),
        ({"env": {"A": 1}}, "env.A", "quotes"),
        ({"env": {"A=B": "1"}}, "env", "name of a variable"),
        ({"env": ["A=1"]}, "env", "mapping"),
        ({"secrets": {"K": 12345678}}, "secrets.K", "must be text"),
        ({"env": {"A": "1"}, "secrets": {"A": "2"}}, "secrets", "one or the other"),
        ({"tags": "nlp"}, "tags", "list"),
        ({"tags": ["a", ""]}, "tags[1]", "empty"),
        ({"tags": [1]}, "tags[0]", "text"),
        ({"args": "--x 1"}, "args", "list"),
        ({"args": ["--x", 1]}, "args[1]", "quotes"),
        ({"revision": 1234567}, "revision", "quotes"),
        ({"task": ""}, "task", "empty"),
        ({"repository": "a\nb"}, "repository", "control"),
        ({"region": None}, "region", "missing"),
        ({"nmae": "x"}, "nmae", "did you mean 'name'"),
        ({"min-replica": 0, "min_replica": 1}, "min_replica", "twice"),
        ({3: "x"}, "deployment", "quotes"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_field_and_what_would_be_right(values: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        DeploymentForm.of(FILE | values)
    assert words in str(caught.value)
    assert caught.value.field is not None
    assert caught.value.field.startswith(field)
    assert re.match(r"\w+", field)[0] in str(caught.value)  # type: ignore[index]
    assert "12345678" not in str(caught.value)
    assert "p4ss" not in str(caught.value)


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(InvalidInput, match="needed are repository, accelerator, instance_type, instance_size"):
        DeploymentForm.of({"name": "x", "vendor": "aws", "region": "r"})
    with pytest.raises(InvalidInput, match="mapping"):
        DeploymentForm.of(["name"])  # type: ignore[arg-type]


def test_all_that_is_wrong_is_told_at_once_each_with_its_field() -> None:
    wrong = {
        "name": "No Name",
        "nmae": "x",
        "color": "red",
        "accelerator": "gpus",
        "min_replica": -1,
        "max_replica": "two",
        "scale_to_zero_timeout": 5,
        "image": {"url": 7, "port": 0, "prot": 1, "credentials": {"password": 7, "user": "x"}},
        "args": [1, "--x", 2],
        "env": {"A": 1, "B=": "x", "C": "fine"},
        "secrets": {"K": 12345678},
        "tags": ["", 3],
        "type": "secret",
    }
    given = {key: value for key, value in FILE.items() if key != "repository"} | wrong
    with pytest.raises(Mistakes) as caught:
        DeploymentForm.of(given)
    told = [(error.field, error.message) for error in caught.value.errors]
    assert [message for _, message in told] == str(caught.value).splitlines()
    assert [message.partition(": ")[0] for _, message in told] == [
        *("nmae", "color", "repository", "name", "accelerator", "type", "min_replica", "max_replica"),
        *("scale_to_zero_timeout", "image.prot", "image.url", "image.port", "image.credentials.password"),
        *("image.credentials.user", "image.credentials.username", "args[0]", "args[2]", "env.A", "env", "secrets.K"),
        "tags[1]",
    ]
    assert "12345678" not in str(caught.value)
    with pytest.raises(Mistakes, match=r"(?s)min_replica: -1.*tags\[0\]"):
        Changes.of({"min_replica": -1, "tags": [""]})


def test_one_that_can_not_move_is_told_of_vendor_and_region_and_of_what_else_is_wrong() -> None:
    current = there()
    elsewhere = form(vendor="azure", region="moon", max_replica=0)
    with pytest.raises(Mistakes) as caught:
        elsewhere.changes_from(current)
    assert [error.field for error in caught.value.errors] == ["max_replica", "vendor", "region"]


def test_the_old_type_is_mapped_and_explained() -> None:
    with pytest.warns(FutureWarning, match="'protected' is the old word for 'authenticated'") as caught:
        made = form(type="protected")
    assert made.type == "authenticated"
    assert made.body()["type"] == "authenticated"
    assert caught[0].filename.endswith("hf_stage.py"), "it points at who said it"
    with pytest.warns(FutureWarning):
        assert Changes(type="protected").body() == {"type": "authenticated"}


# Bodies


def test_a_body_holds_what_was_said_and_passes_the_servers_rules() -> None:
    whole = form(
        revision="main",
        task="text-generation",
        type="public",
        image={
            "url": "registry/x:1",
            "port": 80,
            "health_route": "/up",
            "credentials": {"username": "u", "password": "p"},
        },
        command=["serve"],
        args=["--a", "b"],
        env={"A": "1"},
        secrets={"S": "2"},
        tags=["t"],
    )
    body = whole.body()
    assert body["model"] == {
        "repository": "org/model",
        "framework": "pytorch",
        "revision": "main",
        "task": "text-generation",
        "command": ["serve"],
        "args": ["--a", "b"],
        "env": {"A": "1"},
        "secrets": {"S": "2"},
        "image": {
            "custom": {
                "url": "registry/x:1",
                "port": 80,
                "healthRoute": "/up",
                "credentials": {"username": "u", "password": "p"},
            }
        },
    }
    assert body["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1}
    assert body["tags"] == ["t"]
    check_create_body(json.loads(json.dumps(body)))
    assert "'2'" not in repr(whole)
    assert "'p'" not in repr(whole)


def test_what_was_not_said_is_left_out_of_the_body() -> None:
    body = form().body()
    assert "task" not in body["model"]
    assert "revision" not in body["model"]
    assert "tags" not in body
    assert body["model"]["image"] == {"huggingface": {}}


def test_a_setting_that_is_newer_than_we_are_is_passed_on() -> None:
    image = {"vLLM": {"url": "x", "kvOffloadGigabytes": 4}}
    assert form(image=image).body()["model"]["image"] == image


def test_an_engine_on_this_machine_needs_no_container() -> None:
    local = form(vendor="local", region="local", image={"llamacpp": {"ctxSize": 4096}})
    assert local.body()["model"]["image"] == {"llamacpp": {"ctxSize": 4096}}
    check_create_body(local.body())


def test_a_change_holds_only_what_changes() -> None:
    assert Changes().is_empty
    assert Changes().body() == {}
    assert not Changes(tags=[]).is_empty
    assert Changes(tags=[], env={}, min_replica=0).body() == {
        "compute": {"scaling": {"minReplica": 0}},
        "model": {"env": {}},
        "tags": [],
    }
    assert Changes.of({"max-replica": 3, "instance-size": "x4"}).body() == {
        "compute": {"instanceSize": "x4", "scaling": {"maxReplica": 3}}
    }
    with pytest.raises(InvalidInput, match="did you mean 'max_replica'"):
        Changes.of({"max_replicas": 3})


def test_a_change_is_checked_against_what_is_there() -> None:
    with pytest.raises(InvalidInput, match="more than max_replica, which is 1"):
        Changes(min_replica=2).check(there())
    with pytest.raises(InvalidInput, match="one or the other"):
        Changes(secrets={"A": "x"}).check(there())
    Changes(args=["x"]).check(there())


# Differences


def test_a_form_that_says_what_is_there_changes_nothing() -> None:
    mine = form(
        revision="6c0e6080953db56375760c0471a8c5f2929baf11",
        task="text-generation",
        scale_to_zero_timeout=15,
        image={"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "port": 8000}},
        args=["--max-model-len", "4096"],
        env={"A": "1"},
        tags=["nlp"],
    )
    changes = mine.changes_from(there())
    assert changes.is_empty
    assert changes.differences(there()) == []


def test_what_differs_is_found_and_shown() -> None:
    mine = form(
        max_replica=3,
        args=["--new"],
        env={"A": "2", "B": "3"},
        secrets={"KEY": "s3cret"},
        image={"vLLM": {"url": "vllm/vllm-openai:v0.24.0"}},
        instance_size="x4",
    )
    changes = mine.changes_from(there())
    rows = {name: (before, after) for name, before, after in changes.differences(there())}
    assert rows["max_replica"] == (1, 3)
    assert rows["args"] == (["--max-model-len", "4096"], ["--new"])
    assert rows["env.A"] == ("1", "2")
    assert rows["env.B"] == (None, "3")
    assert rows["secrets"] == ([], ["KEY"])
    assert rows["instance_size"] == ("x1", "x4")
    assert rows["image"][1]["vLLM"]["url"] == "vllm/vllm-openai:v0.24.0"
    assert set(rows) == {"max_replica", "args", "env.A", "env.B", "secrets", "instance_size", "image"}
    assert "s3cret" not in str(rows)
    image = changes.body()["model"]["image"]["vLLM"]
    assert image == {"url": "vllm/vllm-openai:v0.24.0", "port": 8000, "healthRoute": "/health"}, (
        "what was not named stays"
    )


def test_what_a_file_leaves_out_is_left_alone() -> None:
    current = there()
    raw = document()
    raw["compute"]["scaling"] |= {"minReplica": 1, "maxReplica": 4}
    raw["type"] = "public"
    grown = Endpoint.of(raw, "me")
    assert DeploymentForm.of(FILE).changes_from(grown).is_empty
    assert DeploymentForm.of(FILE | {"type": "authenticated"}).changes_from(grown).body() == {"type": "authenticated"}
    assert form().changes_from(grown).body() == {
        "type": "authenticated",
        "compute": {"scaling": {"minReplica": 0, "maxReplica": 1}},
    }
    assert DeploymentForm.of(FILE | {"args": [], "env": {}, "tags": []}).changes_from(current).body() == {
        "model": {"args": [], "env": {}},
        "tags": [],
    }


def test_secrets_count_as_changed_by_their_names_or_when_told_so() -> None:
    raw = document()
    raw["model"]["secrets"] = {"KEY": None}
    current = Endpoint.of(raw, "me")
    mine = form(secrets={"KEY": "new"})
    assert mine.changes_from(current).is_empty
    assert mine.changes_from(current, resend_secrets=True).body() == {"model": {"secrets": {"KEY": "new"}}}
    assert mine.changes_from(there()).secrets == {"KEY": "new"}


def test_a_branch_is_compared_by_the_commit_it_stands_for() -> None:
    commit = "6c0e6080953db56375760c0471a8c5f2929baf11"
    assert form(revision="main").changes_from(there()).revision == "main"
    assert form(revision="main").changes_from(there(), commit=commit).is_empty
    assert form(revision="main").changes_from(there(), commit="0" * 40).revision == "main"


@pytest.mark.parametrize(("field", "value"), [("region", "eu-west-1"), ("vendor", "gcp")])
def test_an_endpoint_can_not_move(field: str, value: str) -> None:
    with pytest.raises(InvalidInput, match="can't move") as caught:
        form(**{field: value}).changes_from(there())
    assert caught.value.field == field


def test_credentials_are_neither_shown_nor_taken_for_a_change() -> None:
    raw = document()
    raw["model"]["image"] = {"custom": {"url": "a/b:1", "credentials": {"username": "", "password": None}}}
    current = Endpoint.of(raw, "me")
    login = {"username": "u", "password": "p4ss"}
    assert form(image={"url": "a/b:1", "credentials": login}).changes_from(current).is_empty
    changes = form(image={"url": "a/b:2", "credentials": login}).changes_from(current)
    assert changes.body()["model"]["image"] == {"custom": {"url": "a/b:2", "credentials": login}}
    assert "p4ss" not in str(changes.differences(current))
    assert "p4ss" not in repr(changes)
    with pytest.raises(InvalidInput, match="give the credentials again"):
        form(image={"url": "a/b:2"}).changes_from(current)


# The wire's own rules

CLIENTS_BODY: dict[str, Any] = {
    "compute": {
        "accelerator": "cpu",
        "instanceSize": "x1",
        "instanceType": "t",
        "scaling": {
            "maxReplica": 1,
            "minReplica": 1,
            "scaleToZeroTimeout": None,
            "measure": {"hardwareUsage": None},
        },
    },
    "model": {"framework": "pytorch", "repository": "r", "revision": None, "image": {"huggingface": {}}},
    "name": "n",
    "provider": {"region": "r", "vendor": "v"},
    "type": "authenticated",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(CLIENTS_BODY))
    *way, last = path.split(".")
    place = body
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return body


def test_what_the_official_client_sends_is_taken() -> None:
    check_create_body(CLIENTS_BODY)
    check_create_body(changed("future", {"any": 1}))
    check_create_body(changed("model.image", {"vLLM": {"url": "x", "health_route": "/h", "tensorParalelSize": 2}}))
    check_create_body(changed("provider", {"vendor": "local", "region": "local"}))
    check_create_body(changed("tags", None))
    check_create_body(changed("type", "protected"))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("name", ..., "name"),
        ("name", "Bad Name", "name"),
        ("type", ..., "type"),
        ("type", "open", "type"),
        ("provider", [], "provider"),
        ("provider.region", ..., "provider.region"),
        ("compute.accelerator", "tpu", "compute.accelerator"),
        ("compute.scaling", ..., "compute.scaling"),
        ("compute.scaling.minReplica", ..., "compute.scaling.minReplica"),
        ("compute.scaling.minReplica", 2, "compute.scaling.minReplica"),
        ("compute.scaling.scaleToZeroTimeout", 5, "compute.scaling.scaleToZeroTimeout"),
        ("compute.scaling.scaleToZeroTimeout", 15, "compute.scaling.scaleToZeroTimeout"),
        ("compute.scaling.measure", {"hardwareUsage": "a"}, "compute.scaling.measure.hardwareUsage"),
        ("compute.scaling.measure", {"hardwareUsage": float("nan")}, "compute.scaling.measure.hardwareUsage"),
        ("model.task", None, "model.task"),
        ("model.image", ..., "model.image"),
        ("model.image", {"url": "x"}, "model.image"),
        ("model.image", {"vLLM": {}}, "model.image.vLLM"),
        ("model.image", {"wllm": {"url": "x"}}, "model.image"),
        ("model.framework", "jax", "model.framework"),
        ("model.repository", "", "model.repository"),
        ("model.args", "x", "model.args"),
        ("model.env", {"A": 1}, "model.env.A"),
        ("tags", [3], "tags[0]"),
    ],
)
def test_what_the_api_refuses_is_refused_with_its_path(path: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_create_body(changed(path, value))
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_is_an_object(body: Any) -> None:
    for check in (check_create_body, check_update_body):
        with pytest.raises(InvalidInput, match="JSON object"):
            check(body)


def test_an_update_may_say_nothing_and_must_fit_what_is_there() -> None:
    check_update_body({})
    check_update_body({"compute": {"scaling": {"minReplica": 0, "scaleToZeroTimeout": 15}}}, CLIENTS_BODY)
    asleep = changed("compute.scaling", {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15})
    check_update_body({"compute": {"scaling": {"minReplica": 1}}}, asleep)
    with pytest.raises(InvalidInput) as caught:
        check_update_body({"compute": {"scaling": {"minReplica": 2}}}, asleep)
    assert caught.value.field == "compute.scaling.minReplica"
    with pytest.raises(InvalidInput) as caught:
        check_update_body({"compute": {"scaling": {"scaleToZeroTimeout": 15}}}, CLIENTS_BODY)
    assert caught.value.field == "compute.scaling.scaleToZeroTimeout"
    with pytest.raises(InvalidInput, match="one or the other"):
        check_update_body({"model": {"secrets": {"A": "1"}}}, changed("model.env", {"A": "1"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
PATHS = [
    *("name", "type", "tags", "provider", "provider.vendor", "compute", "compute.accelerator", "compute.scaling"),
    *("compute.scaling.minReplica", "compute.scaling.scaleToZeroTimeout", "compute.scaling.measure"),
    *("model", "model.image", "model.image.huggingface", "model.revision", "model.env", "model.secrets", "model.args"),
]


def refusal(check: Callable[[Any], None], body: Any) -> InvalidInput | None:
    try:
        check(body)
    except InvalidInput as error:
        return error
    return None


@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_taken_or_refused_by_our_own_error(path: str, value: Any) -> None:
    body = json.loads(json.dumps(CLIENTS_BODY))
    *way, last = path.split(".")
    place = body
    for key in way:
        place = place[key]
    place[last] = value
    for check in (check_create_body, check_update_body):
        error = refusal(check, body)
        assert error is None or (error.field and len(str(error)) < 1000)


# Hardware


def hardware(**more: Any) -> Hardware:
    return Hardware(
        **{
            "id": "x",
            "vendor": "aws",
            "region": "us-east-1",
            "accelerator": "gpu",
            "instance_type": "nvidia-l4",
            "instance_size": "x1",
            "architecture": "Nvidia L4",
            "max_accelerators": 4,
            **more,
        }
    )


OFFERED = [
    hardware(),
    hardware(instance_size="x4", num_accelerators=4),
    hardware(instance_type="nvidia-a10g", status="not_available"),
    hardware(instance_type="nvidia-t4", status="deprecated"),
    hardware(instance_type="intel-spr", accelerator="cpu", instance_size="x2"),
    hardware(region="eu-west-1", instance_type="nvidia-a100"),
    hardware(vendor="gcp", region="us-east4"),
]


def test_hardware_that_is_offered_is_found() -> None:
    assert check_hardware(form(), OFFERED) is OFFERED[0]


@pytest.mark.parametrize(
    ("wanted", "field", "words"),
    [
        ({"vendor": "awz"}, "vendor", "did you mean 'aws'"),
        ({"region": "us-east-2"}, "region", "did you mean 'us-east-1'"),
        ({"region": "us-east4"}, "region", "one of gcp"),
        ({"instance_type": "nvidia-l40"}, "instance_type", "did you mean 'nvidia-l4'"),
        ({"instance_type": "nvidia-a100"}, "instance_type", "but in eu-west-1"),
        ({"instance_type": "h200"}, "instance_type", "known are nvidia-a10g, nvidia-l4, nvidia-t4"),
        ({"instance_size": "x8"}, "instance_size", "known are x1, x4"),
        ({"accelerator": "cpu"}, "accelerator", "which is 'gpu'"),
        ({"instance_type": "nvidia-t4"}, "instance_type", "no longer offered"),
    ],
)
def test_hardware_that_is_not_offered_is_told_the_nearest(wanted: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        check_hardware(form(**wanted), OFFERED)
    assert caught.value.field == field


def test_hardware_that_is_not_free_is_told_from_a_quota_that_is_used_up() -> None:
    with pytest.raises(NoCapacity, match="Free there now: nvidia-l4 x1, nvidia-l4 x4"):
        check_hardware(form(instance_type="nvidia-a10g"), OFFERED)
    used = [replace(item, used_accelerators=2) for item in OFFERED]
    with pytest.raises(QuotaExceeded, match="is 4, 2 in use and 4 needed"):
        check_hardware(form(instance_size="x4"), used)
    with pytest.raises(QuotaExceeded, match="3 needed"):
        check_hardware(form(min_replica=3, max_replica=3), used)
    with pytest.raises(InvalidInput, match="none is known"):
        check_hardware(form(), [])
