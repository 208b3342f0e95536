"""Finding and ending the processes of a run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_agent import jobs, processes
from tests.polling import PATIENCE

FORKS = "import os, sys, time; pid = os.fork(); sys.stdout.write('x'); sys.stdout.flush(); time.sleep(60)"


@contextmanager
def forked(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """Two processes of one new session, with a marker in their environment."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, processes.TAG: mark},
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.read(2)
        yield leader
        for pid in processes.session(leader.pid):
            processes.send(pid, signal.SIGKILL)


def test_a_session_has_all_its_processes() -> None:
    with forked("1:1:/x") as leader:
        assert len(list(processes.session(leader.pid))) == 2


def test_processes_of_a_dead_supervisor_are_found_and_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as supervisor:
        mark = processes.tag(supervisor.pid, str(tmp_path))
        with forked(mark) as leader:
            assert list(processes.left_behind(str(tmp_path))) == []
            supervisor.communicate(b"\n")
            assert len(list(processes.left_behind(str(tmp_path)))) == 2
            assert processes.end_left_behind(str(tmp_path)) == 2
            assert leader.wait(5) == -signal.SIGKILL


def test_processes_of_another_root_are_not_ended(tmp_path: Path) -> None:
    with forked(f"1:1:{tmp_path}/other"):
        assert processes.end_left_behind(str(tmp_path)) == 0


def test_a_reused_process_id_is_not_the_same_supervisor(tmp_path: Path) -> None:
    with forked(f"{os.getpid()}:1:{tmp_path}"):
        assert len(list(processes.left_behind(str(tmp_path)))) == 2


def test_the_start_of_a_process_that_does_not_exist_is_unknown() -> None:
    assert processes.start_of(2**22 + 1) is None


LEAVES = """
import atexit, sys, threading
from backup_agent import processes
threading.Thread(target=threading.Event().wait).start()
atexit.register(print, "freeing modules")
sys.stdout.write("the last event")
processes.leave(3)
"""


def test_a_process_that_leaves_writes_its_output_and_waits_for_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", LEAVES], stdout=subprocess.PIPE, check=False, timeout=PATIENCE)

    assert (ended.returncode, ended.stdout) == (3, b"the last event")


def test_every_child_leaves() -> None:
    programs = [path.read_text() for path in Path(jobs.__path__[0]).glob("*.py")]
    children = [program for program in programs if '__name__ == "__main__"' in program]

    assert children
    assert all(program.endswith("    main()\n    processes.leave()\n") for program in children)
