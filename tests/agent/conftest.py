"""Fixture: a live agent for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.live import Live


@pytest.fixture(name="live")
def _live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as live:
        yield live
