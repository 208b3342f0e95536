"""Taking requests, with the real parts of the agent but without its loop and its children."""

from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.requests.answers import State
from tests.supervisor.agent_parts import AgentParts


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> AgentParts:
    return AgentParts(tmp_path)


FORGET = {"action": "forget", "database": "orders", "reason": "dropped for good"}


def test_a_request_that_waits_for_the_survey_is_open_until_then(world: AgentParts) -> None:
    world.ask("f", **FORGET)
    world.parts.intake.act_on_deferred()
    assert (world.answer("f")["state"], len(world.parts.requests)) == ("queued", 1)
    world.parts.volume_summaries.surveyed((), (), 0.0)
    world.parts.intake.act_on_deferred()

    assert world.answer("f")["reason"] == "not_found"
    assert len(world.parts.requests) == 0


def test_a_request_that_waits_for_the_survey_can_be_cancelled(world: AgentParts) -> None:
    world.ask("f", **FORGET)
    world.ask("f", "stop", action="cancel")

    assert (world.answer("f")["state"], world.answer("stop")["state"]) == ("cancelled", "succeeded")
    assert len(world.parts.requests) == 0


@pytest.mark.parametrize(
    "request_",
    [FORGET, {"action": "verify"}, {"action": "prune", "dry_run": True}, {"type": "FULL"}],
    ids=["forget", "verify", "prune", "backup"],
)
def test_an_open_request_is_answered_beside_each_file_and_in_a_new_folder(
    world: AgentParts, request_: dict[str, Any]
) -> None:
    world.ask("one", **request_)
    world.ask("one", "again", **request_)
    world.requests.rename(world.requests.with_name("lost"))
    world.requests.mkdir()
    world.parts.spool.prepare()
    world.parts.requests.rewrite()

    assert [answer.id for answer in world.parts.spool.ledger.open()] == ["one"]
    for name in ("one", "again"):
        assert world.answer(name)["state"] == State.QUEUED.value
