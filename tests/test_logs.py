"""The log is told to whoever listens, and never stands in the way."""

import io
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


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        logs.configure("json", "info")
        structlog.get_logger().info("said")
        logs.configure("console", "info")
        structlog.get_logger().error("said", exc_info=OSError("no room"))
