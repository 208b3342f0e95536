import errno
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.neo4j.verdict import Completed, EndedBy
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.neo4j_admin.process import LAST_LINES, LINE_KEPT, Lines, run

LONG = timedelta(minutes=1)
AT_ONCE = timedelta(milliseconds=300)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Completed]:
    def start(script: str, **arguments: Any) -> Completed:
        defaults: dict[str, Any] = {
            "env": {"PATH": os.environ["PATH"]},
            "cwd": tmp_path,
            "timeout": LONG,
            "cancel": threading.Event(),
        }
        return run((sys.executable, "-S", "-c", script), **(defaults | arguments))

    return start


class Watched:
    """Collects the process ids that a program prints, one a line, to see whether those processes have ended."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def __call__(self, line: str) -> None:
        self._ends.append(os.pidfd_open(int(line)))

    def have_ended(self) -> list[bool]:
        ended = []
        for end in self._ends:
            ended.append(bool(select.select([end], [], [], 10.0)[0]))
            os.close(end)
        return ended


@pytest.mark.parametrize("code", [0, 1, 64, 137])
def test_an_exit_code_is_returned(start: Callable[..., Completed], code: int) -> None:
    completed = start(f"import sys; print('well'); print('ill', file=sys.stderr, flush=True); sys.exit({code})")

    assert (completed.exit_code, completed.signal, completed.ended_by) == (code, None, None)
    assert set(completed.last_lines) == {"well", "ill"}
    assert 0 < completed.duration < 60


def test_the_signal_that_ended_the_program_is_returned(start: Callable[..., Completed]) -> None:
    completed = start("import os; print('so far', flush=True); os.kill(os.getpid(), 9)")

    assert (completed.exit_code, completed.signal, completed.ended_by) == (None, 9, None)
    assert completed.last_lines == ("so far",)


def test_lines_arrive_while_the_program_runs(start: Callable[..., Completed]) -> None:
    cancel = threading.Event()
    lines: list[str] = []

    def heard(line: str) -> None:
        lines.append(line)
        cancel.set()

    completed = start("import time; print('begun', flush=True); time.sleep(60)", cancel=cancel, on_line=heard)

    assert lines == ["begun"]
    assert completed.ended_by is EndedBy.CANCELLED
    assert completed.signal == signal.SIGTERM


def test_a_cancel_before_the_start_starts_nothing(start: Callable[..., Completed], tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()

    completed = start(f"open({str(tmp_path / 'trace')!r}, 'w')", cancel=cancel)

    assert completed == Completed(None, ended_by=EndedBy.CANCELLED)
    assert not (tmp_path / "trace").exists()


def test_a_program_that_takes_too_long_is_ended(start: Callable[..., Completed]) -> None:
    completed = start("import time; print('x', flush=True); time.sleep(60)", timeout=AT_ONCE)

    assert completed.ended_by is EndedBy.TIMEOUT
    assert completed.duration < 30


def test_a_program_that_may_clean_up_does_so_before_it_ends(start: Callable[..., Completed]) -> None:
    script = (
        "import os, signal, time\n"
        "def end(*_):\n"
        "    for _ in range(50): os.write(1, b'x' * 4095 + b'\\n')\n"
        "    os.write(1, b'cleaned up')\n"
        "    os._exit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "os.write(1, b'ready\\n')\n"
        "time.sleep(60)"
    )
    cancel = threading.Event()

    completed = start(script, cancel=cancel, on_line=lambda _: cancel.set(), grace=20.0)

    assert completed.exit_code == 143
    assert completed.last_lines[-1] == "cleaned up"


def test_a_program_that_ignores_sigterm_is_killed(start: Callable[..., Completed]) -> None:
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    cancel = threading.Event()

    completed = start(script, cancel=cancel, on_line=lambda _: cancel.set(), grace=0.2)

    assert (completed.signal, completed.ended_by) == (9, EndedBy.CANCELLED)


SECOND = (
    "import os, signal, sys, time\n"
    "if os.fork() == 0:\n"
    "    signal.signal(15, signal.SIG_IGN)\n"
    "    print(os.getpid(), flush=True)\n"
    "    time.sleep(60)\n"
)


def test_a_second_process_ends_with_the_first_when_cancelled(start: Callable[..., Completed]) -> None:
    cancel = threading.Event()
    second = Watched()

    def heard(line: str) -> None:
        second(line)
        cancel.set()

    completed = start(SECOND + "os.wait()", cancel=cancel, on_line=heard, grace=0.2)

    assert completed.ended_by is EndedBy.CANCELLED
    assert second.have_ended() == [True]


def test_the_second_process_is_asked_to_end_as_well(start: Callable[..., Completed]) -> None:
    script = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0: time.sleep(60)\n"
        "signal.signal(15, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "sys.exit(os.wait()[1])"
    )
    cancel = threading.Event()

    completed = start(script, cancel=cancel, on_line=lambda _: cancel.set(), grace=20.0)

    assert completed.exit_code == signal.SIGTERM


def test_a_second_process_that_outlives_the_first_is_killed(start: Callable[..., Completed]) -> None:
    reads, writes = os.pipe()
    script = SECOND + f"    sys.exit()\nos.close({writes})\nos.read({reads}, 1)"
    script = script.replace("    time.sleep(60)", f"    os.write({writes}, b'x')\n    time.sleep(60)")
    second = Watched()

    completed = start(script, on_line=second, pass_fds=(reads, writes))
    os.close(reads)
    os.close(writes)

    assert completed.exit_code == 0
    assert second.have_ended() == [True]


def test_a_process_outside_the_group_that_keeps_the_pipe_open_is_not_waited_for(
    start: Callable[..., Completed],
) -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(child.pid)"
    )

    completed = start(script)

    assert completed.exit_code == 0
    assert completed.duration < 30
    os.kill(int(completed.last_lines[0]), signal.SIGKILL)


def test_the_program_runs_in_its_own_process_group_in_the_session_of_the_agent(start: Callable[..., Completed]) -> None:
    completed = start("import os; print(os.getpgrp() == os.getpid(), os.getsid(0))")

    assert completed.last_lines == (f"True {os.getsid(0)}",)


def test_the_program_has_no_standard_input_even_if_the_agent_has(start: Callable[..., Completed]) -> None:
    reads, writes = os.pipe()
    os.write(writes, b"ours\n")
    os.close(writes)
    own = os.dup(0)
    os.dup2(reads, 0)
    try:
        completed = start("import sys; print(repr(sys.stdin.read()))")
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(reads)

    assert completed.last_lines == ("''",)


def test_the_program_gets_only_the_given_environment_and_descriptors(
    start: Callable[..., Completed], tmp_path: Path
) -> None:
    script = (
        "import os\n"
        "print(sorted(set(os.environ) - {'LC_CTYPE'}))\n"
        "print([os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2 "
        "and os.path.exists(f'/proc/self/fd/{fd}')])"
    )
    with (tmp_path / "lock").open("w") as lock, (tmp_path / "other").open("w"):
        completed = start(script, env={"TZ": "UTC"}, pass_fds=(lock.fileno(),))

    assert completed.last_lines == ("['TZ']", f"[{str(tmp_path / 'lock')!r}]")


def test_a_program_that_closes_its_output_early_is_not_ended(start: Callable[..., Completed]) -> None:
    script = "import os, sys, time; print('x', flush=True); os.close(1); os.close(2); time.sleep(0.5); os._exit(7)"

    completed = start(script)

    assert completed.exit_code == 7
    assert completed.duration >= 0.5


def test_a_program_that_has_closed_its_output_can_be_cancelled(start: Callable[..., Completed]) -> None:
    cancel = threading.Event()

    completed = start(
        "import os, time; print('x', flush=True); os.close(1); os.close(2); time.sleep(60)",
        cancel=cancel,
        on_line=lambda _: cancel.set(),
    )

    assert completed.ended_by is EndedBy.CANCELLED


def test_without_pidfd_the_end_is_still_noticed(
    start: Callable[..., Completed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_pid: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", forbidden)

    assert start("import os; print('x', flush=True); os.close(1); os.close(2)").exit_code == 0


def test_a_line_of_two_megabytes_is_cut_and_the_next_one_is_complete(start: Callable[..., Completed]) -> None:
    completed = start("print('x' * 2**21); print('next')")

    assert completed.last_lines[0] == "x" * LINE_KEPT + f" … ({2**21 - LINE_KEPT} more)"
    assert completed.last_lines[1] == "next"


def test_a_line_without_an_end_takes_no_more_memory_than_other_lines() -> None:
    lines = Lines()

    made = [line for _ in range(100) for line in lines.feed(b"x" * 65536)]

    assert made == []
    assert len(lines._begun) <= 4 * LINE_KEPT
    assert list(lines.end()) == ["x" * LINE_KEPT + f" … ({100 * 65536 - LINE_KEPT} more)"]


def test_bytes_that_are_not_text_are_shown_as_printable_text(start: Callable[..., Completed]) -> None:
    script = (
        "import sys; sys.stdout.buffer.write("
        r"b'a\xff\xfeb\x00c\n\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07\n10%\r20%\r\nt\tab\nd\xc3\xb6n\xe2\x80\xa8e')"
    )

    assert start(script).last_lines == ("a\ufffd\ufffdbc", "red bell", "10%", "20%", "t    ab", "döne")


def test_lines_in_which_the_jvm_prints_its_environment_are_left_out(start: Callable[..., Completed]) -> None:
    completed = start("print('Picked up JAVA_TOOL_OPTIONS: -Djavax.net.ssl.trustStorePassword=changeit')")

    assert completed.last_lines == ("Picked up JAVA_TOOL_OPTIONS",)


def test_only_the_last_lines_are_kept_and_no_stack_frames(start: Callable[..., Completed]) -> None:
    script = (
        "print('first')\n"
        "print('Caused by: java.io.IOException: No space left on device')\n"
        "for n in range(100): print(f'\\tat org.neo4j.Some.call(Some.java:{n})')\n"
        "print('\\t... 12 more')\n"
        "for n in range(24): print(n)"
    )
    lines: list[str] = []

    completed = start(script, on_line=lines.append)

    assert completed.last_lines[0] == "Caused by: java.io.IOException: No space left on device"
    assert len(completed.last_lines) == LAST_LINES
    assert len(lines) == 127


def test_a_program_that_prints_without_end_is_ended_in_time(start: Callable[..., Completed]) -> None:
    completed = start("import os\nwhile True: os.write(1, b'x' * 4095 + b'\\n')", timeout=AT_ONCE)

    assert completed.ended_by is EndedBy.TIMEOUT


def test_silence_without_bytes_is_a_stall(start: Callable[..., Completed]) -> None:
    completed = start(
        "import time; print('copying', flush=True); time.sleep(60)", stall=lambda: AT_ONCE, measure=lambda: 5
    )

    assert completed.ended_by is EndedBy.STALLED


def test_lines_or_written_bytes_count_as_progress(start: Callable[..., Completed]) -> None:
    script = "import time\nfor n in range(8): time.sleep(0.1); print(n, flush=True)"
    counter = iter(range(10**6))

    talks = start(script, stall=lambda: timedelta(seconds=0.6))
    writes = start("import time; time.sleep(1)", stall=lambda: AT_ONCE, measure=lambda: next(counter))

    assert (talks.exit_code, talks.ended_by) == (0, None)
    assert (writes.exit_code, writes.ended_by) == (0, None)


def test_the_stall_timeout_may_change_while_the_program_runs(start: Callable[..., Completed]) -> None:
    patience = [AT_ONCE]
    script = "import time; print('checkpoint', flush=True); time.sleep(1); print('copy', flush=True); time.sleep(60)"

    def heard(line: str) -> None:
        patience[0] = LONG if line == "checkpoint" else AT_ONCE

    completed = start(script, stall=lambda: patience[0], on_line=heard)

    assert completed.last_lines == ("checkpoint", "copy")
    assert completed.ended_by is EndedBy.STALLED


def test_a_listener_that_fails_leaves_no_process_behind(start: Callable[..., Completed]) -> None:
    second = Watched()

    def heard(line: str) -> None:
        second(line)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        start("import os, time; print(os.getpid(), flush=True); time.sleep(60)", on_line=heard)

    assert second.have_ended() == [True]


def test_no_descriptor_stays_open(start: Callable[..., Completed]) -> None:
    start("print('x')")
    before = sorted(Path("/proc/self/fd").iterdir())

    start("print('x')")
    start("import time; time.sleep(60)", timeout=AT_ONCE)

    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("content", [None, "#!/nowhere/sh\n", "no program"], ids=["none", "interpreter", "format"])
def test_a_program_that_cannot_be_started_is_missing(tmp_path: Path, content: str | None) -> None:
    program = tmp_path / "neo4j-admin"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755)

    with pytest.raises(PermanentError, match="cannot be started") as missing:
        run((str(program),), env={}, cwd=tmp_path, timeout=LONG, cancel=threading.Event())

    assert missing.value.failure.reason is Reason.ADMIN_MISSING
    assert str(program) in missing.value.failure.error


def test_a_missing_working_folder_is_not_reported_as_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot be used as working directory") as refused:
        run(("true",), env={"PATH": "/usr/bin"}, cwd=tmp_path / "gone", timeout=LONG, cancel=threading.Event())

    assert refused.value.failure.reason is Reason.INTERNAL


def test_a_system_that_cannot_start_a_process_is_a_transient_failure(
    start: Callable[..., Completed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)

    with pytest.raises(TransientError) as refused:
        start("")

    assert refused.value.failure.reason is Reason.OUT_OF_MEMORY


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_lines_from_any_bytes_are_printable_and_bounded(chunks: list[bytes]) -> None:
    lines = Lines()

    made = [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.end())

    assert all(line.isprintable() and line.strip() and len(line) <= LINE_KEPT + 40 for line in made)


@given(st.text(alphabet="ab \n\r", max_size=100), st.lists(st.integers(0, 100)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(text: str, cuts: list[int]) -> None:
    lines = Lines()
    data = text.encode()
    edges = [0, *sorted(cuts), len(data)]

    made = [line for first, last in itertools.pairwise(edges) for line in lines.feed(data[first:last])]

    assert made + list(lines.end()) == [line.rstrip() for line in text.splitlines() if line.strip()]
