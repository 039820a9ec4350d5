"""The verbs of endpoints against a server that runs, over its own management API."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_world import CHAT, World, clean_environment, world


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as one:
        yield one


@pytest.fixture
def lamplighter(
    served: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> World:
    """The commands, with one endpoint `chat` that is paused, and nothing else."""
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("LAMPLIGHTER_URL", served.url)
    served.capsys = capsys
    served.only("chat")
    return served


def test_start_prints_the_url_and_the_line_that_exports_it(lamplighter: World) -> None:
    said = lamplighter("start", "chat")
    assert said.code == 0, said.err
    url = f"{lamplighter.url}/endpoints/chat"
    assert said.out.splitlines()[1:] == [url, f"export HF_ENDPOINT_URL={url}"]
    assert "chat is running" in said.out
    assert "at 127.0.0.1:" in said.err


def test_start_for_eval_prints_the_export_alone(lamplighter: World) -> None:
    assert lamplighter("start", "chat", "--export").out == f"export HF_ENDPOINT_URL={lamplighter.url}/endpoints/chat\n"


def test_start_as_json_has_the_url(lamplighter: World) -> None:
    assert lamplighter("start", "chat", "--json").json["url"] == f"{lamplighter.url}/endpoints/chat"


def test_start_of_what_is_not_there_names_the_flag_and_exits_3(lamplighter: World) -> None:
    said = lamplighter("start", "chta")
    assert said.code == 3
    assert "--create-if-missing" in said.err
    assert said.out == ""


def test_start_makes_what_is_missing_when_told_to(lamplighter: World) -> None:
    said = lamplighter("start", "fresh", "--create-if-missing", *CHAT, "--image", "huggingface")
    assert said.code == 0, said.err
    assert lamplighter.state("fresh") == "running"


def test_start_says_which_part_is_missing_to_make_one(lamplighter: World) -> None:
    said = lamplighter("start", "fresh", "--create-if-missing", "-r", "org/model")
    assert said.code == 2
    assert "vendor: missing" in said.err


def test_start_that_takes_too_long_exits_5_and_tells_the_last_state(lamplighter: World) -> None:
    lamplighter.simulated.start_delay = 30.0
    try:
        said = lamplighter("start", "chat", "--timeout", "0.3")
    finally:
        lamplighter.simulated.start_delay = 0.02
        lamplighter("stop", "chat")
    assert said.code == 5
    assert "its last state was '" in said.err
    assert "`lamplighter stop chat`" in said.err


def test_stop_pauses_and_says_how_to_undo_it(lamplighter: World) -> None:
    lamplighter("start", "chat")
    said = lamplighter("stop", "chat")
    assert said.code == 0
    assert "chat is paused. It costs nothing while it is paused, gives its quota back" in said.out
    assert "`lamplighter start chat` resumes it" in said.out
    assert lamplighter("stop", "chat").code == 0  # again


def test_scaled_to_zero_is_told_apart_from_paused(lamplighter: World) -> None:
    lamplighter("start", "chat")
    said = lamplighter("scale-to-zero", "chat")
    assert said.code == 0, said.err
    assert lamplighter("wait", "chat", "--until", "sleeping").code == 0
    told = lamplighter("describe", "chat").out
    assert "scaledToZero" in told
    assert "the next request wakes it" in told


def test_resume_begins_and_wait_waits(lamplighter: World) -> None:
    assert lamplighter("resume", "chat").code == 0
    said = lamplighter("wait", "chat", "--timeout", "10")
    assert said.code == 0, said.err
    assert lamplighter.state("chat") == "running"


def test_waiting_for_what_sleeps_fails_at_once(lamplighter: World) -> None:
    said = lamplighter("wait", "chat", "--timeout", "60")
    assert said.code == 1
    assert "`lamplighter start chat`" in said.err


def test_delete_wants_the_word(lamplighter: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("delete\n"))
    said = lamplighter("delete", "chat")
    assert said.code == 1
    assert "Type DELETE" in said.err
    assert "can be undone" in said.err
    assert "nothing was deleted" in said.err
    monkeypatch.setattr("sys.stdin", io.StringIO("DELETE\n"))
    assert lamplighter("delete", "chat").out == "chat is deleted\n"
    assert lamplighter("describe", "chat").code == 3


def test_delete_where_nobody_can_type_names_the_flag(lamplighter: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = lamplighter("delete", "chat")
    assert said.code == 2
    assert "--confirm" in said.err
    assert lamplighter.state("chat") == "paused"


def test_list_has_a_table_json_and_names(lamplighter: World) -> None:
    lamplighter.make("other", tags=["nightly"])
    table = lamplighter("list").out
    assert "endpoint" in table.splitlines()[0]
    assert "org/model" in table
    found = lamplighter("list", "--json").json
    assert [(one["namespace"], one["name"]) for one in found] == [("lamplighter", "chat"), ("lamplighter", "other")]
    assert lamplighter("list", "-q").out == "chat\nother\n"
    assert lamplighter("list", "-q", "--tag", "nightly").out == "other\n"
    assert lamplighter("list", "-q", "--search", "cha").out == "chat\n"


def test_describe_as_json_is_the_answer_of_the_api(lamplighter: World) -> None:
    told = lamplighter("describe", "chat", "--json").json
    assert told["compute"]["instanceType"] == "cpu"
    assert told["lamplighter"]["phase"] == "sleeping"


def test_an_ill_formed_name_is_told_with_the_rule(lamplighter: World) -> None:
    said = lamplighter("deploy", "Not_A_Name", *CHAT)
    assert said.code == 2
    assert "lower-case letters" in said.err or "lowercase letters" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--min-replica", "3", "--max-replica", "2"], "min_replica"),
        (["--scale-to-zero-timeout", "5"], "15"),
        (["--type", "secret"], "authenticated"),
        (["--accelerator", "tpu"], "gpu"),
        (["--env", "NOVALUE"], "NAME=VALUE"),
        (["--image", "no such thing"], "neither a variant"),
        (["--port", "80"], "give --image"),
        (["--secret", "A=b"], "give the name alone"),
        (["--secret", "NOT_THERE"], "no 'NOT_THERE' in the environment"),
        (["--args", "'open"], "can't be split"),
    ],
)
def test_what_an_endpoint_can_not_be_made_from_exits_2(options: list[str], said: str, lamplighter: World) -> None:
    done = lamplighter("deploy", "fresh", *CHAT, *options)
    assert done.code == 2, done.err
    assert said in done.err
    assert lamplighter("describe", "fresh").code == 3


def test_hardware_that_is_not_offered_is_told_with_the_nearest(lamplighter: World) -> None:
    said = lamplighter("deploy", "fresh", *CHAT, "--instance-type", "gpux")
    assert said.code == 2, said.err
    assert "gpu" in said.err


def test_what_is_there_already_is_not_made_twice(lamplighter: World) -> None:
    said = lamplighter("deploy", "chat", *CHAT)
    assert said.code == 1
    assert "already" in said.err


def test_update_sends_what_is_given_and_shows_the_difference(lamplighter: World) -> None:
    said = lamplighter("update", "chat", "--max-replica", "3", "--json")
    assert said.code == 0, said.err
    assert "max_replica 1 -> 3" in said.err
    assert said.json["compute"]["scaling"]["maxReplica"] == 3
    assert said.json["model"]["repository"] == "org/model"


def test_update_to_what_is_so_already_sends_nothing_and_says_so(lamplighter: World) -> None:
    said = lamplighter("update", "chat", "--max-replica", "1")
    assert said.code == 0, said.err
    assert "chat is so already: nothing was sent." in said.err


def test_commands_that_are_advised_act_where_this_one_did(lamplighter: World) -> None:
    where = ["--server", lamplighter.url]
    assert f"`lamplighter start chat --server {lamplighter.url}`" in lamplighter("pause", "chat", *where).out
    lost = lamplighter("start", "nobody", *where)
    assert f"`lamplighter start nobody --create-if-missing … --server {lamplighter.url}`" in lost.err


def test_update_of_nothing_says_what_can_be_given(lamplighter: World) -> None:
    said = lamplighter("update", "chat")
    assert said.code == 2
    assert "--max-replica" in said.err
    assert "--vendor" not in said.err


def test_dry_run_of_a_deploy_shows_the_request_without_secrets(
    lamplighter: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    said = lamplighter("deploy", "fresh", *CHAT, "--secret", "MY_SECRET", "--dry-run")
    assert said.json["model"]["secrets"] == {"MY_SECRET": "[redacted]"}
    assert "hunter2" not in said.out + said.err
    assert lamplighter("describe", "fresh").code == 3


TWO = """
name: chat
repository: org/model
vendor: memory
region: memory
accelerator: cpu
instance_type: cpu
instance_size: x1
max_replica: 2
---
name: fresh
repository: org/other
vendor: memory
region: memory
accelerator: cpu
instance_type: cpu
instance_size: x2
secrets: {KEY: "env:MY_SECRET"}
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    (tmp_path / "endpoint.yaml").write_text(TWO)
    return str(tmp_path / "endpoint.yaml")


def test_a_file_is_compared_and_a_dry_run_exits_1_where_something_differs(lamplighter: World, two: str) -> None:
    said = lamplighter("deploy", "-f", two, "--dry-run")
    assert said.code == 1, said.err
    assert "~ chat will be changed" in said.out
    assert "max_replica 1 -> 2" in said.out
    assert "+ fresh will be made" in said.out
    assert "hunter2" not in said.out + said.err
    assert [one["action"] for one in lamplighter("deploy", "-f", two, "--dry-run", "--json").json] == [
        "update",
        "create",
    ]
    assert lamplighter("describe", "fresh").code == 3


def test_a_file_is_applied_after_a_yes_and_then_nothing_differs(
    lamplighter: World, two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    said = lamplighter("deploy", "-f", two, "--wait")
    assert said.code == 0, said.err
    assert "Apply these 2 changes?" in said.err
    assert lamplighter.state("fresh") == "running"
    again = lamplighter("deploy", "-f", two, "--dry-run")
    assert again.code == 0, again.out
    assert "chat is as the file says" in again.out


@pytest.mark.parametrize(("typed", "code"), [("no\n", 1), ("", 2)])
def test_without_a_yes_nothing_is_changed(
    typed: str, code: int, lamplighter: World, two: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert lamplighter("deploy", "-f", two).code == code
    assert lamplighter("describe", "fresh").code == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "endpoint.yaml:"),
        ("- a\n- b\n", "should be a mapping"),
        ("", "there is no endpoint in it"),
        (TWO.replace("max_replica", "max_replicas"), "document 1: max_replicas: not known"),
        (TWO.replace("name: fresh", "name: chat"), "'chat' stands in it twice"),
        (TWO.replace("env:MY_SECRET", "env:NOT_THERE"), "document 2: secrets.KEY"),
        (TWO.replace("region: memory", "region: mars", 1), "can't move from 'memory' to 'mars'"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_place(
    text: str, said: str, lamplighter: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    file = tmp_path / "endpoint.yaml"
    file.write_text(text)
    done = lamplighter("deploy", "-f", str(file), "--yes")
    assert done.code == 2, done.err
    assert said in done.err


def test_a_dry_run_promises_nothing_that_can_not_be_made_and_tells_all_mistakes(
    lamplighter: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    file = tmp_path / "endpoint.yaml"
    fresh = TWO.replace("name: chat", "name: first").replace("region: memory", "region: us-nowhere")
    file.write_text(fresh)
    said = lamplighter("deploy", "-f", str(file), "--dry-run")
    assert said.code == 2, said.out
    assert said.out == ""
    assert "first: region: 'us-nowhere'" in said.err
    assert "fresh: region: 'us-nowhere'" in said.err
    file.write_text(TWO.replace("name: chat", "nam: chat").replace("env:MY_SECRET", "env:NOT_THERE"))
    said = lamplighter("deploy", "-f", str(file), "--dry-run")
    assert said.code == 2
    assert "document 1: " in said.err
    assert "document 2: secrets.KEY" in said.err


def test_all_mistakes_of_a_document_are_told_at_once_each_in_a_line_with_its_place(
    lamplighter: World, tmp_path: Path
) -> None:
    file = tmp_path / "endpoint.yaml"
    file.write_text(
        TWO.replace("max_replica: ", "max_replicas: ").replace("accelerator: cpu", "accelerator: cpus")
        + "\nnamespace: 7\nenv: {A: 1, B: 2}\n"
    )
    said = lamplighter("deploy", "-f", str(file), "--yes")
    assert said.code == 2
    told = said.err.removeprefix("error: ").splitlines()
    assert all(re.match(rf"{re.escape(str(file))}, document [12]: \S+: ", line) for line in told), told
    fields = [line.partition(", document ")[2].split(": ")[:2] for line in told]
    assert fields == [
        ["1", "max_replicas"],
        ["1", "accelerator"],
        ["2", "namespace"],
        ["2", "secrets.KEY"],
        ["2", "accelerator"],
        ["2", "env.A"],
        ["2", "env.B"],
    ]


def test_a_search_without_a_find_does_not_say_that_there_is_nothing(lamplighter: World) -> None:
    said = lamplighter("list", "--tag", "nobody-has-it", "--search", "x")
    assert said.code == 0
    assert "matches --tag nobody-has-it --search x" in said.out
    assert "There is no endpoint" not in said.out


def test_hardware_shows_prices_cheapest_first_and_filters(lamplighter: World) -> None:
    found = lamplighter("hardware", "--vendor", "memory", "--json").json
    prices = [one["price_per_hour"] for one in found]
    assert prices == sorted(prices)
    assert "$0.03" in lamplighter("hardware", "--vendor", "memory").out
    assert {one["accelerator"] for one in lamplighter("hardware", "--accelerator", "gpu", "--json").json} == {"gpu"}
    said = lamplighter("hardware", "--vendor", "memry")
    assert said.code == 2
    assert "did you mean memory?" in said.err


def test_names_of_another_namespace_are_refused_with_the_right_one(lamplighter: World) -> None:
    said = lamplighter("list", "-n", "somebody-else")
    assert said.code == 4, said.err
    assert "lamplighter" in said.err


def test_the_four_verbs_need_nothing_but_a_token(lamplighter: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMPLIGHTER_URL")
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", lamplighter.url)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 20)
    assert lamplighter("start", "chat", "--cloud").code == 0
    status = lamplighter("status", "chat", "--cloud")
    assert status.code == 0, status.err
    assert "means" in status.out
    assert "Ready, and billed" in status.out
    assert lamplighter("stop", "chat", "--cloud").code == 0
    assert lamplighter("delete", "chat", "--cloud", "--confirm").code == 0


def test_status_at_the_cloud_has_json_and_names(lamplighter: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMPLIGHTER_URL")
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", lamplighter.url)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 20)
    told = lamplighter("status", "chat", "--cloud", "--json").json
    assert (told["state"], told["phase"], told["url"]) == ("paused", "sleeping", None)
    assert told["meaning"]
    assert lamplighter("status", "--cloud", "-q").out == "chat\n"
    assert lamplighter("logs", "chat", "--cloud").code == 0


def test_a_token_in_a_file_is_taken(lamplighter: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMPLIGHTER_URL")
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", lamplighter.url)
    (tmp_path / "token").write_text("hf_" + "y" * 20 + "\n")
    assert lamplighter("list", "-q", "--token-file", str(tmp_path / "token")).out == "chat\n"


def test_a_missing_token_is_one_line_that_names_the_variable(
    lamplighter: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMPLIGHTER_URL")
    monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", lamplighter.url)
    said = lamplighter("start", "chat", "--cloud")
    assert said.code == 4
    assert "HF_TOKEN" in said.err.splitlines()[-1]
    assert os.environ.get("HF_TOKEN") is None


def test_a_server_that_went_away_is_told(lamplighter: World) -> None:
    said = lamplighter("list", "--server", "http://127.0.0.1:9")
    assert said.code == 1
    assert "127.0.0.1:9" in said.err
    assert "Traceback" not in said.err
