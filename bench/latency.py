"""Measure the time from a request dropped by `sh -c echo` to the start of `neo4j-admin`, on one processor.

Run by hand: `python bench/latency.py [--requests 100]`. Each request is answered before the next is dropped. The time
begins before the shell that drops the request is started. It ends when `neo4j-admin`, a shell script that records the
time and then becomes the stand-in, runs its first command. Requests for which the agent asks the cluster again, because
its topology is older than 30 s, are listed separately. All other processes use the other processors.
"""

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.standins.cluster import three_servers
from bench.machine import machine, options, python, running
from tests.agent.live import Live
from tests.polling import until

DATABASES = tuple(f"orders{number}" for number in range(4))
"""Used in turn: names of artifacts have whole seconds, so two of one database within a second would collide."""


@dataclass(frozen=True)
class Wait:
    """Seconds from dropping a request until it was accepted and until neo4j-admin was started."""

    accepted: float
    spawned: float
    asked_cluster: bool


def record_starts(live: Live) -> Path:
    """Replace neo4j-admin by a program that records when it is started; return the file with these times."""
    recorded = live.folder / "started"
    program = live.folder / "neo4j-admin"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || date +%s.%N >> {shlex.quote(str(recorded))}\n'
        f'exec {shlex.quote(str(live.admin))} "$@"\n'
    )
    program.chmod(0o755)
    live.write_settings(neo4j={**live.settings["neo4j"], "admin": str(program)})
    return recorded


def wait_for(live: Live, recorded: Path, number: int) -> Wait:
    """Drop the request with this number and wait until it is answered."""
    name, database = f"request-{number}", DATABASES[number % len(DATABASES)]
    content = json.dumps({"database": database, "type": "FULL"})
    statements = len(live.bolt.statements) if live.bolt else 0
    argv = ("sh", "-c", 'echo "$1" > "$2"', "sh", content, str(live.requests / f"{name}.request"))
    dropped = time.time()
    subprocess.run(argv, check=True)
    # Watch the log: reading the answer again and again would wake the agent, which watches that folder.
    until(lambda: live.events("request answered")[number:], "answer", patience=120)
    answer = live.answer(name)
    if answer["state"] != "succeeded":
        raise SystemExit(f"the backup failed: {answer}")
    started = float(recorded.read_text().split()[-1])
    accepted = datetime.fromisoformat(live.events("request")[-1]["timestamp"]).timestamp()
    asked = live.bolt is not None and len(live.bolt.statements) > statements
    return Wait(accepted - dropped, started - dropped, asked)


def percentiles(seconds: Sequence[float]) -> str:
    """Return p50, p99 (nearest rank) and the maximum as text."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return f"p50 {p50:.3f} s, p99 {p99:.3f} s, longest {ordered[-1]:.3f} s"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--requests", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as name:
        folder = Path(name)
        interpreter = python(chosen, folder)
        live = Live(folder / "world", three_servers(databases=DATABASES))
        recorded = record_starts(live)
        with running(live, interpreter, one_processor=True):
            wait_for(live, recorded, 0)  # not measured: the agent gets the version of neo4j-admin once
            waits = [wait_for(live, recorded, number) for number in range(1, chosen.requests + 1)]
        print(machine(interpreter))
        known = [wait for wait in waits if not wait.asked_cluster]
        asked_again = [wait for wait in waits if wait.asked_cluster]
        print(f"agent on 1 of {os.cpu_count()} cores, {len(known)} requests with the topology known (target p99: 1 s)")
        print(f"  dropped to spawned: {percentiles([wait.spawned for wait in known])}")
        print(f"  dropped to accepted: {percentiles([wait.accepted for wait in known])}")
        if asked_again:
            spawned = percentiles([wait.spawned for wait in asked_again])
            print(f"{len(asked_again)} requests for which the cluster was asked again: {spawned}")


if __name__ == "__main__":
    main()
