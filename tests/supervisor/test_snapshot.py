"""The status of an agent has what its parts know, and the metrics show it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.names import RequestId
from backup_agent.core.neo4j.selection import DiscoverySource, Selection, Target
from backup_agent.core.status import Status
from backup_agent.supervisor.work.backup_queue import MOST_ACTIVE
from tests.builders import ORDERS
from tests.supervisor.agent_parts import AgentParts

OLDEST = "neo4j_backup_queue_oldest_seconds"
ALL_ORDERS = Selection((Target(ORDERS, None, DiscoverySource.BOLT),), {})


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> AgentParts:
    return AgentParts(tmp_path)


def age(agent: AgentParts, identity: str) -> float | None:
    """Return the oldest age of the queue, 90 s after a request was received."""
    answer = agent.parts.requests.find(RequestId(identity))
    assert answer is not None
    return agent.metric(OLDEST, answer.received + timedelta(seconds=90))


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "forget", "database": "orders", "reason": "dropped for good"},
        {"action": "verify"},
        {"action": "prune", "dry_run": True},
        {"type": "FULL"},
    ],
    ids=["forget", "verify", "prune", "backup"],
)
def test_a_request_of_every_kind_waits_in_the_queue_until_it_is_started(
    agent: AgentParts, request_: dict[str, Any]
) -> None:
    assert agent.metric(OLDEST, datetime.now(UTC)) is None
    agent.ask("one", **request_)
    agent.ask("two", **request_)

    assert age(agent, "one") == 90.0


def test_a_request_whose_pass_has_started_does_not_count_as_waiting(agent: AgentParts) -> None:
    agent.ask("one", action="verify")
    wish = agent.parts.maintenance_queue.asked()
    assert wish is not None
    agent.parts.maintenance_queue.begin(wish, datetime.now(UTC))

    assert agent.metric(OLDEST, datetime.now(UTC)) is None
    agent.ask("two", action="verify")
    assert age(agent, "two") == 90.0


def test_a_backup_waits_behind_all_backups_that_have_started(agent: AgentParts) -> None:
    queue = agent.parts.backup_queue
    for number in range(MOST_ACTIVE + 1):
        agent.ask(f"r{number}")
    queue.activate()
    for answer in queue.unselected():
        queue.selected(answer, ALL_ORDERS, answer.received)
    for job in list(queue.waiting_jobs()):
        queue.start(job, datetime.now(UTC))

    assert age(agent, f"r{MOST_ACTIVE}") == 90.0


def test_a_clock_that_was_set_back_makes_no_negative_age(agent: AgentParts) -> None:
    agent.ask("one")

    assert agent.metric(OLDEST, datetime.now(UTC) - timedelta(hours=1)) == 0.0


def test_every_field_of_the_status_is_set(agent: AgentParts) -> None:
    assert Status.model_fields.keys() - agent.status(datetime.now(UTC)).model_fields_set == {"schema_"}


def test_a_second_pause_keeps_the_first_requester_and_reason_and_ends_no_earlier(agent: AgentParts) -> None:
    agent.ask("one", action="pause", requested_by="ann", reason="the store moves", until="2099-01-02T00:00:00Z")
    first = agent.status(datetime.now(UTC)).paused
    agent.ask("two", action="pause", requested_by="bob", reason="lunch", until="2099-01-01T00:00:00Z")
    second = agent.status(datetime.now(UTC)).paused
    agent.ask("three", action="pause", requested_by="bob", reason="no end")
    third = agent.status(datetime.now(UTC)).paused

    assert first is not None
    assert (first.requested_by, first.reason) == ("ann", "the store moves")
    assert second == first
    assert third == first.model_copy(update={"until": None})
