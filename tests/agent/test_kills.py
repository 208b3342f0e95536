"""Random kills under load; bench/kills.py makes ten thousand of them."""

from pathlib import Path

import pytest

from tests.agent.kills import storm
from tests.components.seaweedfs import SeaweedFS

KILLS = 200
SHARES = 4


@pytest.mark.parametrize("seed", range(SHARES))
def test_killed_at_random_nothing_is_lost_and_nothing_kept_is_broken(
    tmp_path: Path, seaweedfs: SeaweedFS, seed: int
) -> None:
    figures = storm(tmp_path / "storm", seaweedfs, seed, KILLS // SHARES)

    assert figures.faults == []
    assert figures.kills == KILLS // SHARES
    assert figures.killed["backup"] > 0
    assert figures.copied > 0
