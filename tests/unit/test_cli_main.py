"""The commands as a whole: help, usage, exit codes, and what an error looks like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from lamplighter.cli.main import VERBS, main, root
from lamplighter.errors import ConfigError, LamplighterError, WakeTimeout

HEAVY = ("rich", "httpx2", "pydantic", "msgspec", "fastapi", "sqlalchemy", "asyncio", "lamplighter.config")


def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        assert inner is not None
        yield from walk(f"{path} {name}".strip(), inner)


COMMANDS = dict(walk("", root))


def test_help_imports_nothing_but_click() -> None:
    code = f"import sys; from lamplighter.cli.main import main; main(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_lists_all_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in VERBS)
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage" in said


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_teaches_with_a_paragraph_and_an_example(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example" in said
    assert f"lamplighter {path.split(maxsplit=1)[0]}" in said
    assert len(COMMANDS[path].help or "") > 60


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_option_and_command_is_described(path: str) -> None:
    options = [param for param in COMMANDS[path].params if isinstance(param, click.Option)]
    assert not [option.name for option in options if not option.help]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lamplighter 0.")


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lamplighter", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("lamplighter ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["statu"], "There is no command 'statu'; did you mean 'status'?"),
        (["xyz"], "There is no command 'xyz'; there are: start, stop"),
        (["wake"], "Missing argument 'NAME'"),
        (["status", "--nope"], "No such option"),
        (["status", "--json", "--quiet"], "exclude each other"),
        (["status", "--watch", "--quiet"], "exclude each other"),
        (["logs", "chat", "--tail", "-1"], "-1 is not in the range"),
        (["wake", "chat", "--timeout", "soon"], "'soon' is not a valid float"),
        (["serve", "--demo", "--config", "x.yaml"], "--demo has its own configuration"),
        (["serve", "--port", "70000"], "70000 is not in the range"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["status", "--server", "ftp://x"], "'ftp://x' is no address of a server"),
        (["status", "--server", "http://user:pass@x"], "a key has no place in an address"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert said in told.err
    assert "pass@" not in told.err


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    def callback(*_: object, **__: object) -> None:
        raise error

    command = root.get_command(click.Context(root), "init")
    monkeypatch.setattr(command, "callback", callback)
    return main(["init", *argv])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LamplighterError("it broke"), 1, "error: it broke\n"),
        (ConfigError("no", source="a.yaml", line=3), 2, "error: a.yaml:3: no\n"),
        (WakeTimeout("too late"), 5, "error: too late\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: /x: Permission denied\n"),
        (click.Abort(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(error, monkeypatch) == code
    assert capsys.readouterr().err == said


def test_a_fault_of_ours_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(KeyError("x"), monkeypatch) == 1
    told = capsys.readouterr().err
    assert "KeyError" in told
    assert "--debug shows where" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("argv", [["--debug", "init"], ["init", "--debug"]])
def test_debug_lets_the_error_through_on_either_side_of_the_verb(
    argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def callback(*_: object, **__: object) -> None:
        raise LamplighterError("it broke")

    monkeypatch.setattr(root.get_command(click.Context(root), "init"), "callback", callback)
    with pytest.raises(LamplighterError, match="it broke"):
        main(argv)


def test_an_interrupt_exits_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_reader_that_has_gone_is_no_error() -> None:
    command = f"{sys.executable} -m lamplighter config schema | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_completion_script_tells_where_to_put_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    first, _, script = capsys.readouterr().out.partition("\n")
    assert first.startswith("# ")
    assert f"lamplighter completion {shell}" in first
    assert "_LAMPLIGHTER_COMPLETE" in script


def test_completion_completes_commands() -> None:
    environ = {"_LAMPLIGHTER_COMPLETE": "bash_complete", "COMP_WORDS": "lamplighter st", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lamplighter"], capture_output=True, text=True, env=environ, check=False
    )
    assert "plain,status" in done.stdout
