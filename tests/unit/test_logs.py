"""Logging is never in the way of work, and prints no local variables."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog

from lamplighter.logs import StderrLines, configure_logging


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_behind_standard_error_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("json")
    monkeypatch.setattr(sys, "stderr", FullDisk())
    before = StderrLines.dropped
    structlog.get_logger("test").error("something")
    assert StderrLines.dropped == before + 1


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_a_traceback_is_logged_without_local_variables(fmt: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(fmt)
    token = "hf_" + "secret"
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("test").exception("failed", have=len(token))
    printed = capsys.readouterr().err
    assert "ValueError: invalid literal" in printed
    assert token not in printed


def test_each_json_line_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    structlog.get_logger("test").info("state", endpoint="chat\nforged")
    logging.getLogger("other").warning("from a library")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["state", "from a library"]
