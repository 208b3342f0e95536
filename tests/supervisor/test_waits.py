"""The answer to a queued request says what the request waits for."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup_agent.core.artifacts.names import VOLUME
from tests.supervisor.agent_parts import AgentParts


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> AgentParts:
    """Return an agent that has surveyed its volume and does nothing."""
    agent = AgentParts(tmp_path, "offsite")
    agent.parts.survey._tried = agent.parts.survey.done = True
    agent.parts.survey._due_since = None
    return agent


def waits(agent: AgentParts, name: str) -> str | None:
    agent.parts.waits.show(0.0)
    agent.parts.requests.show_due(float("inf"))
    found: str | None = agent.answer(name).get("waits_for")
    return found


def work(agent: AgentParts, kind: str, place: str | None = VOLUME) -> None:
    """Start a run of a kind, which does not end."""
    agent.parts.runs._runs[kind] = SimpleNamespace(kind=kind, place=place, destination=None)  # type: ignore[assignment]  # what is read of a run


REQUESTS: list[dict[str, Any]] = [{"type": "FULL"}, {"action": "prune"}]


@pytest.mark.parametrize("request_", REQUESTS, ids=["backup", "prune"])
def test_every_request_waits_for_the_survey_and_for_the_end_of_a_pause(
    agent: AgentParts, request_: dict[str, Any]
) -> None:
    agent.parts.survey._tried = False
    agent.ask("one", **request_)
    assert waits(agent, "one") == "the survey of the volume"
    agent.parts.survey._tried = True
    assert waits(agent, "one") is None
    agent.ask("p", action="pause")

    assert waits(agent, "one") == "the end of the pause"


@pytest.mark.parametrize(
    ("kind", "place", "expected"),
    [
        ("prune", VOLUME, "retention at local"),
        ("verify", VOLUME, "a verification at local"),
        ("cluster", None, "the answer of the cluster"),
    ],
)
def test_a_backup_waits_for_work_on_the_volume_and_for_the_cluster(
    agent: AgentParts, kind: str, place: str | None, expected: str
) -> None:
    agent.ask("one")
    work(agent, kind, place)
    assert waits(agent, "one") == expected
    agent.parts.runs._runs.clear()

    assert waits(agent, "one") is None


def test_a_pass_waits_for_work_at_its_place_and_on_the_volume_for_backups(agent: AgentParts) -> None:
    agent.ask("there", action="verify", place="offsite")
    agent.ask("here", action="verify", place="local")
    work(agent, "copy", "offsite")
    assert (waits(agent, "there"), waits(agent, "here")) == ("copies at offsite", None)
    agent.ask("backup")
    agent.parts.backup_queue.activate()

    assert (waits(agent, "there"), waits(agent, "here")) == ("copies at offsite", "backups, which come first")


def test_the_answer_of_a_started_request_names_nothing_that_it_waits_for(agent: AgentParts) -> None:
    agent.ask("one", action="verify", place="offsite")
    work(agent, "copy", "offsite")
    assert waits(agent, "one") == "copies at offsite"
    wish = agent.parts.maintenance_queue.asked()
    assert wish is not None
    agent.parts.maintenance_queue.begin(wish, datetime.now(UTC))

    assert waits(agent, "one") is None
