"""How requests come in, by the agent's own parts: no process is started, and no loop turns."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.core.requests.answers import State
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.parts import Parts
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.status.model import Status


class World:
    """A requests folder, and the parts of an agent that has not surveyed its volume yet."""

    def __init__(self, folder: Path) -> None:
        self.requests = folder / "requests"
        root = folder / "root"
        root.mkdir()
        config = folder / "config.yaml"
        settings = {"cluster": "demo", "requests": str(self.requests), "storage": {"root": str(root)}}
        config.write_text(yaml.safe_dump({**settings, "neo4j": {"uri": "neo4j://demo:7687"}}))
        self.parts = Parts(Reloader(config, {}), lambda _: None, Metrics(_no_status))
        self.parts.spool.prepare()
        self.parts.maintenance.take_settings(surveyed=False)

    def ask(self, identity: str, file: str | None = None, **request: Any) -> None:
        """Drop a request and let it be taken."""
        name = file or identity
        content = {"id": identity, **request}
        (self.requests / f"{name}.request").write_text(json.dumps(content))
        self.parts.intake.take_dropped(0.0)

    def answer(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.requests / f"{name}.status.json").read_text())
        return content


def _no_status() -> Status:
    raise TimeoutError


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path)


FORGET = {"action": "forget", "database": "orders", "reason": "dropped for good"}


def test_a_request_that_waits_for_the_survey_is_open_until_then(world: World) -> None:
    world.ask("f", **FORGET)
    world.parts.intake.act_on_deferred()
    assert (world.answer("f")["state"], len(world.parts.requests)) == ("queued", 1)
    world.parts.volume_summaries.surveyed((), (), 0.0)
    world.parts.intake.act_on_deferred()

    assert world.answer("f")["reason"] == "not_found"
    assert len(world.parts.requests) == 0


def test_a_request_that_waits_for_the_survey_can_be_cancelled(world: World) -> None:
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
    world: World, request_: dict[str, Any]
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
