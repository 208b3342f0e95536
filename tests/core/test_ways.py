"""The way of a restore, for every combination of version, place, topology, target and moment."""

from itertools import product

import pytest

from backup_agent.core.artifacts.names import SYSTEM, database_name
from backup_agent.core.capabilities import Version
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.restore.ways import Situation, Way, way_of

ORDERS = database_name("orders")
VERSIONS = [
    Version(5, 26, 31),
    Version(2025, 1),
    Version(2025, 2),
    Version(2025, 4),
    Version(2025, 6),
    Version(2026, 3),
    Version(2026, 4),
    Version(2026, 9),
]
BOOLEANS = (False, True)

ROWS = """
    version  place        new          new, cut     replace          replace, cut
    5.26     destination  seed         one_server   recreate         one_server
    2025.01  destination  seed         seed         recreate         seed
    2025.04  destination  seed         seed         recreate         seed
    2026.04  destination  seed         seed         recreate         seed
    5.26     volume       one_server   one_server   one_server       one_server
    2026.03  volume       one_server   one_server   one_server       one_server
    2026.04  volume       server_seed  one_server   server_recreate  one_server
"""


def rows() -> list[tuple[str, str, bool, bool, str]]:
    """Return version, place, replace, cut and way of each cell of the table."""
    lines = [line.split() for line in ROWS.strip().splitlines()[1:]]
    targets = [(False, False), (False, True), (True, False), (True, True)]
    return [
        (version, place, replace, cut, way)
        for version, place, *ways in lines
        for (replace, cut), way in zip(targets, ways, strict=True)
    ]


@pytest.mark.parametrize(("version", "place", "replace", "cut", "way"), rows())
def test_a_cluster_has_the_ways_of_the_table(version: str, place: str, replace: bool, cut: bool, way: str) -> None:
    known = Version.parse(version)
    assert known is not None
    now = Situation(ORDERS, known, cluster=True, readable=place == "destination", replace=replace, cut=cut)

    assert way_of(now) is Way(way)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_every_situation_has_one_way_that_its_version_place_and_target_allow(version: Version) -> None:
    for database, (cluster, readable, replace, cut) in product((ORDERS, SYSTEM), product(BOOLEANS, repeat=4)):
        now = Situation(database, version, cluster=cluster, readable=readable, replace=replace, cut=cut)
        way = way_of(now)
        if isinstance(way, Failure):
            assert database == SYSTEM
            assert cut or not replace
            assert way.advice
            continue
        assert (way is Way.SYSTEM) == (database == SYSTEM)
        assert (way is Way.STANDALONE) == (database != SYSTEM and not cluster)
        if way in (Way.RECREATE, Way.SERVER_RECREATE):
            assert (replace, cut) == (True, False)
        if way in (Way.SEED, Way.RECREATE):
            assert readable
        if way is Way.SEED and cut:
            assert version >= Version(2025, 1)
        if way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
            assert version >= Version(2026, 4)
            assert not readable
            assert not cut


def test_a_version_before_5_26_has_no_plan() -> None:
    found = way_of(Situation(ORDERS, Version(5, 25), cluster=True, readable=True, replace=False, cut=False))

    assert isinstance(found, Failure)
    assert found.reason is Reason.INVALID_REQUEST
    assert found.error == "restore plans are known from Neo4j 5.26.0 on, and the servers have 5.25.0"


@pytest.mark.parametrize(
    ("replace", "cut", "error"),
    [
        (
            True,
            True,
            "system is restored to the state of an artifact, not to a moment: its full is loaded on each server",
        ),
        (False, False, "system cannot be restored under another name"),
    ],
)
def test_system_is_restored_whole_and_under_its_own_name(replace: bool, cut: bool, error: str) -> None:
    found = way_of(Situation(SYSTEM, Version(2026, 9), cluster=True, readable=True, replace=replace, cut=cut))

    assert isinstance(found, Failure)
    assert found.error == error
