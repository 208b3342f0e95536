"""Answers expire only if another clock agrees with this machine's and the clock was not set."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from backup_agent.core.requests.answers import State
from backup_agent.core.retention.clock import ClockReading, ClockSighting, ClockTime
from backup_agent.supervisor.trusted_clock import TrustedClock, read_clocks
from tests.builders import a_spool

DECADE = timedelta(days=3650)
KEEP = timedelta(days=30)
START = datetime.now(UTC)


class World:
    """A spool with one finished and one rejected request, and a clock that can be moved."""

    def __init__(self, folder: Path) -> None:
        self.spool = a_spool(folder / "requests")
        self.seen = folder / "clock.json"
        self.passed = timedelta(0)
        """How long all clocks have run since START."""
        self.set_by = timedelta(0)
        """How far the clock of this machine was set forward."""
        self.server: ClockTime | None = ClockTime(now=START, monotonic=0.0)
        self.clock = TrustedClock(self.seen, lambda: self.server, self.read)
        for name, content in (("x.request", "{}"), ("y.request", "no JSON")):
            (folder / "requests" / name).write_text(content)
            taken = self.spool.take(name, START)
            if taken is None:  # a young file may still be incomplete
                continue
            if not taken.answer.state.final:
                self.spool.save(taken.answer.becomes(State.SUCCEEDED, START))

    def read(self) -> ClockReading:
        return ClockReading(now=START + self.passed + self.set_by, monotonic=self.passed.total_seconds(), boot="boot")

    def expire(self) -> int:
        """Remove expired files as the agent does; return how many were removed."""
        gone = 0
        for _ in range(100):
            now = self.clock.now()
            gone += 0 if now is None else self.spool.expiry.expire(now, KEEP)
        return gone

    def files(self) -> int:
        return sum(path.is_file() and path.name != ".lock" for path in self.spool.folder.rglob("*"))


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_answers_expire_if_another_clock_agrees(world: World) -> None:
    before = world.files()
    assert before >= 4
    assert world.expire() == 0
    world.passed = timedelta(days=29)
    assert world.expire() == 0
    world.passed = timedelta(days=32)

    assert world.expire() == before
    assert world.files() == 0


@pytest.mark.parametrize("server", [True, False], ids=["the servers disagree", "no other clock"])
@pytest.mark.parametrize("at", ["while the agent runs", "before its start"])
def test_nothing_expires_if_the_clock_was_set_ten_years_forward(world: World, at: str, server: bool) -> None:
    before = world.files()
    if not server:
        world.server = None
    if at == "while the agent runs":
        world.expire()
    world.set_by = DECADE

    assert world.expire() == 0
    assert world.files() == before


def test_nothing_expires_if_the_servers_clock_was_set_forward_as_well(world: World) -> None:
    """If the agent and the servers run on one machine, their clocks agree although the clock has jumped."""
    world.expire()
    world.set_by = DECADE
    world.server = ClockTime(now=START + DECADE, monotonic=0.0)

    assert world.expire() == 0
    world.set_by = timedelta(0)
    world.server = None
    world.passed = timedelta(days=32)
    assert world.expire() == 0
    world.server = ClockTime(now=START, monotonic=0.0)
    assert world.expire() > 0


def test_clocks_seen_by_the_last_pass_of_retention_are_used_after_a_restart(world: World) -> None:
    seen = ClockSighting(reading=world.read(), shown={"offsite": ClockTime(now=START, monotonic=0.0)})
    world.seen.write_text(seen.model_dump_json())
    world.server = None
    assert world.clock.now() == START
    world.set_by = DECADE
    world.clock = TrustedClock(world.seen, lambda: ClockTime(now=START + DECADE, monotonic=0.0), world.read)

    assert world.clock.now() is None
    world.seen.write_text(json.dumps({**json.loads(seen.model_dump_json()), "reading": {"now": 7}}))
    assert TrustedClock(world.seen, lambda: None, world.read).now() is None


def test_one_log_line_says_that_nothing_expires(world: World) -> None:
    world.clock.now()
    world.set_by = DECADE
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            world.clock.now()

    assert [(line["event"], line["log_level"]) for line in logged] == [("answers do not expire", "warning")]


def test_there_is_no_warning_before_another_clock_was_read(world: World) -> None:
    world.server = None
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            world.clock.now()

    assert [(line["event"], line["log_level"]) for line in logged] == [("answers do not expire yet", "info")]


def test_the_clocks_of_this_machine_are_read() -> None:
    first, second = read_clocks(), read_clocks()

    assert first.boot == second.boot
    assert timedelta(0) <= second.now - first.now < timedelta(minutes=1)
