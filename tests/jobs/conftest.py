"""Fixture: the program that forks dying children (dying.py), one process for each test module."""

from collections.abc import Iterator

import pytest

from tests.jobs.killed import Dying


@pytest.fixture(
    name="dying",
    scope="module",
    params=[
        pytest.param(True, id="one step of each kind"),
        pytest.param(False, id="every step", marks=pytest.mark.nightly),
    ],
)
def _dying(request: pytest.FixtureRequest) -> Iterator[Dying]:
    with Dying(kinds=request.param) as dying:
        yield dying
