"""Measure the time and memory of the retention plan over 100,000 and 1,000,000 artifacts.

Run by hand: `python bench/plan.py [--artifacts 100000,1000000] [--databases 100]`. Each figure is measured in a process
of its own. The artifacts are hourly differentials and a daily full of each database. With `one` all belong to one
database; with `unstated` no parents are recorded, so the plan has to find them.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName
from backup_agent.core.retention.plan import plan
from backup_agent.core.retention.policy import Policy

START = datetime(1990, 1, 1, tzinfo=UTC)
POLICY = Policy(last=7, hourly=48, daily=30, weekly=8, monthly=12, yearly=3, min_chains=2, timezone="Europe/Berlin")
HISTORIES = ("many", "one", "unstated")


def history(artifacts: int, databases: int, *, stated: bool) -> Iterator[Entry]:
    """Yield the artifacts of one database after the other: a full at the first hour of a day, else a differential."""
    parents: dict[int, str] = {}
    each = max(1, artifacts // databases)
    for number in range(artifacts):
        database, hour = number // each, number % each
        taken = START + timedelta(hours=hour)
        full = hour % 24 == 0
        key = f"default/db{database}/db{database}-{taken:%Y-%m-%dT%H-%M-%S}.backup"
        yield Entry(
            key=key,
            set=DEFAULT_SET,
            database=DatabaseName(f"db{database}"),
            full=full,
            taken=taken,
            finished=taken,
            lowest=1 if full else hour * 100 + 1,
            highest=hour * 100 + 100,
            database_id=f"00000000-0000-0000-0000-{database:012}",
            store_id="1-2-record-aligned-1.1",
            size=1 << 30 if full else 1 << 20,
            parent=None if full or not stated else parents[database],
            version="2026.09.0",
        )
        parents[database] = key


def measure(artifacts: int, databases: int, kind: str) -> None:
    """Print the time and memory of one plan."""
    entries = list(history(artifacts, 1 if kind == "one" else databases, stated=kind != "unstated"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, used = time.perf_counter(), time.process_time()
    planned = plan(entries, POLICY, entries[-1].taken + timedelta(hours=1), force=True)
    wall, processor = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{artifacts:>9} {kind:8} {wall:6.2f} s ({processor:.2f} s CPU, {processor / artifacts * 1e6:.2f} a million), "
        f"peak {peak:.0f} MiB of which the entries {before:.0f}, "
        f"{len(planned.keep)} kept, {len(planned.delete)} deleted",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", default="100000,1000000", help="numbers of artifacts, separated by commas")
    parser.add_argument("--databases", type=int, default=100)
    parser.add_argument("--measure", choices=HISTORIES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    counts = [int(count) for count in chosen.artifacts.split(",")]
    if chosen.measure:
        measure(counts[0], chosen.databases, chosen.measure)
        return
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for kind in HISTORIES:
        for count in counts:
            options = ("--artifacts", str(count), "--databases", str(chosen.databases), "--measure", kind)
            subprocess.run((sys.executable, __file__, *options), check=True)


if __name__ == "__main__":
    main()
