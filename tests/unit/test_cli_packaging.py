"""The actions, the units and the examples: what is in them is what the commands take."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from lamplighter import errors
from lamplighter.cli.base.lazy import Session
from lamplighter.cli.deploy.file import read
from lamplighter.cli.guard.schedule import Schedule
from lamplighter.cli.main import VERBS, root
from tests.cli_cloud import TOKEN, ScriptedCloud, endpoint, scripted_cloud
from tests.cli_world import VARIABLES, World, bounded, clean_environment, world

ROOT = Path(__file__).parents[2]
ACTIONS = ROOT / "actions"
UNITS = ROOT / "packaging" / "systemd"
EXAMPLES = ROOT / "docs" / "examples"


def action(name: str) -> dict[str, Any]:
    read = yaml.safe_load((ACTIONS / name / "action.yml").read_text("utf-8"))
    assert isinstance(read, dict)
    return read


both = pytest.mark.parametrize("name", ["guard", "run"])


@both
def test_an_action_describes_every_input_and_requires_what_it_must(name: str) -> None:
    told = action(name)
    assert told["runs"]["using"] == "composite"
    for key, one in told["inputs"].items():
        assert one["description"], key
        assert one.get("required") or "default" in one, key
    required = {key for key, one in told["inputs"].items() if one.get("required")}
    assert required == ({"endpoints", "run"} if name == "run" else set())


@both
def test_no_input_is_put_into_a_script_or_shown(name: str) -> None:
    """What an input holds is data: it reaches the shell through the environment, and a token is never printed."""
    for step in action(name)["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert not re.search(r"(echo|printf|cat)\b[^\n]*(HF_TOKEN|LAMPLIGHTER_KEY)", step["run"])
        assert "set -x" not in step["run"]


@both
def test_every_input_is_used(name: str) -> None:
    told = action(name)
    used = set(re.findall(r"inputs\.([\w-]+)", (ACTIONS / name / "action.yml").read_text("utf-8")))
    assert used == set(told["inputs"])


@both
def test_an_action_installs_from_its_own_checkout(name: str) -> None:
    install = action(name)["runs"]["steps"][0]
    source = next(value for value in install["env"].values() if "action_path" in value)
    path = source.replace("${{ github.action_path }}", str(ACTIONS / name))
    assert Path(path).resolve() == ROOT
    assert (Path(path) / "pyproject.toml").is_file()


class Runner:
    """Runs the last step of an action as GitHub's runner would, with what is installed here."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        program = folder / "lamplighter" / "bin" / "lamplighter"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lamplighter "$@"\n')
        program.chmod(0o755)
        self.summary = folder / "summary"

    def start(self, name: str, **inputs: str) -> subprocess.Popen[str]:
        told = action(name)
        given = {key: one.get("default", "") for key, one in told["inputs"].items()} | {
            key.replace("_", "-"): value for key, value in inputs.items()
        }
        step = told["runs"]["steps"][-1]
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        environ = {key: value for key, value in os.environ.items() if key not in VARIABLES} | dict(self.environ)
        environ |= {key: self._filled(value, given) for key, value in step["env"].items()}
        environ |= {"RUNNER_TEMP": str(self.folder), "GITHUB_STEP_SUMMARY": str(self.summary), "COLUMNS": "200"}
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env=environ,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        with bounded(self.start(name, **inputs)) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess([], process.returncode, out, err)

    def _filled(self, value: str, inputs: Mapping[str, str]) -> str:
        """`${{ inputs.x || env.Y }}` as GitHub evaluates it."""
        match = re.fullmatch(r"\$\{\{ inputs\.([\w-]+)(?: \|\| env\.(\w+))? \}\}", value)
        assert match, value
        return inputs[match[1]] or (self.environ.get(match[2], "") if match[2] else "")


@pytest.fixture
def cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ScriptedCloud]:
    with scripted_cloud(tmp_path, monkeypatch, capsys) as one:
        one.have({"me": [endpoint("chat"), endpoint("prod-a")]})
        yield one


def test_the_guard_action_pauses_what_nothing_keeps_and_writes_a_summary(cloud: ScriptedCloud, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "runner", {"LAMPLIGHTER_CLOUD_URL": cloud.script.url})
    done = runner("guard", token=TOKEN, pause="true", keep="prod-*\n$(touch injected)\n", idle="1h")
    assert done.returncode == 0, done.stderr
    assert cloud.asked("pause") == ["POST /v2/endpoint/me/chat/pause"]
    assert "me/chat" in runner.summary.read_text()
    assert TOKEN not in done.stdout + done.stderr + runner.summary.read_text()
    assert not list(tmp_path.rglob("injected"))


def test_the_guard_action_takes_the_token_of_the_workflow_and_can_fail(cloud: ScriptedCloud, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "runner", {"LAMPLIGHTER_CLOUD_URL": cloud.script.url, "HF_TOKEN": TOKEN})
    done = runner("guard", fail_if_running="true", keep_during="")
    assert done.returncode == 1, done.stderr
    assert cloud.asked("pause") == []
    assert "2 endpoints billed" in runner.summary.read_text()


def test_the_run_action_runs_the_script_and_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with world(tmp_path / "world") as served:
        clean_environment(monkeypatch, tmp_path)
        monkeypatch.setenv("LAMPLIGHTER_URL", served.url)
        served.capsys = capsys
        served.only("chat", "embed")
        runner = Runner(tmp_path / "runner", {"LAMPLIGHTER_CLOUD_URL": served.url, "HF_TOKEN": TOKEN})
        script = 'echo "$HF_ENDPOINT_URL"\necho "$EMBED_URL"\nfalse\necho never'
        done = runner("run", endpoints="chat\n  embed", run=script)
        assert done.stdout == f"{served.url}/endpoints/chat\n{served.url}/endpoints/embed\n"
        assert done.returncode == 1, done.stderr
        assert [served.state(name) for name in ("chat", "embed")] == ["paused", "paused"]
        assert TOKEN not in done.stdout + done.stderr
        _refuse_options(runner, served)
        _cancel(runner, served)


def _refuse_options(runner: Runner, served: World) -> None:
    """What stands among the names is a name: it can't turn the pause off."""
    for words in ("chat --no-pause", "-q chat", "chat -- true"):
        done = runner("run", endpoints=words, run="echo never")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "is no name of an endpoint" in done.stderr
        assert served.state("chat") == "paused"


def _cancel(runner: Runner, served: World) -> None:
    """A workflow that is cancelled signals the step's own process."""
    with bounded(runner.start("run", endpoints="chat", run="echo ready; sleep 60")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert served.state("chat") == "paused"


@pytest.mark.parametrize("file", ["guard.yml", "nightly.yml"])
def test_a_workflow_example_uses_an_action_with_inputs_that_it_has(file: str) -> None:
    workflow = yaml.safe_load((EXAMPLES / file).read_text("utf-8"))
    assert workflow[True]["schedule"]  # YAML takes `on` for a truth
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if "lamplighter/actions/" in step["uses"]]
    for step in ours:
        inputs = action(re.search(r"actions/(\w+)@", step["uses"])[1])["inputs"]  # type: ignore[index]
        assert set(step["with"]) <= set(inputs)
        assert {key for key, one in inputs.items() if one.get("required")} <= set(step["with"])
        for text in step["with"].get("keep-during", "").splitlines():
            Schedule.of(text)
    assert len(ours) == 1


def test_the_example_of_a_deployment_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    chat, embed = read(EXAMPLES / "endpoint.yaml")
    assert chat.form.body()["model"]["secrets"] == {"HF_TOKEN": TOKEN}
    assert embed.form.body()["compute"]["accelerator"] == "cpu"
    for tag in chat.form.tags:
        if tag.startswith("keep:"):
            Schedule.of(tag.removeprefix("keep:"))


units = pytest.mark.parametrize("name", ["lamplighter.service", "lamplighter-group@.service"])


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name, "utf-8")
    return parser


@units
def test_a_unit_calls_commands_that_there_are(name: str) -> None:
    lines = re.findall(r"^Exec\w+=(\S+/lamplighter .*)$", (UNITS / name).read_text("utf-8"), re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        context = root.make_context("lamplighter", words, obj=Session())
        command_name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])
        assert isinstance(command, click.Command)
        command.make_context(command_name, rest, parent=context)


@units
def test_a_unit_is_hardened(name: str) -> None:
    service = unit(name)["Service"]
    wanted = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes"}
    assert {key: service.get(key) for key in wanted} == wanted
    assert service["User"] == "lamplighter"
    assert "HF_TOKEN" not in service["Environment"]


def test_what_is_ordered_after_the_server_finds_it_ready() -> None:
    assert unit("lamplighter.service")["Service"]["Type"] == "notify"
    assert "lamplighter.service" in unit("lamplighter-group@.service")["Unit"]["After"].split()


def test_the_server_ends_its_engines_itself() -> None:
    service = unit("lamplighter.service")["Service"]
    assert service["KillMode"] == "process"
    assert int(service["TimeoutStopSec"]) >= 60


def test_the_access_log_has_a_folder_and_its_rotation_signals_the_server_alone() -> None:
    """KillMode=process leaves engines in the unit, and `systemctl kill` would reach them all."""
    service = unit("lamplighter.service")["Service"]
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rotated = re.findall(r"^(/var/log/(\w+)/access\.log) \{$", page, re.MULTILINE)
    assert [folder for _, folder in rotated] == [service["LogsDirectory"]]
    assert service["ExecReload"].split() == ["/bin/kill", "-HUP", "$MAINPID"]
    script = page.split("postrotate\n")[1].split("endscript")[0]
    assert script.split() == ["systemctl", "reload", "lamplighter"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_what_is_posted_to_the_management_api_says_that_it_is_json(page: Path) -> None:
    commands = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", page.read_text("utf-8"), re.MULTILINE)
    for command in commands:
        words = shlex.split(command)
        if "-d" in words and any("/api/" in word for word in words):
            assert "content-type: application/json" in words, command


def test_a_group_stays_up_and_goes_down_also_after_a_start_that_failed() -> None:
    service = unit("lamplighter-group@.service")["Service"]
    assert (service["Type"], service["RemainAfterExit"]) == ("oneshot", "yes")
    assert service["ExecStopPost"] == service["ExecStop"]


@units
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_a_unit(name: str, tmp_path: Path) -> None:
    program = tmp_path / "lamplighter"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    text = (UNITS / name).read_text("utf-8").replace("/opt/lamplighter/.venv/bin/lamplighter", str(program))
    copy = tmp_path / name.replace("@.", "@daytime.")
    copy.write_text(text.replace("User=lamplighter\nGroup=lamplighter\n", ""))
    for beside in UNITS.glob("*.socket"):
        shutil.copy(beside, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=30, check=False
    )
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if copy.name in line]
    assert about_ours == []


def test_the_page_on_the_command_line_has_an_example_of_every_verb() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    shown = {words[0] for words in re.findall(r"^lamplighter ([a-z-]+)()", page, re.MULTILINE)}
    shown |= set(re.findall(r"`lamplighter ([a-z-]+) [^`]*`", page))
    assert set(VERBS) - shown == set()


def test_the_page_on_the_command_line_tells_every_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    told = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for code in cell.split(",")}
    ours = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert ours | {0, 126, 127, 130, 143} == told
