"""Taking requests, with the real parts of the agent but without its loop and its children."""

import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.requests.answers import State
from backup_agent.core.requests.request import Request
from backup_agent.supervisor import snapshot
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.orders_file import orders_file
from tests.supervisor.agent_parts import AgentParts


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> AgentParts:
    return AgentParts(tmp_path)


def test_a_file_that_raises_an_unexpected_exception_delays_no_other_file(
    world: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, intake = world.parts.spool, world.parts.intake
    settle = spool._settle

    def fail_for_odd(folder: Path, now: datetime) -> Any:
        if (folder / "odd.request").exists():
            raise KeyError
        return settle(folder, now)

    monkeypatch.setattr(spool, "_settle", fail_for_odd)
    with pytest.raises(KeyError):
        world.ask("odd", action="verify")
    with pytest.raises(KeyError):
        intake.settle()

    for _ in range(2):
        intake.settle()
    world.ask("other", action="verify")

    assert world.answer("other")["state"] == State.QUEUED.value
    assert len(spool.unsettled()) == 1, "it is kept for the next start"


def test_a_schedule_whose_answer_could_not_be_written_is_begun_when_it_is_submitted_again(
    world: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, intake = world.parts.spool, world.parts.intake
    request = Request(id="nightly@20261124T020000Z", type=BackupType.FULL)
    with monkeypatch.context() as patch:
        patch.setattr(spool.answers, "publish", Mock(side_effect=OSError(errno.EACCES, "Permission denied")))
        with pytest.raises(OSError, match="denied"):
            intake.submit(request, "nightly")

    intake.submit(request, "nightly")

    assert world.parts.requests.find(str(request.id)) is not None


def test_the_set_before_restore_takes_only_a_full_and_counts_for_no_limit(world: AgentParts) -> None:
    for number in range(20):
        world.ask(f"a{number}", type="FULL", path=f"set-{number}")
    world.ask("more", type="FULL", path="one-more")
    world.ask("safe", type="FULL", path="before-restore")
    world.ask("diff", type="AUTO", path="before-restore")

    assert [world.answer(name)["state"] for name in ("more", "safe", "diff")] == ["rejected", "queued", "rejected"]
    assert world.answer("diff")["error"] == "type: the set before-restore takes only FULL"


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


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        ("prune_force", {"action": "prune", "place": "local", "plan": "p", "force": True}),
        ("drop_owed", {"action": "prune", "place": "local", "plan": "p", "force": True, "drop_owed": "offsite"}),
        ("forget", FORGET),
        (
            "release",
            {"action": "release", "artifact": "default/orders/orders-2026-11-23T02-00-00.backup", "reason": "over"},
        ),
        ("pause", {"action": "pause"}),
    ],
)
def test_a_forbidden_request_is_rejected_with_the_key_to_change(
    world: AgentParts, key: str, request_: dict[str, Any]
) -> None:
    world.forbid(key)
    world.ask("x", **request_)

    answer = world.answer("x")
    assert (answer["state"], answer["reason"]) == ("rejected", "invalid_request")
    assert f"requests.allow.{key} is false. To allow it, set it to true" in answer["error"]
    assert world.parts.orders.paused is None


def test_an_allowed_request_is_carried_out(world: AgentParts) -> None:
    world.forbid("forget", "prune_force")
    world.ask("x", action="pause")

    assert world.answer("x")["state"] == "succeeded"


def test_a_pause_with_an_end_ends_by_itself_even_after_a_restart(world: AgentParts) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    world.ask("x", action="pause", until=until.isoformat())
    restarted = Orders(orders_file(world.parts.settings.storage.root))
    restarted.load()

    restarted.end_pause(until - timedelta(seconds=1))
    assert restarted.paused is not None
    restarted.end_pause(until)
    assert restarted.paused is None
    again = Orders(orders_file(world.parts.settings.storage.root))
    again.load()
    assert again.paused is None


def test_a_pause_ends_in_time_even_if_the_volume_is_full(world: AgentParts, monkeypatch: pytest.MonkeyPatch) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    world.ask("x", action="pause", until=until.isoformat())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("backup_agent.durable.write", full)
    world.parts.orders.end_pause(until)

    assert world.parts.orders.paused is None


def test_a_pause_that_would_be_over_is_refused(world: AgentParts) -> None:
    world.ask("x", action="pause", until="2026-01-01T00:00:00Z")

    assert (world.answer("x")["state"], world.answer("x")["reason"]) == ("failed", "invalid_request")
    assert world.parts.orders.paused is None


@pytest.mark.parametrize(("age", "overlong"), [(timedelta(hours=24), False), (timedelta(hours=25), True)])
def test_a_pause_older_than_a_day_is_overlong(world: AgentParts, age: timedelta, *, overlong: bool) -> None:
    world.ask("x", action="pause")
    order = world.parts.orders.paused
    assert order is not None

    shown = snapshot.pause(world.parts.orders, order.since + age)

    assert shown is not None
    assert shown.overlong is overlong
