"""Child processes: their task, their events and their end. Each child is a few lines of Python."""

import errno
import fcntl
import os
import signal
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from backup_agent import processes
from backup_agent.core.requests.events import MalformedEvent, StageBegun, Surveyed, VolumeTested
from backup_agent.supervisor.children.process import Child, Ended, Told
from backup_agent.supervisor.children.runs import log_ignored
from tests.polling import PATIENCE, until


class World:
    """Starts children and collects their events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: SimpleQueue[Told | Ended] = SimpleQueue()
        self.lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
        self.children: list[Child] = []

    def start(self, program: str, task: bytes = b"{}") -> Child:
        name = f"child_{len(self.children)}"
        (self.folder / f"{name}.py").write_text(textwrap.dedent(program))
        child = Child(name, name, task, self.heard.put, root=str(self.folder), keep=self.lock, ignored=log_ignored)
        self.children.append(child)
        return child

    def hear(self) -> Told | Ended:
        return self.heard.get(timeout=PATIENCE)


@pytest.fixture(name="world")
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), inherited))))
    world = World(tmp_path)
    log_ignored.cache_clear()
    yield world
    for child in world.children:
        child.kill()
    for _ in world.children:
        while not isinstance(world.heard.get(timeout=PATIENCE) if not world.heard.empty() else Ended("", 0), Ended):
            continue
    os.close(world.lock)


def gone(pid: int) -> bool:
    return processes.start_of(pid) is None or not list(processes.session(pid))


def test_a_child_gets_its_task_and_its_end_comes_after_its_events(world: World) -> None:
    world.start(
        """
        import sys
        task = sys.stdin.readline().strip()
        print('{"event":"stage","stage":' + task + ',"added_later":1}')
        print('{"event":"surveyed"}', flush=True)
        raise SystemExit(7)
        """,
        b'"reading"',
    )
    heard = [world.hear() for _ in range(3)]

    assert heard == [Told("child_0", StageBegun(stage="reading")), Told("child_0", Surveyed()), Ended("child_0", 7)]


def test_unknown_events_and_other_output_are_ignored_and_logged_once_for_each_kind(world: World) -> None:
    with capture_logs() as logged:
        world.start(
            """
            for _ in range(2):
                print("a library that prints")
                print('{"no":"event"}')
                print("[1]")
                print('{"event":"invented_later","size":1}')
            """
        )
        heard = world.hear()

    assert heard == Ended("child_0", 0)
    assert [(line["event"], line["module"], line["kind"]) for line in logged] == [
        ("unknown event ignored", "child_0", "no event"),
        ("unknown event ignored", "child_0", "invented_later"),
    ]


def test_a_malformed_event_is_reported(world: World) -> None:
    world.start("""print('{"event":"stage"}')""")
    message = world.hear()

    assert isinstance(message, Told)
    assert isinstance(message.event, MalformedEvent)
    assert message.event.kind == "stage"


def test_the_end_is_reported_after_a_line_of_forty_thousand_brackets(world: World) -> None:
    world.start(
        """
        print("[" * 40_000)
        print('{"event":' * 20_000)
        print('{"event":"surveyed"}', flush=True)
        """
    )
    heard = [world.hear(), world.hear()]

    assert heard == [Told("child_0", Surveyed()), Ended("child_0", 0)]


def test_the_end_of_a_child_that_does_not_read_its_task_is_reported(world: World) -> None:
    world.start("raise SystemExit(3)", b"x" * (1 << 20))

    assert world.hear() == Ended("child_0", 3)


def test_only_the_child_itself_is_asked_to_end(world: World) -> None:
    child = world.start(
        """
        import signal, subprocess, sys
        below = subprocess.Popen(["sleep", "60"])
        def end(*_):
            print('{"event":"volume","hard_links":%s}' % str(below.poll() is None).lower(), flush=True)
            below.kill()
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print('{"event":"stage","stage":"ready"}', flush=True)
        while True:
            signal.pause()
        """
    )
    assert world.hear() == Told("child_0", StageBegun(stage="ready"))
    child.ask_to_end()

    assert world.hear() == Told("child_0", VolumeTested(hard_links=True))
    assert world.hear() == Ended("child_0", 0)


def test_killing_ends_all_processes_of_the_child_in_any_group(world: World) -> None:
    child = world.start(
        """
        import signal, subprocess
        subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60 & wait"], process_group=0)
        print('{"event":"stage","stage":"ready"}', flush=True)
        signal.pause()
        """
    )
    assert world.hear() == Told("child_0", StageBegun(stage="ready"))
    child.kill()

    assert world.hear() == Ended("child_0", -signal.SIGKILL)
    until(lambda: gone(child.pid), "end of the session")
    child.kill()  # killing a child that has ended is no error


def test_a_child_holds_the_lock_until_it_ends_and_has_the_marker_of_its_supervisor(world: World) -> None:
    fcntl.flock(world.lock, fcntl.LOCK_EX)
    child = world.start(
        """
        import os, sys
        os.fstat(int(os.environ["BACKUP_AGENT_LOCK"]))
        print('{"event":"stage","stage":"ready"}', flush=True)
        sys.stdin.read()
        """
    )
    assert world.hear() == Told("child_0", StageBegun(stage="ready"))
    mark = processes.tag(os.getpid(), str(world.folder))
    os.close(world.lock)
    world.lock = os.open(world.folder / ".lock", os.O_RDWR)

    assert f"{processes.TAG}={mark}".encode() in Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
    with pytest.raises(BlockingIOError):
        fcntl.flock(world.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.kill()
    assert world.hear() == Ended("child_0", -signal.SIGKILL)
    fcntl.flock(world.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_child_is_ended_if_no_thread_can_read_its_events(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread") as refused:
            world.start("import time; time.sleep(60)")

    assert refused.value.errno == errno.EAGAIN
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [pid for pid in children if b"child_0" in Path(f"/proc/{pid}/cmdline").read_bytes()] == []


def test_a_line_without_end_needs_little_memory_and_the_end_is_reported(world: World) -> None:
    world.start(
        """
        import sys
        sys.stdout.write("x" * (3 << 20))
        sys.stdout.write('\\n{"event":"surveyed"}\\n')
        """
    )

    assert [world.hear(), world.hear()] == [Told("child_0", Surveyed()), Ended("child_0", 0)]
