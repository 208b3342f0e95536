"""Which agent owns a place."""

from typing import Any

import pytest

from backup_agent.core.artifacts.names import SYSTEM, DatabaseName
from backup_agent.core.neo4j.topology import Copy
from backup_agent.core.ownership.owner import Owner, Ownership, is_same_agent, ownership_of, system_id
from tests.builders import a_topology

OURS = Owner(id="a", cluster="demo", namespace="prod", system_id="S1", agent="demo-backup-0:/backups")


def owner_with(**changes: Any) -> Owner:
    return OURS.model_copy(update=changes)


@pytest.mark.parametrize(
    ("found", "owned_before", "expected"),
    [
        pytest.param(None, False, Ownership.VACANT, id="no owner"),
        pytest.param(None, True, Ownership.VACANT, id="no owner, ours before"),
        pytest.param(OURS, True, Ownership.OURS, id="ours"),
        pytest.param(owner_with(system_id=None, namespace=None), False, Ownership.OURS, id="ours, with unknown facts"),
        pytest.param(
            owner_with(agent="demo-backup-0-xyz:/backups"), True, Ownership.OURS, id="ours, of an earlier pod"
        ),
        pytest.param(owner_with(system_id="S2"), True, Ownership.FOREIGN, id="cloned volume, another cluster"),
        pytest.param(owner_with(namespace="staging"), True, Ownership.FOREIGN, id="cloned volume, another namespace"),
        pytest.param(owner_with(cluster="other"), True, Ownership.FOREIGN, id="another cluster"),
        pytest.param(
            owner_with(id="b", system_id="S2"), False, Ownership.FOREIGN, id="another cluster of the same name"
        ),
        pytest.param(
            owner_with(id="b", system_id=None), False, Ownership.FOREIGN, id="another volume, unknown system id"
        ),
        pytest.param(owner_with(id="b"), False, Ownership.LOST, id="our cluster, another volume"),
        pytest.param(owner_with(id="b", namespace=None), False, Ownership.LOST, id="our cluster, unknown namespace"),
        pytest.param(owner_with(id="b", namespace="x"), False, Ownership.FOREIGN, id="our cluster, another namespace"),
        pytest.param(owner_with(id="b"), True, Ownership.FOREIGN, id="taken over from this volume"),
    ],
)
def test_a_place_belongs_to_the_owner_that_its_facts_match(
    found: Owner | None, owned_before: bool, expected: Ownership
) -> None:
    assert ownership_of(found, OURS, owned_before=owned_before) is expected


def test_without_a_known_system_id_a_place_is_not_adopted() -> None:
    assert ownership_of(owner_with(id="b"), owner_with(system_id=None), owned_before=False) is Ownership.FOREIGN


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, True), ({"agent": "demo-backup-1:/backups"}, False), ({"agent": None}, False), ({"namespace": "x"}, False)],
)
def test_the_same_agent_has_the_same_pod_and_namespace(change: dict[str, Any], expected: bool) -> None:
    assert is_same_agent(owner_with(id="b", **change), OURS) is expected


def test_an_owner_is_described_by_its_known_facts() -> None:
    assert str(OURS) == "a (cluster demo, namespace prod, system database S1, demo-backup-0:/backups)"
    assert str(Owner(id="b", cluster="demo")) == "b (cluster demo)"


def test_new_facts_are_added_and_known_facts_are_kept() -> None:
    old = Owner(id="a", cluster="demo", system_id="S1")
    new = Owner(id="a", cluster="demo", namespace="prod")

    assert old.with_facts_of(new) == Owner(id="a", cluster="demo", namespace="prod", system_id="S1")


def test_an_owner_survives_a_round_trip_through_json() -> None:
    assert Owner.from_json(OURS.to_json()) == OURS


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param((Copy(database=DatabaseName("neo4j"), database_id="N"),), None, id="not listed"),
        pytest.param((Copy(database=SYSTEM),), None, id="without id"),
        pytest.param(
            (Copy(database=SYSTEM), Copy(database=DatabaseName("system"), database_id="S")), "S", id="by one server"
        ),
    ],
)
def test_the_system_id_comes_from_the_topology(copies: tuple[Copy, ...], expected: str | None) -> None:
    assert system_id(a_topology(*copies)) == expected
    assert system_id(None) is None
