"""Runs in children that wait for their next run. Each child is a few lines of Python."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from backup_agent import processes
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.events import StageBegun
from backup_agent.supervisor.children import runs as runs_module
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import BACKUP_WAITS_SECONDS, END_SECONDS, Run, Runs
from tests.builders import OFFSITE
from tests.polling import PATIENCE, until

NEAR = PlaceName("near")

STAYS = """
import os, signal, subprocess, sys
for line in sys.stdin:
    print('{"event":"stage","stage":"%s %s"}' % (os.getpid(), line.strip()), flush=True)
    exec(line)
    print('{"event":"task_ended"}', flush=True)
"""
"""A child that executes each task as Python code, and then waits for the next one."""


class World:
    """Starts runs, and handles their events as the agent's loop does."""

    def __init__(self, folder: Path) -> None:
        self.heard: SimpleQueue[Told | Ended] = SimpleQueue()
        self.runs = Runs(str(folder), self.heard.put)
        self.runs.lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)

    def begin(self, name: str, task: str = "pass", at: PlaceName | None = None, *, remote: bool = False) -> Run:
        self.runs.spawn(name, "staying", task.encode(), place=at, remote=remote or at is not None)
        run = self.runs.get(name)
        assert run is not None
        return run

    def stage_of(self, name: str) -> str:
        """Return the stage of a run."""
        message = self.heard.get(timeout=PATIENCE)
        assert isinstance(message, Told)
        assert message.run == name
        assert isinstance(message.event, StageBegun)
        return message.event.stage

    def end(self, name: str) -> int:
        """Return the code with which a run ends."""
        while isinstance(ended := self.heard.get(timeout=PATIENCE), Told):
            continue
        assert ended.run == name
        self.runs.ended(name)
        return ended.code

    def do(self, name: str, at: PlaceName | None = None, *, remote: bool = False) -> int:
        """Carry out a run. Return the process id of its child."""
        run = self.begin(name, at=at, remote=remote)
        assert self.end(name) == 0
        return run.child.pid


@pytest.fixture(name="world")
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "staying.py").write_text(STAYS)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), inherited))))
    monkeypatch.setattr(runs_module, "DESTINATION_MODULE", "staying")
    world = World(tmp_path)
    yield world
    world.runs.kill()
    until(lambda: not [pid for pid in world.runs.pids if list(processes.session(pid))], "end of every child")
    os.close(world.runs.lock)


def is_gone(pid: int) -> bool:
    return not list(processes.session(pid))


def test_the_next_run_uses_the_child_of_the_last_one(world: World) -> None:
    first = world.begin("one")
    assert world.stage_of("one") == f"{first.child.pid} pass"
    assert world.end("one") == 0
    assert len(world.runs) == world.runs.slots == 0
    second = world.begin("two")

    assert world.stage_of("two") == f"{first.child.pid} pass"
    assert second.child is first.child
    assert world.end("two") == 0


def test_two_runs_at_once_have_two_children_and_the_next_two_use_them(world: World) -> None:
    first = {world.begin(name).child.pid for name in ("one", "two")}
    ended = [event for event in (world.heard.get(timeout=PATIENCE) for _ in range(4)) if isinstance(event, Ended)]
    for one in ended:
        world.runs.ended(one.run)
    second = {world.begin(name).child.pid for name in ("three", "four")}

    assert len(first) == 2
    assert second == first


def test_a_child_is_not_used_for_another_purpose(world: World) -> None:
    pids = {
        world.do("one"),
        world.do("two", remote=True),
        world.do("three", at=OFFSITE),
        world.do("four", at=NEAR),
    }

    assert len(pids) == 4


def test_there_is_one_run_at_a_destination_at_a_time(world: World) -> None:
    run = world.begin("one", at=OFFSITE)

    with pytest.raises(ValueError, match="offsite is under way"):
        world.begin("two", at=OFFSITE)
    assert world.runs.at(OFFSITE) == ("one", run)
    assert world.runs.at(NEAR) is None
    world.end("one")
    assert world.runs.at(OFFSITE) is None


def test_processes_that_a_run_leaves_are_killed_and_its_child_is_used_again(world: World) -> None:
    run = world.begin("one", "subprocess.Popen(['sleep', '60'], process_group=0)")
    world.stage_of("one")
    assert world.end("one") == 0

    until(lambda: list(processes.session(run.child.pid)) == [run.child.pid], "end of what the run has left")
    assert world.do("two") == run.child.pid


def test_a_child_that_dies_in_a_run_ends_the_run_by_its_signal(world: World) -> None:
    first = world.do("one")
    world.begin("two", "os.kill(os.getpid(), signal.SIGKILL)")

    assert world.end("two") == -signal.SIGKILL
    assert world.do("three") != first


def test_a_child_that_died_between_two_runs_is_replaced(world: World) -> None:
    run = world.begin("one")
    world.end("one")
    os.kill(run.child.pid, signal.SIGKILL)
    until(lambda: run.child.ended, "end of the child")

    assert world.do("two") != run.child.pid


@pytest.mark.parametrize("wait", [False, True], ids=["as-the-task-is-written", "after-the-task-is-written"])
def test_a_run_whose_child_has_just_died_ends_without_a_verdict(world: World, *, wait: bool) -> None:
    """The child is stopped, so that it can read no task, and killed: before the supervisor knows, or after."""
    run = world.begin("one")
    world.end("one")
    os.kill(run.child.pid, signal.SIGSTOP)
    if not wait:
        os.kill(run.child.pid, signal.SIGKILL)
    try:
        second = world.begin("two")
    finally:
        processes.send(run.child.pid, signal.SIGKILL)
    code = world.end("two")

    assert code == (-signal.SIGKILL if second.child is run.child else 0)
    assert world.do("three") != run.child.pid


def test_a_child_that_was_asked_to_end_gets_no_further_run(world: World) -> None:
    run = world.begin("one", "signal.signal(signal.SIGTERM, lambda *_: 0) and 0 or signal.pause()")
    world.stage_of("one")
    until(lambda: b"SigCgt" in _status(run.child.pid) and _catches_sigterm(run.child.pid), "handler of SIGTERM")
    world.runs.end("one", Reason.CANCELLED)
    assert world.end("one") == 0

    until(lambda: run.child.ended, "end of the child")
    assert world.do("two") != run.child.pid


def test_a_child_is_ended_after_it_has_waited_long_enough(world: World) -> None:
    run = world.begin("one")
    world.end("one")
    (moment,) = world.runs.moments()
    world.runs.enforce(moment - 0.1, all_end=False)
    assert run.child.waits
    world.runs.enforce(moment, all_end=False)

    until(lambda: run.child.ended, "end of the child")
    assert BACKUP_WAITS_SECONDS - 1 < moment - run.started < BACKUP_WAITS_SECONDS + PATIENCE
    world.runs.enforce(moment, all_end=False)
    assert world.runs.moments() == []
    assert world.runs.pids == set()


def test_a_child_for_backups_waits_on_while_a_backup_waits_for_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.do("a")
    world.do("copy", NEAR)
    first, copying = world.runs.moments()
    monkeypatch.setattr(time, "monotonic", lambda: first)
    world.runs.keep_for_backups()

    assert world.runs.moments() == [first + BACKUP_WAITS_SECONDS, copying]


def test_a_child_that_does_not_end_when_its_stdin_is_closed_is_killed(world: World) -> None:
    run = world.begin("one")
    world.end("one")
    os.kill(run.child.pid, signal.SIGSTOP)
    world.runs.let_go()
    world.runs.enforce(time.monotonic() + END_SECONDS, all_end=False)

    until(lambda: run.child.ended, "end of the child")
    assert is_gone(run.child.pid)


def test_after_a_change_of_the_settings_no_child_gets_a_further_run(world: World) -> None:
    waiting = world.begin("one")
    world.end("one")
    running = world.begin("two", "sys.stdin.readline()", remote=True)
    world.stage_of("two")
    world.runs.let_go()

    until(lambda: waiting.child.ended, "end of the child that waited")
    assert running.child.give("two", b"go on")
    assert world.end("two") == 0
    until(lambda: running.child.ended, "end of the child that ran")


def test_children_of_destinations_make_room_for_a_backup(world: World) -> None:
    children = []
    for name, place in (("one", OFFSITE), ("two", NEAR)):
        children.append(world.begin(name, at=place).child)
        world.end(name)
    backup = world.begin("three").child
    world.end("three")
    world.runs.make_room(1)

    until(lambda: children[0].ended, "end of the child that has waited longest")
    assert children[1].waits
    world.runs.make_room(0)
    until(lambda: children[1].ended, "end of the other one")
    assert backup.waits


def _status(pid: int) -> bytes:
    return Path(f"/proc/{pid}/status").read_bytes()


def _catches_sigterm(pid: int) -> bool:
    caught = next(line for line in _status(pid).splitlines() if line.startswith(b"SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
