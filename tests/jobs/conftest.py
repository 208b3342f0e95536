"""The program whose children die, once a module."""

from collections.abc import Iterator

import pytest

from tests.jobs.killed import Dying


@pytest.fixture(name="dying", scope="module")
def _dying() -> Iterator[Dying]:
    with Dying() as dying:
        yield dying
