"""Measure the memory and time of `backup-agent fetch` of a large artifact from a bucket, in a cgroup.

Run by hand: `python bench/fetch.py [--mebibytes 4096] [--limit 64]`. The benchmark writes a valid artifact that is a
hole, which takes no disk, and uploads it to SeaweedFS, which needs the disk space of the whole artifact. Then the
command fetches it once to standard output and once into a folder, each in a cgroup with so many MiB, if one can be
made (root). Memory is the anonymous memory of the command, sampled; a command that the kernel ends fails.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.artifact.reading import read_through
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.parts import part_size
from backup_agent.core.artifacts.records import Record
from bench.large import KEY, cgroup, hollow
from bench.machine import machine
from tests.builders import a_record, settings_with
from tests.components.seaweedfs import KEYS, SeaweedFS

MIB = 1 << 20


def upload(root: Path, storage: Mapping[str, object], mebibytes: int) -> Record:
    """Put an artifact of so many MiB and its record into the bucket, and note the record on the volume."""
    source = root / KEY
    source.parent.mkdir(parents=True)
    hollow(source, mebibytes * MIB)
    reading = read_through(source, part_size=part_size)
    record = a_record(header=reading.header, files=reading.files)
    place = place_of("offsite", settings_with(schedules={}, storage=storage))
    place.store.put_artifact(KEY, source, reading.files[0], lambda _: None)
    place.store.create(record_key(KEY), record.to_json())
    place.record_notes.add(KEY, record.to_json())
    source.unlink()
    return record


def fetch(config: Path, procs: Path | None, to: str) -> str:
    """Fetch the artifact, and return the figures."""
    words = (
        sys.executable,
        "-m",
        "backup_agent",
        "--config",
        str(config),
        "fetch",
        KEY,
        "--from",
        "offsite",
        "--to",
        to,
    )
    join = f"echo $$ > {procs}; " if procs is not None else ""
    begun, largest = time.monotonic(), 0.0
    with Path(os.devnull).open("wb") as nowhere:
        process = subprocess.Popen(("sh", "-c", f'{join}exec "$@"', "sh", *words), stdout=nowhere)
        while process.poll() is None:
            with suppress(OSError, ValueError):
                rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                sizes = [int(row.split()[1]) / 1024 for row in rows if row.startswith("RssAnon")]
                largest = max([largest, *sizes])
            time.sleep(0.05)
    took = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(f"fetch --to {to} ended with {process.returncode}")
    return f"{took:.1f} s, at most {largest:.0f} MiB of anonymous memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=4096)
    parser.add_argument("--limit", type=int, default=64, help="memory of the cgroup, MiB")
    chosen = parser.parse_args()
    print(machine(Path(sys.executable)))
    os.environ |= KEYS
    with tempfile.TemporaryDirectory(prefix="fetch-bench-") as temporary:
        folder = Path(temporary)
        (folder / "seaweedfs").mkdir()
        server = SeaweedFS(folder / "seaweedfs").start()
        try:
            destination = {"type": "s3", **server.place("fetch")}
            storage = {"root": str(folder / "root"), "destinations": {"offsite": destination}}
            record = upload(folder / "root", storage, chosen.mebibytes)
            config = folder / "config.yaml"
            neo4j = {"uri": "bolt://nowhere:7687"}
            config.write_text(yaml.safe_dump({"cluster": record.cluster, "neo4j": neo4j, "storage": storage}))
            print(f"{record.size / MIB:.0f} MiB, a limit of {chosen.limit} MiB")
            with cgroup(chosen.limit) as procs:
                for to in ("-", str(folder / "fetched")):
                    print(f"fetch --to {'-' if to == '-' else 'DIR'}: {fetch(config, procs, to)}", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
