"""expected.json: since when backups are expected, and which failed last, also after a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.protection.judging import Protection
from backup_agent.core.reasons import Reason
from backup_agent.supervisor.parts import Parts
from tests.builders import ORDERS, a_copy
from tests.supervisor.agent_parts import AgentParts

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
FAILED = Attempt(at=NOW, failed_at=NOW, reason=Reason.TIMEOUT, error="too slow")


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> AgentParts:
    agent = AgentParts(tmp_path)
    (agent.parts.settings.storage.root / ".agent").mkdir(exist_ok=True)
    return agent


def lists(parts: Parts, *databases: str) -> None:
    """Let the cluster list these databases, and let the survey find an empty volume."""
    parts.discovery.last = Topology(seen=NOW, copies=tuple(a_copy(database=name) for name in databases))
    parts.volume_summaries.known = True


def states(parts: Parts, now: datetime) -> dict[DatabaseName, Protection]:
    return {one.database: one.state for one in parts.expected_backups.judge(now) or ()}


def test_no_database_is_judged_before_the_survey(agent: AgentParts) -> None:
    assert agent.parts.expected_backups.judge(NOW) is None


def test_a_restart_forgets_neither_since_when_a_backup_is_expected_nor_a_failure(agent: AgentParts) -> None:
    lists(agent.parts, "orders")
    agent.parts.counters.attempts["default/orders"] = FAILED
    agent.parts.expected_backups.check(NOW, 0.0)
    later = agent.parts_again()
    later.expected_backups.load()
    lists(later, "orders")

    assert states(later, NOW + timedelta(days=3)) == {ORDERS: Protection.UNPROTECTED}
    assert later.counters.attempts == {"default/orders": FAILED}


def test_a_failure_is_forgotten_after_a_success(agent: AgentParts) -> None:
    agent.parts.counters.attempts["default/orders"] = FAILED
    agent.parts.expected_backups.check(NOW, 0.0)
    agent.parts.counters.attempts["default/orders"] = FAILED.model_copy(update={"at": NOW + timedelta(hours=1)})
    agent.parts.expected_backups.check(NOW, 1.0)
    later = agent.parts_again()
    later.expected_backups.load()

    assert later.counters.attempts == {}


def test_an_artifact_of_the_volume_protects_its_database(agent: AgentParts) -> None:
    lists(agent.parts, "orders")
    agent.parts.expected_backups.check(NOW, 0.0)
    success = NOW + timedelta(days=3)
    agent.parts.volume_summaries.take(
        DatabaseSummary(
            set="default", database="orders", artifacts=1, size=1, first=success, newest="default/orders/x.backup",
            newest_size=1, last_success={"FULL": success, "DIFF": success}, chain_links=1, chain_size={},
        )
    )  # fmt: skip

    assert states(agent.parts, success) == {ORDERS: Protection.PROTECTED}


@pytest.mark.parametrize("content", [b"{", b'{"expected": {"no/such/key": {}}}', b'{"failures": {"x": {"at": 1}}}'])
def test_a_file_that_cannot_be_read_is_logged_and_backups_are_expected_from_now_on(
    agent: AgentParts, content: bytes
) -> None:
    agent.parts.expected_backups.file.write_bytes(content)
    with capture_logs() as logged:
        agent.parts.expected_backups.load()
    lists(agent.parts, "orders")
    agent.parts.expected_backups.check(NOW, 0.0)

    assert [line["event"] for line in logged] == ["expected backups unreadable"]
    assert states(agent.parts, NOW) == {ORDERS: Protection.WAITING}


def test_if_the_file_cannot_be_written_this_is_logged_and_tried_again(
    agent: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    lists(agent.parts, "orders")
    with monkeypatch.context() as full, capture_logs() as logged:
        full.setattr("backup_agent.durable.write", refuse)
        agent.parts.expected_backups.check(NOW, 0.0)
        agent.parts.counters.attempts["default/orders"] = FAILED
        agent.parts.expected_backups.check(NOW, 59.0)
    agent.parts.expected_backups.check(NOW, 60.0)

    assert [line["event"] for line in logged] == ["expected backups not kept"]
    assert agent.parts.expected_backups.file.exists()


def test_each_listed_database_has_series_from_the_first_discovery_on(agent: AgentParts) -> None:
    lists(agent.parts, "orders", "sales")
    rows = agent.status(NOW).protection or ()

    assert {one.database: one.state for one in rows} == {
        "orders": Protection.WAITING,
        "sales": Protection.WAITING,
    }
