"""Faults that the stand-in injects: the list `faults` of cluster.json.

A fault is `{"command": "backup", "database": "orders", "server": "server-0:6362", "type": "DIFF", "times": 1,
"do": "crash_137"}`. Each field except `do` may be missing or null, which means any value, and for `times` no limit.
`type` matches the requested type or the type of the artifact. All faults that match are injected together. `at` moves
a crash or a hang to another of STAGES. Faults are counted by their content: if a used-up fault is saved again, it
fires again only with another `"id"`.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_agent.standins.neo4j_admin.console import leave

KINDS = {
    "exit_1": "fail with `message`; nothing is written",
    "exit_1_with_artifact": "write a good artifact, report an unreachable server, exit 1",
    "exit_0_without_artifact": "print an exception, write nothing, exit 0",
    "exit_70": "end with an uncaught exception",
    "exit_code": "write a good artifact and exit with `code`",
    "crash_137": "kill itself with SIGKILL, by default after half of the artifact is written",
    "hang": "stop writing and printing until SIGTERM",
    "hang_ignoring_sigterm": "stop writing and printing, and ignore SIGTERM",
    "two_processes": "work in a child process, as the script's second JVM does; only a signal to the group ends both",
    "slow_checkpoint": "wait `seconds` (2) before the first byte",
    "slow_recovery": "wait `seconds` (2) between the copy and the artifact",
    "slow": "write the artifact at `bytes_per_second` (1 MiB)",
    "no_space": "fail with a full disk after half of the artifact",
    "truncated": "cut off the last `bytes` (4) of the artifact",
    "cut_in_half": "cut off the second half of the artifact",
    "corrupt_byte": "invert a byte in the middle of the artifact",
    "empty_file": "write an empty file as the artifact",
    "unknown_magic": "write `magic` (BZV3) over the first four bytes",
    "leftover_partial": "fail, and leave half of the artifact under its final name",
    "wrong_database": "write the database name `name` (another) into the header",
    "wrong_database_id": "write another database id into the header",
    "wrong_store_id": "write another store id into the header",
    "unrecovered": "leave a full backup unrecovered",
    "logs_pruned": "report that the server no longer has the transactions a differential needs",
    "gap": "start a differential `transactions` (1) too late",
    "overlap": "start a differential `transactions` (1) too early",
    "empty_diff": "write an empty differential",
    "artifact_exists": "find that a file with the artifact's name exists",
    "no_counts": "write 0 files and 0 bytes into the counts, as 5.26's dumper can",
    "split_parts": "write the artifact in parts of `part_bytes` (65536)",
    "odd_output": "print invalid UTF-8, a line of 2 MiB, colours, carriage returns, a last line without line end",
}
STAGES = ("start", "checkpoint", "copy", "artifact", "end")
DEFAULT_STAGE = {"crash_137": "copy", "hang": "checkpoint", "hang_ignoring_sigterm": "checkpoint"}
COUNTS = "neo4j-admin.faults.json"


@dataclass(frozen=True)
class Fault:
    """One fault to inject now."""

    do: str
    fields: Mapping[str, Any]

    def number(self, name: str, default: float) -> float:
        """Return the value of a field as a number."""
        return float(self.fields.get(name, default))

    def text(self, name: str, default: str) -> str:
        """Return the value of a field as text."""
        return str(self.fields.get(name, default))


class Faults:
    """The faults to inject for one database or one command."""

    def __init__(self, fired: tuple[Fault, ...] = ()) -> None:
        self._fired = {fault.do: fault for fault in fired}

    def get(self, do: str) -> Fault | None:
        """Return the fault of a kind, or None."""
        return self._fired.get(do)

    def __contains__(self, do: str) -> bool:
        return do in self._fired

    @property
    def stops_half_way(self) -> bool:
        """Whether a fault strikes while the artifact is written."""
        return any(do in self for do in ("no_space", "leftover_partial")) or any(
            self._stage(do) == "copy" for do in DEFAULT_STAGE
        )

    def reach(self, stage: str) -> None:
        """Crash or hang if a fault names this stage."""
        if self._stage("crash_137") == stage:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._stage("hang_ignoring_sigterm") == stage:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            hang()
        if self._stage("hang") == stage:
            hang()

    def _stage(self, do: str) -> str | None:
        fault = self.get(do)
        return fault.text("at", DEFAULT_STAGE[do]) if fault else None


def hang() -> None:
    """Wait until a signal ends the process."""
    while True:
        signal.pause()


def wait(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def split_process() -> None:
    """Continue in a child process. The parent waits and exits like the child; a signal to it does not end the child."""
    child = os.fork()
    if child == 0:
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    leave(code if code >= 0 else 128 - code)


def take(
    folder: Path,
    faults: tuple[Mapping[str, Any], ...],
    *,
    command: str,
    database: str | None = None,
    server: str | None = None,
    types: tuple[str, ...] = (),
    only: frozenset[str] = frozenset(KINDS),
) -> Faults:
    """Return the faults to inject now, and count them."""
    wanted = [
        fault
        for fault in faults
        if fault["do"] in only
        and fault.get("command") in (None, command)
        and fault.get("database") in (None, database)
        and fault.get("server") in (None, server)
        and (fault.get("type") is None or str(fault["type"]).upper() in types)
    ]
    fired = _counted(folder, wanted) if wanted else []
    return Faults(tuple(Fault(str(fault["do"]), fault) for fault in fired))


def check(faults: tuple[Mapping[str, Any], ...]) -> None:
    """Exit with 99 if a fault is misspelt: a test must not pass because its fault was never injected."""
    for fault in faults:
        if fault.get("do") not in KINDS or fault.get("at", "copy") not in STAGES:
            text = (
                f"stand-in: invalid fault {json.dumps(dict(fault))}: `do` must be one of {', '.join(KINDS)}; `at` one "
                f"of {', '.join(STAGES)}\n"
            )
            os.write(2, text.encode())
            leave(99)


def _counted(folder: Path, wanted: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if all(fault.get("times") is None for fault in wanted):
        return wanted
    with (folder / COUNTS).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        counts: dict[str, int] = json.loads(file.read() or "{}")
        fired = []
        for fault in wanted:
            key = json.dumps(dict(fault), sort_keys=True)
            if fault.get("times") is None or counts.get(key, 0) < int(fault["times"]):
                counts[key] = counts.get(key, 0) + 1
                fired.append(fault)
        file.seek(0)
        file.truncate()
        json.dump(counts, file)
    return fired
