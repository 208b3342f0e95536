"""From a request dropped by `sh -c echo` to `neo4j-admin` spawned, with the agent on one processor.

Run by hand: `python bench/latency.py [--requests 100]`. One request after the other, each answered before the next. The
time begins before the dropping shell is started, and ends when `neo4j-admin` (a shell that notes the time, then becomes
the stand-in) runs its first command. The agent asks the cluster anew when its topology is older than 30 s: those
requests are shown apart. The dropper, the Bolt server and this program use the other processors.
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
"""In turn: an artifact's name has whole seconds, and no two may have the same."""


@dataclass(frozen=True)
class Waited:
    """One request: seconds until it was accepted, and until neo4j-admin was spawned."""

    accepted: float
    spawned: float
    asked_cluster: bool


def note_the_start(live: Live) -> Path:
    """Put a program in neo4j-admin's place that notes when it was started; return where."""
    noted = live.folder / "started"
    program = live.folder / "neo4j-admin"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || date +%s.%N >> {shlex.quote(str(noted))}\n'
        f'exec {shlex.quote(str(live.admin))} "$@"\n'
    )
    program.chmod(0o755)
    live.write_settings(neo4j={**live.settings["neo4j"], "admin": str(program)})
    return noted


def wait_for(live: Live, noted: Path, number: int) -> Waited:
    """Drop the request of that number, and wait for its end."""
    name, database = f"request-{number}", DATABASES[number % len(DATABASES)]
    content = json.dumps({"database": database, "type": "FULL"})
    statements = len(live.bolt.statements) if live.bolt else 0
    argv = ("sh", "-c", 'echo "$1" > "$2"', "sh", content, str(live.requests / f"{name}.request"))
    dropped = time.time()
    subprocess.run(argv, check=True)
    # By the log: reading the answer over and over would be told to the agent, which watches its folder.
    until(lambda: live.events("request answered")[number:], "answer", patience=120)
    answer = live.answer(name)
    if answer["state"] != "succeeded":
        raise SystemExit(f"the backup failed: {answer}")
    started = float(noted.read_text().split()[-1])
    accepted = datetime.fromisoformat(live.events("request")[-1]["timestamp"]).timestamp()
    asked = live.bolt is not None and len(live.bolt.statements) > statements
    return Waited(accepted - dropped, started - dropped, asked)


def percentiles(seconds: Sequence[float]) -> str:
    """Return p50, p99 (nearest rank) and the longest."""
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
        noted = note_the_start(live)
        with running(live, interpreter, one_processor=True):
            wait_for(live, noted, 0)  # it asks for the version of neo4j-admin, once a life
            waited = [wait_for(live, noted, number) for number in range(1, chosen.requests + 1)]
        print(machine(interpreter))
        known = [one for one in waited if not one.asked_cluster]
        anew = [one for one in waited if one.asked_cluster]
        print(f"agent on 1 of {os.cpu_count()} cores, {len(known)} requests with the topology known (target p99 1 s)")
        print(f"  dropped to spawned: {percentiles([one.spawned for one in known])}")
        print(f"  dropped to accepted: {percentiles([one.accepted for one in known])}")
        if anew:
            print(f"{len(anew)} requests that asked the cluster anew: {percentiles([one.spawned for one in anew])}")


if __name__ == "__main__":
    main()
