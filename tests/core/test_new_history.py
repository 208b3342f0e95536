"""The FULL with which a replaced database begins a new history."""

from datetime import UTC, datetime, timedelta
from typing import Any

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DEFAULT_SET, DatabaseName
from backup_agent.core.artifacts.summarising import summarise
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.requests.new_history import expects_replacement, requests, without_full
from tests.builders import a_copy, a_topology, an_entry

ORDERS = DatabaseName("orders")
SEEN = datetime(2026, 11, 23, 5, tzinfo=UTC)


def after_replacement(**copy: Any) -> Topology:
    return a_topology(a_copy(0), a_copy(1, **copy), replaced={ORDERS: SEEN})


def summary(set_name: str, hours: float) -> DatabaseSummary:
    found = summarise([an_entry("F1[1-9]", set_name=set_name)], {})
    return found.model_copy(update={"last_success": {"FULL": SEEN + timedelta(hours=hours)}})


def test_a_full_is_asked_for_once_every_copy_is_online() -> None:
    for copy in ({"status": "offline"}, {"status": "initial"}, {"address": None}):
        assert list(requests(after_replacement(**copy), {ORDERS: SEEN})) == []
    [asked] = requests(after_replacement(), {ORDERS: SEEN})

    assert (asked.id, asked.type, asked.databases) == ("replaced@20261123T050000Z-1c168adb", "FULL", ["orders"])


def test_only_a_database_with_backups_in_a_declared_set_needs_a_full() -> None:
    declared = {DEFAULT_SET}

    assert without_full(after_replacement(), [summary("default", 0)], declared) == {ORDERS: SEEN}
    assert without_full(after_replacement(), [summary("before-restore", 0)], declared) == {}
    assert without_full(a_topology(a_copy(0)), [summary("default", 0)], declared) == {}


def test_a_replacement_is_expected_for_a_day_after_a_backup_before_a_restore_or_until_a_newer_full() -> None:
    def expected(*found: DatabaseSummary, hours: float = 1) -> bool:
        return bool(expects_replacement(found, {DEFAULT_SET}, SEEN + timedelta(hours=hours)))

    assert expected(summary(BEFORE_RESTORE, 0), summary("default", -1))
    assert expected(summary(BEFORE_RESTORE, 0))
    assert not expected(summary(BEFORE_RESTORE, 0), summary("default", 0.5))
    assert not expected(summary(BEFORE_RESTORE, 0), hours=24)
    assert not expected(summary("default", 0))
