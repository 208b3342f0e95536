"""The log: errors of writing are ignored, and values are escaped."""

import io
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from backup_agent import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_log_that_cannot_be_written_does_not_stop_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        logs.configure("json", "info")
        structlog.get_logger().info("event")
        logs.configure("console", "info")
        structlog.get_logger().error("event", exc_info=OSError("no room"))


HOSTILE = "a\x1b[2K\x1b[8m\rb\nc\x7f\x9b\u202e\u200b\u3164"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_value_cannot_forge_hide_or_overwrite_a_line_of_the_log(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logs.configure(style, "info", cluster=HOSTILE)
    structlog.get_logger().info("event", name=HOSTILE, names=(HOSTILE,), kinds={HOSTILE: HOSTILE}, **{HOSTILE: HOSTILE})
    logging.getLogger("library").warning("%s", HOSTILE)
    assert not {"\x1b[8m", "\x1b[2K"} & set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", printed.getvalue()))
    lines = printed.getvalue().splitlines()
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) if style == "console" else line for line in lines]

    assert len(lines) == 2
    assert all(line.isprintable() and "\u3164" not in line for line in lines)
    assert all("2K" in line for line in lines)


@pytest.mark.parametrize(("style", "line"), [("json", '"number": 0'), ("console", "number=0")])
def test_a_field_without_a_value_is_absent(style: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logs.configure(style, "info")
    structlog.get_logger().info("event", number=0, error=None)

    assert line in re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
    assert "error" not in printed.getvalue()


def test_a_traceback_keeps_its_lines_and_no_control_character(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logs.configure("console", "info")
    structlog.get_logger().error("failed", exc_info=TypeError(HOSTILE.replace("\n", "")))

    assert "TypeError: a\\x1b[2K" in printed.getvalue()
    assert len(printed.getvalue().splitlines()) > 1


def test_printable_text_is_logged_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logs.configure("console", "info")
    structlog.get_logger().info("event", name="Zoë", count=3, sure=True, names=("a", "b"))
    line = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())

    assert "count=3 name=Zoë names=('a', 'b') sure=True" in line
