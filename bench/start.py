"""Measure the time and memory of the agent's start on a volume with many records.

Run by hand: `python bench/start.py [--records 100000] [--databases 20]`. The first start creates the index from the
records, the second start reads it. Artifacts are sparse files of the recorded size.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.artifacts.names import DatabaseName, artifact_name
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Header, Record
from bench.machine import machine, options, python, running
from tests.agent.live import Live
from tests.catalog.places import place_at

BEGUN = datetime(2025, 1, 1, tzinfo=UTC)
LINKS = 24
"""Number of artifacts in a chain."""
SIZE = 1 << 20


def record(database: str, number: int) -> Record:
    """Return the record of the hourly backup with this number: a full at the start of a chain, else a differential."""
    taken = BEGUN + timedelta(hours=number)
    full = number % LINKS == 0
    name = artifact_name(DatabaseName(database), taken)
    before = artifact_name(DatabaseName(database), taken - timedelta(hours=1))
    return Record(
        key=f"default/{database}/{name}",
        cluster="demo",
        set="default",
        database=database,
        type=BackupType.FULL if full else BackupType.DIFF,
        type_reason="too_long" if full else "chain_continues",
        parent=None if full else f"default/{database}/{before}",
        header=Header(
            magic="BZV2",
            database=database,
            database_id=UUID(int=7),
            store_id="1700000000000-5-record-aligned-1.1",
            taken=taken,
            lowest=1 if full else number * 10 + 1,
            highest=number * 10 + 10,
            full=full,
            compressed=True,
            recovered=False,
        ),
        files=(ArtifactFile(name=name, size=SIZE, sha256="ab" * 32),),
        raw_size=3 * SIZE,
        request=f"hourly@{taken:%Y%m%dT%H%M%SZ}",
        started=taken,
        finished=taken + timedelta(seconds=40),
        source="server-1:6362",
        server_version="2026.09.0",
        admin_version="2026.09.0",
        launch="direct",
        exit_code=0,
    )


@mock.patch.object(os, "fsync")
def fill(root: Path, records: int, databases: int, _fsync: mock.Mock) -> None:
    """Write records with their notes, and sparse artifacts. Nothing is synced."""
    notes = place_at(root).record_notes
    for index in range(databases):
        database = f"db{index:03}"
        folder = root / "default" / database
        folder.mkdir(parents=True)
        for number in range(records // databases):
            made = record(database, number)
            path = root / made.key
            with path.open("wb") as file:
                file.truncate(SIZE)
            path.with_name(f"{path.name}.json").write_bytes(made.to_json())
            notes.add(made.key, made.to_json())


def memory(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), "0")
    return int(found) / 1024


@contextmanager
def peak_of(module: str) -> Iterator[list[float]]:
    """Yield a list to which the memory peaks of a module's processes are appended, in MiB."""
    peaks: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if module.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                        peaks.append(memory(int(folder.name), "VmHWM"))
                except OSError:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield peaks
    over.set()
    thread.join()


class Timed(Live):
    """An agent that records when it is ready. `running` also waits for the first pass, which comes later."""

    ready_at = 0.0

    def start(self, *, ready: bool = True, **environ: str) -> "Timed":
        """Start the agent and record the time at which it is ready."""
        super().start(ready=ready, **environ)
        self.ready_at = time.monotonic()
        return self


def start(folder: Path, volume: Path, interpreter: Path) -> str:
    """Start the agent and return its time and memory as text."""
    live = Timed(folder)
    live.root = volume
    live.write_settings(storage={"root": str(volume)}, schedules={}, log={"format": "json", "level": "info"})
    begun = time.monotonic()
    with peak_of("backup_agent.jobs.survey") as peaks, running(live, interpreter) as pid:
        ready = live.ready_at - begun
        rss = memory(pid, "VmRSS")
    return f"ready after {ready:.1f} s; supervisor RSS {rss:.1f} MiB, the survey's peak {max(peaks, default=0):.0f} MiB"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--databases", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        interpreter = python(chosen, folder)
        fill(folder / "volume", chosen.records, chosen.databases)
        first = start(folder / "first", folder / "volume", interpreter)
        second = start(folder / "second", folder / "volume", interpreter)
        print(machine(interpreter))
        print(f"{chosen.records} records of {chosen.databases} databases; targets: 5 s, supervisor 45 MiB")
        print(f"without index: {first}\nwith index: {second}")


if __name__ == "__main__":
    main()
