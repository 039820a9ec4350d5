"""`lamplighter doctor`: what it finds, and what it says to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from lamplighter import __version__
from lamplighter.cli.doctor import machine, network, server, token
from lamplighter.cli.doctor.findings import Finding, Verdict, bad, exit_code, good, note
from lamplighter.hf.records import Owner
from tests.cli_cloud import TOKEN, ScriptedCloud, endpoint, rfc3339, scripted_cloud, whoami
from tests.cli_stage import everything, problem, scripted_server
from tests.cli_world import Said

NOW = 1_800_000_000.0


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        one.have({"me": [endpoint("chat", url=one.script.url)]})
        yield one


def found(said: Said, check: str) -> list[tuple[str, str]]:
    return [(one["verdict"], one["said"]) for one in said.json["findings"] if one["check"] == check]


def test_all_is_well(cloud: ScriptedCloud) -> None:
    said = cloud("doctor", "--cloud", "--json")
    assert said.code == 0, said.out
    assert said.json["ok"] is True
    assert found(said, "token") == [("good", "found in HF_TOKEN; it belongs to me")]
    assert found(said, "rights") == [
        ("good", "endpoints of me can be listed: 1 endpoint"),
        ("good", "hardware of me can be listed: 1 of 1 to be had"),
    ]
    assert [verdict for verdict, _ in found(said, "network")] == ["good", "good"]
    assert [verdict for verdict, _ in found(said, "data plane")] == ["good"]
    assert [verdict for verdict, _ in found(said, "payment")] == ["good"]
    assert TOKEN not in said.out + said.err


def test_it_wakes_nothing(cloud: ScriptedCloud) -> None:
    cloud("doctor", "--cloud")
    assert {question.split()[0] for question in cloud.script.asked} == {"GET"}
    assert not cloud.asked("/health")


def test_a_wrong_token_exits_4_and_says_where_to_make_one(cloud: ScriptedCloud) -> None:
    cloud.script.put("/api/whoami-v2", {"error": "Invalid username or password."}, status=401)
    said = cloud("doctor", "--cloud")
    assert said.code == 4
    assert "huggingface.co/settings/tokens" in said.out
    assert TOKEN not in said.out + said.err


def test_no_token_is_wrong_at_the_cloud(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    said = cloud("doctor", "--cloud", "--json")
    assert said.code == 4
    assert found(said, "token") == [("bad", "there is none for Hugging Face")]


def test_a_namespace_without_rights_is_found(cloud: ScriptedCloud) -> None:
    refusal = {"error": "Forbidden: missing permissions: inference.endpoints.read", "code": "FORBIDDEN"}
    cloud.script.put("/v2/endpoint/org", refusal, status=403)
    cloud.script.put("/v2/provider/org", refusal, status=403)
    said = cloud("doctor", "--cloud", "-n", "org", "--json")
    assert said.code == 4
    assert [verdict for verdict, _ in found(said, "rights")] == ["bad", "bad"]


def owner(**more: Any) -> Owner:
    given: dict[str, Any] = {"name": "me", "role": "write", "can_pay": True} | more
    return Owner(**given)


def verdicts(one: Owner, check: str) -> list[tuple[Verdict, str]]:
    return [(f.verdict, f.said) for f in token.examine(one, "HF_TOKEN", NOW) if f.check == check]


@pytest.mark.parametrize(
    ("expires", "verdict", "said"),
    [
        (None, Verdict.GOOD, "does not expire"),
        (NOW + 86400 * 90, Verdict.GOOD, "expires in 90 d"),
        (NOW + 86400 * 3, Verdict.NOTE, "expires in 3 d"),
        (NOW - 1, Verdict.BAD, "expired on"),
    ],
)
def test_how_long_a_token_lasts(expires: float | None, verdict: Verdict, said: str) -> None:
    ((told, words),) = verdicts(owner(expires_at=None if expires is None else rfc3339(expires)), "token expiry")
    assert told is verdict
    assert said in words


@pytest.mark.parametrize(
    ("role", "permissions", "wrong"),
    [
        ("write", (), []),
        ("read", (), ["its role is read: it can list and call endpoints, not start, stop or make them"]),
        ("fineGrained", ("inference.endpoints.write", "inference.endpoints.infer.write"), []),
        (
            "fineGrained",
            ("inference.endpoints.read",),
            [
                "inference.endpoints.write is missing: it may not start, stop, make and delete endpoints",
                "inference.endpoints.infer.write is missing: it may not send requests to endpoints",
            ],
        ),
        (None, (), []),
    ],
)
def test_what_a_token_may_do(role: str | None, permissions: tuple[str, ...], wrong: list[str]) -> None:
    told = verdicts(owner(role=role, permissions=frozenset(permissions)), "token rights")
    assert [said for verdict, said in told if verdict is Verdict.BAD] == wrong


def test_an_account_that_can_not_pay_is_found(cloud: ScriptedCloud) -> None:
    assert verdicts(owner(can_pay=False), "payment")[0][0] is Verdict.BAD
    cloud.script.put("/api/whoami-v2", whoami(canPay=False))
    said = cloud("doctor", "--cloud")
    assert said.code == 1
    assert "settings/billing" in said.out


async def test_a_host_that_does_not_answer_is_found() -> None:
    reached = await network.reach("network", "http://127.0.0.1:9/")
    assert reached.finding.verdict is Verdict.BAD
    assert reached.skew is None
    connected = await network.connect("data plane", "http://127.0.0.1:9")
    assert connected.verdict is Verdict.BAD


@pytest.mark.parametrize(
    ("skews", "verdict", "said"),
    [
        ([1.0, None], Verdict.GOOD, "within 1 s"),
        ([-45.0], Verdict.NOTE, "45 s behind"),
        ([3600.0, 3601.0], Verdict.BAD, "1 h ahead of"),
        ([3600.0, 0.5], Verdict.GOOD, "within 1 s"),  # one host of two is wrong
        ([None], Verdict.NOTE, "nobody told"),
    ],
)
def test_whether_the_clock_is_right(skews: list[float | None], verdict: Verdict, said: str) -> None:
    told = network.clock(skews)
    assert told.verdict is verdict
    assert said in told.said


async def test_the_hosts_tell_the_time() -> None:
    assert network._skew(format_datetime(datetime.fromtimestamp(time.time() - 100, UTC), usegmt=True), 0.0) == (
        pytest.approx(100, abs=3)
    )
    assert network._skew("not a date", 0.0) is None


def test_proxies_are_told_without_their_passwords() -> None:
    told = list(network.proxies({"https_proxy": "http://user:hunter2@proxy:3128", "NO_PROXY": "localhost"}))
    assert [finding.said for finding in told] == ["HTTPS_PROXY is set: proxy:3128", "NO_PROXY is set: localhost"]


async def examined(url: str, key: str | None = None, *, named: bool = True) -> dict[str, Finding]:
    return {finding.check: finding async for finding in server.examine(url, key, named=named)}


async def test_a_server_is_asked_for_its_version_readiness_and_key() -> None:
    with scripted_server() as script:
        script.put("/healthz", {"status": "ok", "version": "0.0.1"})
        script.put("/readyz", {"ready": False, "problems": ["database: locked"]}, status=503)
        script.put("/api/endpoints/status", problem("invalid_api_key", "no"), status=401)
        told = await examined(script.url, "wrong")
        assert told["server"].verdict is Verdict.NOTE  # another version
        assert "database: locked" in told["server readiness"].said
        assert told["server key"].of_token
        script.put("/readyz", {"ready": True, "problems": []})
        script.put("/api/endpoints/status", everything())
        told = await examined(script.url)
        assert [told[check].verdict for check in ("server readiness", "server key")] == [Verdict.GOOD, Verdict.GOOD]
        script.put("/healthz", "<html>hello</html>")
        assert "not a Lamplighter" in (await examined(script.url))["server"].said


async def test_a_server_that_nobody_promised_may_be_missing() -> None:
    assert (await examined("http://127.0.0.1:9", named=False))["server"].verdict is Verdict.NOTE
    assert (await examined("http://127.0.0.1:9"))["server"].verdict is Verdict.BAD


def test_the_configuration_and_its_engines_are_checked(
    cloud: ScriptedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lamplighter.yaml").write_text("endpoints: {chat: {engine: vllm, model: x}}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = cloud("doctor", "--cloud", "--json")
    assert said.code == 1
    assert ("bad", "vllm is not installed, and the configuration wants it") in found(said, "engine")
    (tmp_path / "lamplighter.yaml").write_text("endpoints: {chat: {engin: vllm}}\n")
    assert found(cloud("doctor", "--cloud", "--json"), "configuration")[0][0] == "bad"


def test_a_folder_that_can_not_be_written_to_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert machine._writable(file / "state").verdict is Verdict.BAD
    assert machine._writable(tmp_path / "not" / "yet").verdict in {Verdict.GOOD, Verdict.NOTE}


def test_the_exit_code_tells_whether_it_is_the_token() -> None:
    assert exit_code([good("a", "x"), note("b", "y")]) == 0
    assert exit_code([bad("a", "x")]) == 1
    assert exit_code([bad("a", "x"), bad("b", "y", of_token=True)]) == 4


def test_without_a_token_and_without_wanting_the_cloud_nothing_is_wrong(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with scripted_server() as script:
        script.put("/healthz", {"status": "ok", "version": __version__})
        script.put("/readyz", {"ready": True, "problems": []})
        script.put("/api/endpoints/status", everything())
        monkeypatch.setenv("LAMPLIGHTER_URL", script.url)
        said = cloud("doctor", "--json")
    assert said.code == 0, said.out
    assert found(said, "token")[0][0] == "note"
    assert cloud.script.asked == []


def test_it_is_told_in_lines_with_what_to_do(cloud: ScriptedCloud) -> None:
    cloud.script.put("/api/whoami-v2", whoami(role="read"))
    said = cloud("doctor", "--cloud")
    assert said.code == 4
    assert "its role is read" in said.out
    assert "inference.endpoints.write" in said.out
    assert "1 thing to mend" in said.out
