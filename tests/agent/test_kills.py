"""Random kills under load; bench/kills.py makes ten thousand of them."""

from pathlib import Path

import pytest

from tests.agent.kills import storm
from tests.components.seaweedfs import SeaweedFS

FORGED = [
    pytest.param(100, 6, id="a short storm"),
    *(pytest.param(seed, 50, id=f"storm {seed}", marks=pytest.mark.nightly) for seed in range(101, 105)),
]


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 5))
def test_random_kills_lose_no_request_and_damage_no_artifact(tmp_path: Path, seaweedfs: SeaweedFS, seed: int) -> None:
    figures = storm(tmp_path / "storm", seaweedfs, seed, 50)

    assert figures.faults == []
    assert figures.kills == 50
    assert figures.killed["backup"] > 0
    assert figures.copied > 0


@pytest.mark.parametrize(("seed", "kills"), FORGED)
def test_random_kills_among_forged_and_oversized_objects_lose_nothing_genuine_and_count_nothing_forged(
    tmp_path: Path, seaweedfs: SeaweedFS, seed: int, kills: int
) -> None:
    figures = storm(tmp_path / "storm", seaweedfs, seed, kills, forged=True)

    assert figures.faults == []
    assert figures.kills == kills
    assert figures.forged > 2 * kills
    assert figures.copied > 0
    assert figures.deleted > 0
