"""The pure parts of the provider for Hugging Face: options, the timer behind ours, documents, what states mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamplighter.domain.endpoint import Deployment, Policy, Replica, Spec, State
from lamplighter.errors import InvalidInput, TokenMissing, TokenWrong
from lamplighter.hf.forms import Changes
from lamplighter.hf.records import Endpoint, Scaling
from lamplighter.providers.huggingface import documents, reading
from lamplighter.providers.huggingface.backstop import needed_changes, wanted_minutes
from lamplighter.providers.huggingface.known import Known
from lamplighter.providers.huggingface.options import Options
from lamplighter.providers.registry import Site, make_provider
from tests.hf_cloud import DOCUMENT, MADE, SPEC
from tests.hf_stage import TOKEN, document


def said(state: str, **status: Any) -> Endpoint:
    raw = document(state=state)
    raw["status"] |= status
    return Endpoint.of(raw, "me")


# Options


def test_options_have_defaults() -> None:
    options = Options.of({})
    assert (options.namespace, options.look_every, options.retry.deadline) == (None, 30.0, 20.0)


def test_everything_can_be_said() -> None:
    options = Options.of(
        {
            "namespace": "org",
            "token": "env:MINE",
            "base_url": "https://cloud.example/v2/",
            "hub_url": "https://hub.example",
            "look_every": 10,
            "retry": {"attempts": 2, "base": 0.1, "cap": 1, "deadline": 5},
        }
    )
    assert options.base_url == "https://cloud.example/v2"
    assert (options.retry.attempts, options.retry.deadline) == (2, 5.0)


@pytest.mark.parametrize(
    ("values", "field", "told"),
    [
        ({"namspace": "x"}, "namspace", "unknown key; did you mean 'namespace'?"),
        ({"namespace": 7}, "namespace", "7 should be text"),
        ({"token": "hf_hush"}, "token", "is not a token's place"),
        ({"token": "env:"}, "token", "env:NAME"),
        ({"base_url": "ftp://x"}, "base_url", "is no address"),
        ({"base_url": "https://u:hush@x"}, "base_url", "no place in an address"),
        ({"look_every": 1}, "look_every", "at least 5"),
        ({"look_every": True}, "look_every", "number of seconds"),
        ({"look_every": float("nan")}, "look_every", "number of seconds"),
        ({"retry": 3}, "retry", "should be a mapping"),
        ({"retry": {"tries": 3}}, "retry.tries", "unknown key; "),
        ({"retry": {"attempts": 0}}, "retry.attempts", "a whole number from 1 to 100"),
        ({"retry": {"base": "x"}}, "retry.base", "number of seconds"),
    ],
)
def test_an_option_that_is_wrong_is_named(values: dict[str, Any], field: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r".") as raised:
        Options.of(values)
    assert raised.value.field == field
    assert told in raised.value.message
    assert "hush" not in raised.value.message
    with pytest.raises(InvalidInput) as raised:
        make_provider("huggingface", Site(name="hf", data=tmp_path, options=values))
    assert raised.value.message.startswith(f"providers.hf.options.{field}: ")


def test_a_token_comes_from_where_it_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGINGFACE_API_KEY", "LAMPLIGHTER_CLOUD_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINE", "hf_mine")
    assert _revealed(Options.of({"token": "env:MINE"})) == "hf_mine"
    monkeypatch.setenv("MINE", "hf_renewed")
    assert _revealed(Options.of({"token": "env:MINE"})) == "hf_renewed"
    (tmp_path / "token").write_text("hf_file\n")
    assert _revealed(Options.of({"token": f"file:{tmp_path}/token"})) == "hf_file"
    monkeypatch.setenv("HUGGINGFACE_API_KEY", "hf_key")
    assert _revealed(Options.of({})) == "hf_key"
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    assert _revealed(Options.of({})) == "hf_token"


def _revealed(options: Options) -> str | None:
    secret = options.find_token()()
    return secret.reveal() if secret else None


def test_a_missing_token_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    monkeypatch.delenv("MINE", raising=False)
    for place, told in (
        ("env:MINE", "the environment variable MINE, which is not set"),
        (f"file:{tmp_path}/nope", "can't be read: No such file"),
        (f"file:{tmp_path}/empty", "is empty"),
    ):
        with pytest.raises(TokenMissing, match=told) as raised:
            Options.of({"token": place}).find_token()()
        assert "\n" not in raised.value.message
        assert raised.value.exit_code == 4
    monkeypatch.setenv("MINE", "two words")
    with pytest.raises(TokenWrong):
        Options.of({"token": "env:MINE"}).find_token()()


def test_the_tokens_of_the_environment_go_to_hugging_face_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setenv("LAMPLIGHTER_KEY", "key")
    assert _revealed(Options.of({"base_url": "https://elsewhere.example"})) is None
    assert _revealed(Options.of({"base_url": "https://api.endpoints.huggingface.cloud"})) == "hf_token"
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", "http://127.0.0.1:1")
    assert _revealed(Options.of({})) == "hf_token"


# The provider's own timer


@pytest.mark.parametrize(
    ("idle", "minutes"), [(None, None), (1.0, 15), (600.0, 15), (900.0, 20), (901.0, 21), (3600.0, 65), (1e6, 2880)]
)
def test_the_providers_timer_is_behind_ours(idle: float | None, minutes: int | None) -> None:
    assert wanted_minutes(Policy(idle_timeout=idle)) == minutes


@pytest.mark.parametrize(("idle", "minutes"), [(900.0, 15), (901.0, 16), (172800.0, 2880)])
def test_the_providers_timer_alone_is_as_long_as_was_said(idle: float, minutes: int) -> None:
    assert wanted_minutes(Policy(idle_timeout=idle, slept_by_provider=True)) == minutes


def test_what_is_kept_warm_has_no_timer_behind_it() -> None:
    assert wanted_minutes(Policy(keep_warm=True)) is None


@pytest.mark.parametrize(
    ("scaling", "changes"),
    [
        (Scaling(min_replica=0, scale_to_zero_timeout=20), None),
        (Scaling(min_replica=0, scale_to_zero_timeout=15), Changes(scale_to_zero_timeout=20)),
        (Scaling(min_replica=0), Changes(scale_to_zero_timeout=20)),
        (Scaling(min_replica=2, max_replica=2, scale_to_zero_timeout=20), Changes(min_replica=0)),
        (Scaling(min_replica=1), Changes(min_replica=0, scale_to_zero_timeout=20)),
    ],
)
def test_only_what_differs_is_changed(scaling: Scaling, changes: Changes | None) -> None:
    assert needed_changes(scaling, Policy()) == changes
    assert needed_changes(scaling, Policy(idle_timeout=None)) is None


# Documents


def test_a_body_is_the_document_with_its_secrets_and_the_timer() -> None:
    deployment = Deployment(document={**DOCUMENT, "odd": {"kept": 1}}, secrets={"S": "hush"})
    body = documents.body_of(deployment, name="other", policy=Policy())
    assert body["name"] == "other"
    assert body["odd"] == {"kept": 1}
    assert body["model"]["secrets"] == {"S": "hush"}
    assert body["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 20}
    assert "scaleToZeroTimeout" not in DOCUMENT["compute"]["scaling"]
    assert documents.body_of(deployment, name="e", policy=Policy(keep_warm=True))["compute"] == DOCUMENT["compute"]


def test_a_change_names_only_what_differs() -> None:
    before: dict[str, Any] = {
        "name": "a",
        "compute": {"accelerator": "cpu", "scaling": {"minReplica": 0, "maxReplica": 1}},
        "model": {
            "env": {"A": "1", "B": "2"},
            "secrets": {"S": "x"},
            "task": "t",
            "args": ["x"],
            "command": ["c"],
            "image": {"vLLM": {"url": "u", "port": 1}},
        },
        "tags": ["t"],
        "odd": 1,
    }
    after: dict[str, Any] = {
        "name": "b",
        "compute": {"accelerator": "cpu", "scaling": {"minReplica": 0, "maxReplica": 2}},
        "model": {"env": {"A": "1"}, "args": ["y"], "image": {"vLLM": {"url": "u", "port": 2}}},
        "tags": ["t"],
    }
    assert documents.change_between(before, after) == {
        "compute": {"scaling": {"maxReplica": 2}},
        "model": {
            "env": {"A": "1"},
            "secrets": {},
            "args": ["y"],
            "command": [],
            "image": {"vLLM": {"url": "u", "port": 2}},
        },
    }
    assert documents.change_between(before, before) == {}


# States


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_told_as_it_is(state: State) -> None:
    assert reading.status_of(said(state), ()).state is state


def test_a_state_that_was_never_seen_is_passed_on_as_a_word() -> None:
    status = reading.status_of(said("hibernating"), ())
    assert (status.state, status.message, status.replicas) == (None, "hibernating", ())
    assert not reading.may_answer(said("hibernating"))


@pytest.mark.parametrize(
    ("state", "ready", "asked"),
    [
        ("running", 0, True),
        ("updating", 0, False),
        ("updating", 1, True),
        ("updateFailed", 1, True),
        ("updateFailed", 0, False),
        ("pending", 1, False),
        ("initializing", 1, False),
        ("scaledToZero", 1, False),
        ("paused", 1, False),
        ("failed", 1, False),
    ],
)
def test_an_endpoint_is_only_asked_where_something_may_answer(state: str, ready: int, asked: bool) -> None:
    assert reading.may_answer(said(state, readyReplica=ready)) is asked
    assert not reading.may_answer(said(state, readyReplica=ready, url=None))


def test_a_lamplighter_that_puts_it_to_sleep_is_believed() -> None:
    raw = document() | {"lamplighter": {"phase": "stopping"}}
    assert not reading.may_answer(Endpoint.of(raw, "me"))


def test_messages_say_what_matters() -> None:
    failed = said("failed", message="Endpoint failed to deploy", errorMessage="no GPU memory left")
    assert reading.status_of(failed, ()).message == "no GPU memory left"
    assert reading.status_of(said("failed", message="so it is"), ()).message == "so it is"
    up = reading.replicas_of(said("running"), 1, ())
    assert reading.status_of(said("running"), up).message is None
    assert reading.status_of(said("running"), ()).message == "runs, and /health does not answer yet"
    assert reading.status_of(said("pending", message="waiting"), ()).message == "waiting"
    assert reading.status_of(said("paused"), ()).message is None


def test_replicas_are_behind_one_address_and_show_no_token() -> None:
    one, two = reading.replicas_of(said("running"), 2, (("authorization", f"Bearer {TOKEN}"),))
    assert one == Replica(
        id="me/bert#0",
        url="https://abc.us-east-1.aws.endpoints.huggingface.cloud",
        headers=(("authorization", f"Bearer {TOKEN}"),),
        proxied=True,
        model="org/model",
    )
    assert two.id != one.id
    assert TOKEN not in repr(one)


# What is remembered


def test_readiness_is_remembered_until_something_changes() -> None:
    known = Known(SPEC)
    known.note_ready(said("running"), ready=True)
    assert known.known_ready(said("running"))
    assert not known.known_ready(said("updating"))
    assert not known.known_ready(said("running", updatedAt="2027-01-01T00:00:00Z"))
    assert not known.known_ready(said("running", url="https://other.cloud"))
    known.note_ready(said("running"), ready=False)
    assert not known.known_ready(said("running"))


def test_a_look_that_comes_early_asks_again() -> None:
    known = Known(SPEC)
    known.begin_look(0.0, 30.0)
    known.note_ready(said("running"), ready=True)
    known.begin_look(28.0, 30.0)
    assert known.known_ready(said("running"))
    known.begin_look(30.0, 30.0)
    assert not known.known_ready(said("running"))


def test_the_same_endpoint_is_told_from_another_one() -> None:
    assert SPEC.same_process(MADE)
    other = Spec(name="e", provider="huggingface", engine=SPEC.engine)
    assert SPEC.same_process(other)
    moved = MADE.remote
    assert moved is not None
    assert not SPEC.same_process(_moved(MADE, name="x"))
    assert not SPEC.same_process(_moved(MADE, namespace="org"))


def _moved(spec: Spec, **place: str) -> Spec:
    assert spec.remote is not None
    return replace(spec, remote=replace(spec.remote, **place))  # type: ignore[arg-type]
