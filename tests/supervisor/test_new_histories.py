"""A FULL is queued for a database that was replaced, or whose artifact is damaged. The agent has no loop and no children."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DEFAULT_SET, DatabaseName, PlaceName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.artifacts.summarising import summarise
from backup_agent.core.drill.evidence import DatabaseDrills
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import State
from tests.builders import a_copy, a_topology, an_entry
from tests.supervisor.agent_parts import AgentParts

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
ORDERS = DatabaseName("orders")


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> AgentParts:
    world = AgentParts(tmp_path)
    world.parts.volume_summaries.surveyed([summarise([an_entry("F1[1-9]")], {})], (), 0.0)
    world.parts.new_histories.discover = lambda: None
    return world


def see(world: AgentParts, identity: str, status: str = "online", *, at: float = 0.0) -> None:
    """Let discovery report these copies of the database, and let the agent act on them."""
    discovery = world.parts.discovery
    copies = (a_copy(0, database_id=identity), a_copy(1, database_id=identity, status=status))
    discovery.current = discovery.last = a_topology(*copies, seen=NOW).following(discovery.last)
    world.parts.own_fulls.advance(NOW, at)


def test_a_full_is_queued_once_when_all_copies_of_the_replaced_database_are_online(world: AgentParts) -> None:
    see(world, "A")
    see(world, "B", "initial", at=1.0)
    assert len(world.parts.requests) == 0
    see(world, "B", at=1.9)
    assert len(world.parts.requests) == 0, "it looks once a second"
    for second in (2.0, 3.0):
        see(world, "B", at=second)
    [answer] = world.parts.spool.ledger.open()

    assert answer.asked.type is BackupType.FULL
    assert answer.asked.databases == ["orders"]
    assert world.status(NOW).without_full == {ORDERS: NOW}
    world.parts.discovery.recorded_full(ORDERS, "B")
    assert world.status(NOW).without_full == {}


def test_a_full_that_failed_is_queued_again_after_longer_and_longer_waits(world: AgentParts) -> None:
    see(world, "A")
    see(world, "B", at=1.0)
    asked = []
    for minute in (0, 10, 16, 20, 47, 60):
        asked.append([answer.id for answer in world.parts.spool.ledger.open()])
        for answer in world.parts.spool.ledger.open():
            failed = answer.becomes(State.RUNNING, NOW).becomes(State.FAILED, NOW, Failure(Reason.INTERNAL, "no"))
            world.parts.requests.conclude(failed)
        world.parts.own_fulls.advance(NOW + timedelta(minutes=minute), 61.0 * minute + 2)

    first = "replaced@20261123T050000Z-1c168adb"
    assert asked == [[first], [], [], [f"{first}-20261123T051600Z"], [], [f"{first}-20261123T054700Z"]]


def test_a_full_is_queued_once_after_a_drill_has_marked_an_artifact(world: AgentParts) -> None:
    taken = an_entry("F1[1-9]").finished
    marked = DatabaseDrills(
        place=PlaceName("offsite"), set=DEFAULT_SET, database=ORDERS, marked=taken + timedelta(hours=1)
    )
    world.parts.drill_results.take(marked)
    see(world, "A")
    see(world, "A", at=2.0)
    [answer] = world.parts.spool.ledger.open()

    assert (answer.asked.type, answer.asked.databases, answer.set) == (BackupType.FULL, ["orders"], "default")
    assert answer.id.startswith("damaged@")


def test_the_cluster_is_queried_each_minute_while_a_replacement_is_expected(world: AgentParts) -> None:
    asked: list[str] = []
    own = world.parts.own_fulls
    own.new_histories.discover = lambda: asked.append("now")
    own.advance(NOW, 1000.0)
    assert asked == []
    safety = an_entry("F1[1-9]", set_name=BEFORE_RESTORE)
    world.parts.volume_summaries.take(summarise([safety], {}))
    now = safety.finished + timedelta(minutes=1)
    own.advance(now, 1001.0)
    world.parts.discovery.fail(Failure(Reason.SOURCE_UNREACHABLE, "down"), 1001.0)
    own.advance(now, 1060.0)
    assert len(asked) == 1
    own.advance(now, 1062.0)

    assert len(asked) == 2
