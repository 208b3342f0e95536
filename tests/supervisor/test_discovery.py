"""Discovery in the supervisor: which topology is used, and when the cluster is queried again."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from backup_agent.cluster.rows import COPIES, events_with
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.neo4j.topology import Copy
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.events import TopologyRows, TopologyTold
from backup_agent.supervisor.work.discovery import FRESH_SECONDS, SELECTED_SECONDS, Discovery

TOPOLOGY = {"seen": "2026-11-23T00:00:00Z", "versions": ["5.26.31"], "counts": {}}


def answer(known: Discovery, *databases: str, lost: int = 0, **more: Any) -> None:
    """Let the child report a topology without its first `lost` rows."""
    known.begin()
    rows = [{"database": name, "address": "server-0:7687"} for name in databases]
    for event in events_with({COPIES: rows[lost:]}):
        known.add_rows(event)
    known.take(TopologyTold.model_validate({**TOPOLOGY, "counts": {COPIES: len(rows)}, **more}), 1.0)


SILENT = Failure(Reason.SOURCE_UNREACHABLE, "no server answers")


def test_the_last_reading_of_the_servers_clock_is_kept_while_bolt_does_not_answer(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    known.take(TopologyTold.model_validate({**TOPOLOGY, "clock_offset_seconds": 60.0}), 1.0)
    shown = datetime.now(UTC) + timedelta(seconds=60)
    known.fail(SILENT, 2.0)

    assert known.server_clock
    assert abs(known.server_clock.time_at(time.clock_gettime(time.CLOCK_BOOTTIME)) - shown) < timedelta(seconds=5)


def test_after_a_doubtful_answer_the_cluster_is_queried_again(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    known.fail(SILENT, 1.0)
    known.doubt()

    assert (known.asked, known.fresh(1.0)) == (False, False)


def test_an_unlisted_database_is_missing_until_it_is_listed_again_even_after_a_restart(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    answer(known, "orders", "system")
    answer(known, "system")
    answer(known, "system")

    assert known.last
    assert known.last.missing == ("orders",)
    assert load_topology(tmp_path) == known.last
    answer(known, "orders", "system")
    assert not known.last.missing


def test_an_incomplete_topology_is_not_used(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    answer(known, "orders", "system")
    answer(known, "orders", "people", "system", lost=1)

    assert known.current is None
    assert known.last
    assert set(known.last.databases()) == {"orders", "system"}
    assert known.failure
    assert (known.failure.reason, known.failure.error) == (
        Reason.SOURCE_UNREACHABLE,
        "the topology is incomplete, and not used: 2 of 3 copies were received",
    )


def test_rows_of_a_child_that_died_are_discarded(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    known.begin()
    known.add_rows(TopologyRows(copies=(Copy(database=DatabaseName("people")),)))
    answer(known, "orders")

    assert known.current
    assert set(known.current.databases()) == {"orders"}


def test_refused_names_are_counted_and_logged_once(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    with capture_logs() as logged:
        answer(known, "orders", refused=2, notes=["2 names refused"])
        answer(known, "orders", refused=2, notes=["2 names refused"])

    assert (known.refused, known.notes) == (2, ("2 names refused",))
    assert [line["notes"] for line in logged if line["event"] == "topology incomplete"] == [("2 names refused",)]


def test_an_answer_is_used_longer_for_databases_that_are_selected_already(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    answer(known, "orders")
    at = [2.0, FRESH_SECONDS + 2, SELECTED_SECONDS + 2]

    assert [known.fresh(now) for now in at] == [True, False, False]
    assert [known.serves(now) for now in at] == [True, True, False]
    known.note_failed_backup()
    assert [known.serves(now) for now in at] == [True, False, False]
    answer(known, "orders")
    assert [known.serves(now) for now in at] == [True, True, False]


def test_a_failed_query_is_not_used_longer_for_any_database(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    answer(known, "orders")
    known.fail(SILENT, 1.0)

    assert [known.serves(now) for now in (2.0, FRESH_SECONDS + 2)] == [True, False]


def test_the_cluster_is_queried_at_the_start_and_an_hour_after_the_last_query(tmp_path: Path) -> None:
    known = Discovery(tmp_path)
    at_start = known.aged(0.0)
    known.fail(SILENT, 10.0)

    assert (at_start, known.aged(11.0), known.aged(3609.0), known.aged(3610.0)) == (True, False, False, True)
