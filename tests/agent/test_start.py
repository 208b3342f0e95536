"""The start of an agent: SIGTERM ends it at any moment, also as process 1 of a container."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup_agent import processes
from tests.agent.live import Live
from tests.polling import PATIENCE, until

AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
TERM, INT = 1 << (signal.SIGTERM - 1), 1 << (signal.SIGINT - 1)
HERTZ = os.sysconf("SC_CLK_TCK")


def can_be_process_1() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*AS_PROCESS_1, "true"], check=False).returncode == 0


class Starting:
    """An agent that has just been started."""

    def __init__(self, live: Live, prefix: tuple[str, ...], module: tuple[str, ...]) -> None:
        live.write_settings()
        self.root = live.root
        self._outer = subprocess.Popen(
            [*prefix, sys.executable, *module, str(live.config)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=live.folder,
        )
        self.pid = until(self._agent, "agent's process") if prefix else self._outer.pid

    def _agent(self) -> int | None:
        """Wait until the process runs Python, and return its id. Until then `unshare` blocks signals."""
        found = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        is_python = found and Path(f"/proc/{found[0]}/exe").resolve() == Path(sys.executable).resolve()
        return int(found[0]) if is_python else None

    def masks(self) -> dict[str, int]:
        """Return the signal masks of the process by their names in proc(5), or an empty mapping if it has ended."""
        try:
            rows = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
            return {name: int(rows[name], 16) for name in ("SigBlk", "SigCgt")}
        except (OSError, KeyError):
            return {}

    def keeps(self, mask: int) -> bool:
        """Return whether no signal can be lost: each one is blocked or handled."""
        masks = self.masks()  # read in one step: before exec, handled signals become blocked ones
        return (masks.get("SigBlk", 0) | masks.get("SigCgt", 0)) & mask == mask

    def keeps_it(self) -> bool:
        return self.keeps(TERM)

    def blocks(self) -> bool:
        return bool(self.masks().get("SigBlk", 0) & TERM)

    def has_a_handler(self) -> bool:
        return bool(self.masks().get("SigCgt", 0) & TERM)

    def is_the_supervisor(self) -> bool:
        return b"backup_agent.supervisor" in Path(f"/proc/{self.pid}/cmdline").read_bytes()

    def has_locked_its_root(self) -> bool:
        return (self.root / ".lock").exists()

    def has_a_state(self) -> bool:
        return (self.root / ".agent").exists()

    def has_used(self, ticks: int) -> Callable[[], bool]:
        """Return what tells whether the agent has used so much of a processor, in hundredths of a second.

        A fast machine starts the agent with less: there the moment comes once the agent has used nothing for a second.
        """
        seen, since = -1, time.monotonic()

        def look() -> bool:
            nonlocal seen, since
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            used = int(fields[11]) + int(fields[12])
            if used != seen:
                seen, since = used, time.monotonic()
            enough = used >= ticks * HERTZ / 100 or (self.has_a_state() and time.monotonic() > since + 1)
            return self.keeps(TERM) and enough

        return look

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal. Return exit code and log."""
        os.kill(self.pid, number)
        _, log = self._outer.communicate(timeout=PATIENCE)
        return self._outer.returncode, log

    def kill(self) -> None:
        if self._outer.returncode is None:
            self._outer.kill()
            self._outer.wait()
            processes.end_left_behind(str(self.root))  # they have its standard error open, too
            self._outer.communicate()


RUN = ("-m", "backup_agent", "run", "--config")
SUPERVISOR = ("-OO", "-m", "backup_agent.supervisor")


@contextmanager
def starting(live: Live, prefix: tuple[str, ...], module: tuple[str, ...] = RUN) -> Iterator[Starting]:
    one = Starting(live, prefix, module)
    try:
        yield one
    finally:
        one.kill()


@pytest.fixture(name="prefix")
def _prefix(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "ordinary":
        return ()
    if not can_be_process_1():
        pytest.skip("no process id namespace may be made here")
    return AS_PROCESS_1


MOMENTS: dict[str, Callable[[Starting], bool] | int] = {
    "before anything is imported": Starting.keeps_it,
    "when it is about to become the supervisor": Starting.blocks,
    "when it has become the supervisor": Starting.is_the_supervisor,
    "when the root is locked": Starting.has_locked_its_root,
    "when it has a handler": Starting.has_a_handler,
    "when it has a folder of its own": Starting.has_a_state,
    **{f"after {ticks / 100} s of a processor": ticks for ticks in (10, 20, 30, 45, 60, 80)},
    "when it is at rest": 6000,
}


@pytest.mark.parametrize(
    ("prefix", "moment"),
    [
        # After so much of a processor, process 1 is the representative: the kernel ignores signals without a handler.
        pytest.param(
            prefix,
            moment,
            id=f"{prefix}-{name}",
            marks=pytest.mark.nightly if prefix == "ordinary" and name.startswith("after") else (),
        )
        for prefix in ("ordinary", "process-1")
        for name, moment in MOMENTS.items()
    ],
    indirect=["prefix"],
)
def test_a_signal_during_the_start_ends_the_agent_in_good_order(
    live: Live, prefix: tuple[str, ...], moment: Callable[[Starting], bool] | int
) -> None:
    with starting(live, prefix) as agent:
        has_come = agent.has_used(moment) if isinstance(moment, int) else lambda: moment(agent)
        until(has_come, "moment")
        code, log = agent.end()

    assert code in (0, 128 + signal.SIGTERM), log  # the latter before the supervisor is executed: no work has begun
    assert "Traceback" not in log
    assert '"level": "error"' not in log


@pytest.mark.parametrize("module", [RUN, SUPERVISOR], ids=["the command", "the supervisor"])
def test_no_signal_can_be_lost_from_the_first_line_of_code_on(live: Live, module: tuple[str, ...]) -> None:
    with starting(live, (), module) as agent:
        until(lambda: agent.keeps(TERM | INT), "signals that are held back")
        looks = 0
        while not agent.has_a_state():
            assert agent.keeps(TERM | INT)
            looks += 1
        code, _ = agent.end(signal.SIGINT)

    assert code in (0, 128 + signal.SIGINT)
    assert looks > 10


def test_no_process_that_the_agent_starts_has_signals_blocked(live: Live) -> None:
    """The agent's parent may have blocked them as well. A JVM that inherited the mask would ignore SIGTERM."""
    live.fault({"do": "hang", "command": "backup"})
    live.settings["limits"] = {"shutdown_grace": "0s"}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        live.start(ready=False)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    until(live.is_ready, "ready agent")
    live.drop("x.request", id="one", database="orders", type="FULL")
    live.until_stage("one")
    assert live.process is not None
    blocked = {
        pid: int(line.split()[1], 16)
        for pid in (live.process.pid, *live.processes())
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigBlk:")
    }

    assert len(blocked) > 2
    assert not any(mask & (TERM | INT) for mask in blocked.values())
    assert live.end() == 0


def test_a_survey_that_hangs_is_not_waited_for(live: Live) -> None:
    live.settings["limits"] = {"shutdown_grace": "1h"}
    with starting(live, ()) as agent:
        survey = until(lambda: next((pid for pid in live.processes() if is_survey(pid)), None), "survey")
        processes.send(survey, signal.SIGSTOP)
        code, log = agent.end()

    assert code == 0, log
    assert "survey failed" not in log


def is_survey(pid: int) -> bool:
    try:
        return b"backup_agent.jobs.survey" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
