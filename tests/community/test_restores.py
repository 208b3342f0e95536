"""A printed plan brings the data back: each of its lines is run, and Neo4j Community answers what is in the database.

The cluster is scripted (`restored.World`): what only Neo4j Enterprise does is simulated there by its manual.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.community.restored import World, a_world
from tests.components.pins import NEO4J_VERSIONS
from tests.components.seaweedfs import SeaweedFS

pytestmark = [pytest.mark.components, pytest.mark.process]

OLDER, NEWER = NEO4J_VERSIONS
LAST = 17
"""The last transaction of the differential."""
STORED = 24
"""Nodes in the store of which the backup was taken: 12 persons and their orders."""
PLACED = "MATCH (p:Person)-[:PLACED]->(o:Order) RETURN o.number AS number, p.name AS name ORDER BY number"


@pytest.fixture(
    name="world",
    scope="module",
    params=[
        pytest.param(OLDER, marks=[pytest.mark.nightly, pytest.mark.xdist_group(f"neo4j-{OLDER}")]),
        pytest.param(NEWER, marks=pytest.mark.xdist_group(f"neo4j-{NEWER}")),
    ],
)
def _world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS
) -> Iterator[World]:
    with a_world(str(request.param), tmp_path_factory.mktemp("restores"), seaweedfs) as world:
        yield world


REPLACE, BESIDE, CUT = ("--replace",), (), ("--replace", "--before-tx", "15")


def expected(before: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Return the definition after a plan. If the plan creates a database, it has run the script in the artifacts."""
    beside = plan["rehearsal"] is None
    kept = {**before, "aliases": [], "home of": [], "privileges": []} if beside else before
    if not beside and plan["way"] in ("recreate", "server_recreate", "standalone"):
        return kept
    script = f"GRANT ACCESS ON DATABASE `{plan['target']}` TO `clerks`"
    return {**kept, "privileges": [*kept["privileges"], script]}


def nightly(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    ("place", "options"),
    [("offsite", BESIDE), nightly("local", BESIDE), nightly("offsite", REPLACE), nightly("local", REPLACE)],
    ids=["beside from the bucket", "beside from the volume", "replaced from the bucket", "replaced from the volume"],
)
def test_every_line_of_a_plan_runs_and_brings_the_data_back(world: World, place: str, options: tuple[str, ...]) -> None:
    world.reset()
    before = world.definition("orders")
    plan = world.plan(world.keys[-1], "--from", place, *options)
    entered = world.enter(plan)
    names = [name for name in (plan["rehearsal"], plan["target"]) if name]

    assert entered.counts == [STORED] * len(names)
    assert world.run(PLACED, names[-1]) == [{"number": number, "name": f"Person {number}"} for number in range(1, 13)]
    assert world.definition(names[-1]) == expected(before, plan)
    assert world.last_transactions(names[-1]) == {LAST}


@pytest.mark.nightly
@pytest.mark.xdist_group(f"neo4j-{NEWER}")
def test_a_plan_for_a_standalone_server_brings_the_data_back(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    with a_world(NEWER, tmp_path, seaweedfs, servers=1) as world:
        before = world.definition("orders")
        plan = world.plan(world.keys[-1], "--from", "local", *REPLACE)
        entered = world.enter(plan)

        assert plan["way"] == "standalone"
        assert entered.counts == [STORED] * 2
        assert world.definition("orders") == expected(before, plan)


@pytest.mark.nightly
@pytest.mark.parametrize("place", ["offsite", "local"])
def test_a_plan_that_cuts_restores_everything_that_is_dropped_with_the_database(world: World, place: str) -> None:
    """The cut is read and checked, but nothing here can apply transactions: the data is that of the full."""
    world.reset()
    before = world.definition("orders")
    plan = world.plan("orders", "--from", place, *CUT)
    entered = world.enter(plan)

    assert (len(plan["artifacts"]), plan["before_tx"]) == (2, 15)
    assert entered.counts == [STORED] * 2
    assert world.definition("orders") == expected(before, plan)


def test_every_statement_that_ran_is_accepted_by_neo4js_parser(world: World) -> None:
    """Community has one database: it refuses statements for its edition, never for their syntax."""
    statements = [text for text, database in world.entered if database == "system"]

    assert len(statements) >= 4
    for statement in statements:
        assert "Syntax" not in world.databases.refusal(statement), statement
