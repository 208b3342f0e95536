"""What the stand-in does wrong on purpose: the `faults` of cluster.json.

A fault is `{"command": "backup", "database": "orders", "server": "server-0:6362", "type": "DIFF", "times": 1,
"do": "crash_137"}`; each field but `do` may be left out or null, which means any (`times`: for ever). `type` matches
the type asked for or the one that is taken. A newcomer would be surprised that a fault is remembered by its content:
saving the same fault again does not make it fire again, unless it carries another `"id"`. All that match at once
are done together. `at` moves crashes and hangs to another of STAGES.
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
    "exit_1_with_artifact": "write a good artifact, say that a server could not be reached, exit 1",
    "exit_0_without_artifact": "say an exception happened, write nothing, exit 0",
    "exit_70": "an exception nobody caught",
    "exit_code": "write a good artifact and end with `code`",
    "crash_137": "SIGKILL itself, by default with half of the artifact written",
    "hang": "neither output nor bytes; SIGTERM ends it",
    "hang_ignoring_sigterm": "the same, and SIGTERM does not",
    "two_processes": "do the work in a child, as the script's second JVM does; only a signal to the group ends both",
    "slow_checkpoint": "wait `seconds` (2) before the first byte",
    "slow_recovery": "wait `seconds` (2) between the copy and the artifact",
    "slow": "write `bytes_per_second` (1 MiB)",
    "no_space": "run out of disk half-way",
    "truncated": "cut off the last `bytes` (4)",
    "cut_in_half": "cut off the second half",
    "corrupt_byte": "turn over a byte in the middle",
    "empty_file": "leave an artifact of no bytes",
    "unknown_magic": "write `magic` (BZV3) for the first four bytes",
    "leftover_partial": "fail, and leave half of the artifact under its final name",
    "wrong_database": "name `name` (another) in the header",
    "wrong_database_id": "another database id in the header",
    "wrong_store_id": "another store id in the header",
    "unrecovered": "leave a full backup unrecovered",
    "logs_pruned": "the server no longer has the transactions a differential needs",
    "gap": "start a differential `transactions` (1) too late",
    "overlap": "start a differential `transactions` (1) too early",
    "empty_diff": "find nothing new",
    "artifact_exists": "find the artifact's name taken",
    "no_counts": "say 0 files and 0 bytes in an artifact that has some, as 5.26's dumper can",
    "split_parts": "write parts of `part_bytes` (65536)",
    "odd_output": "bytes that are no text, a line of 2 MiB, colours, carriage returns, a last line without end",
}
STAGES = ("start", "checkpoint", "copy", "artifact", "end")
DEFAULT_STAGE = {"crash_137": "copy", "hang": "checkpoint", "hang_ignoring_sigterm": "checkpoint"}
COUNTS = "neo4j-admin.faults.json"


@dataclass(frozen=True)
class Fault:
    """One fault that fires now."""

    do: str
    fields: Mapping[str, Any]

    def number(self, name: str, default: float) -> float:
        """Return a field that is a number."""
        return float(self.fields.get(name, default))

    def text(self, name: str, default: str) -> str:
        """Return a field that is a text."""
        return str(self.fields.get(name, default))


class Faults:
    """Those faults that fire for one database (or one command)."""

    def __init__(self, fired: tuple[Fault, ...] = ()) -> None:
        self._fired = {fault.do: fault for fault in fired}

    def get(self, do: str) -> Fault | None:
        """Return the fault of a kind."""
        return self._fired.get(do)

    def __contains__(self, do: str) -> bool:
        return do in self._fired

    @property
    def stops_half_way(self) -> bool:
        """Whether something happens while the artifact is being written."""
        return any(do in self for do in ("no_space", "leftover_partial")) or any(
            self._stage(do) == "copy" for do in DEFAULT_STAGE
        )

    def reach(self, stage: str) -> None:
        """Crash or hang where a fault says so."""
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
    """Do nothing until a signal ends it."""
    while True:
        signal.pause()


def wait(seconds: float) -> None:
    """Let time pass."""
    time.sleep(seconds)


def split_process() -> None:
    """Go on in a child; the parent waits, and ends as the child ended. A signal to the parent ends the parent alone."""
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
    """Return the faults that fire here and now, and count them."""
    wanted = [
        fault
        for fault in faults
        if fault["do"] in only
        and fault.get("command") in (None, command)
        and fault.get("database") in (None, database)
        and fault.get("server") in (None, server)
        and (fault.get("type") is None or str(fault["type"]).upper() in types)
    ]
    return Faults(tuple(Fault(str(one["do"]), one) for one in _counted(folder, wanted))) if wanted else Faults()


def check(faults: tuple[Mapping[str, Any], ...]) -> None:
    """End at once where a fault is misspelt: a test that injects nothing must not pass."""
    for fault in faults:
        if fault.get("do") not in KINDS or fault.get("at", "copy") not in STAGES:
            text = (
                f"stand-in: {json.dumps(dict(fault))}: `do` is one of {', '.join(KINDS)}; `at` of {', '.join(STAGES)}\n"
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
