"""Measure the memory and time of reading, uploading, resuming and verifying one large artifact.

Run by hand: `python bench/large.py [--mebibytes 20480] [--limit 256] [--parts 8]`. The benchmark writes a valid
artifact that consists of a hole, which takes no disk, starts SeaweedFS, which needs the disk space of the whole
artifact, and runs each step in a process of its own: the reading pass, an upload that is killed half way, the upload
again, and reading the object again as `verify` does. `--limit` puts these processes into a cgroup with so many MiB, if
one can be made; `--parts` sets `parallel_parts`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.artifacts.parts import MIB
from tests.artifact.writer import Written, artifact
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"

STEPS = """
import hashlib, json, os, sys, time
from pathlib import Path
from backup_agent.core.artifacts.parts import part_size
from backup_agent.core.artifacts.records import ArtifactFile

step, procs, source, described, endpoint_url, bucket, key, parts = sys.argv[1:]
if procs:
    Path(procs).write_text(str(os.getpid()))
source, described, done, begun = Path(source), Path(described), 0, time.monotonic()

def progress(count):
    global done
    done += count
    if time.monotonic() >= progress.next:
        progress.next += 1
        seconds = time.monotonic() - begun
        left = (source.stat().st_size - done) / done * seconds
        print(f"{step}: {done >> 20} MiB, {done / 1e6 / seconds:.0f} MB/s, about {left:.0f} s left", flush=True)

progress.next = begun + 1
facts = {}
if step == "read":
    from backup_agent.artifact.reading import read_through
    file, = read_through(source, part_size=part_size, progress=progress).files
    described.write_text(file.model_dump_json())
else:
    from backup_agent.stores import part_body
    from backup_agent.stores.s3 import S3Store
    read = part_body.PartBody.read
    facts["read_mib"] = 0
    def counted(body, size=-1):
        block = read(body, size)
        facts["read_mib"] += len(block) / (1 << 20)
        return block
    part_body.PartBody.read = counted
    store = S3Store(bucket=bucket, prefix="", endpoint_url=endpoint_url, region="us-east-1", path_style=True,
                    **({"parallel_parts": int(parts)} if int(parts) else {}))
    file = ArtifactFile.model_validate_json(described.read_bytes())
    if step == "verify":
        with store.open(key) as content:
            digest = hashlib.sha256()
            while block := content.read(1 << 20):
                digest.update(block)
                progress(len(block))
        assert digest.hexdigest() == file.sha256
        del facts["read_mib"]
    else:
        store.put_artifact(key, source, file, progress)
peak, = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
facts |= {"wall": time.monotonic() - begun, "cpu": time.process_time(), "peak": peak / 1024}
print(json.dumps(facts), flush=True)
"""


def hollow(path: Path, size: int) -> None:
    """Write an artifact of about `size` bytes: an uncompressed tar of one file that is a hole."""
    entry = tarfile.TarInfo("neostore")
    entry.size = size
    head = artifact(Written(magic="BTV2"), entry.tobuf(tarfile.PAX_FORMAT))
    path.write_bytes(head)
    os.truncate(path, len(head) + -(-size // 512) * 512 + 1024)


@contextmanager
def cgroup(mebibytes: int) -> Iterator[Path | None]:
    """Make a cgroup with a memory limit, and yield the file that takes the processes; None if none can be made."""
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    group = (root if second else root / "memory") / f"backup-agent-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(mebibytes * MIB))
    except OSError as error:
        print(f"no cgroup could be made ({error.strerror}): the processes have no limit")
        yield None
        return
    try:
        yield group / "cgroup.procs"
    finally:
        with suppress(OSError):
            group.rmdir()


def step(name: str, procs: Path | None, *given: str, kill_at: int = 0) -> None:
    """Run a step and print its figures. With `kill_at`, kill it when it has done so many MiB."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "AWS_ACCESS_KEY_ID": ADMIN.access_key,
        "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    argv = (sys.executable, "-c", STEPS, name, str(procs or ""), *given)
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = ""
        for line in process.stdout:
            if line.startswith("{"):
                break
            print(f"\r  {line.strip():70}", end="", file=sys.stderr)
            if kill_at and int(line.split()[1]) >= kill_at:
                process.send_signal(signal.SIGKILL)
        print("\r", end="", file=sys.stderr)
    if process.returncode == -signal.SIGKILL and kill_at:
        print(f"{name:8} killed after {line.strip().partition(': ')[2].partition(',')[0]}")
    elif process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    else:
        facts = json.loads(line)
        read = f", {facts['read_mib']:.0f} MiB of the file read" if "read_mib" in facts else ""
        print(f"{name:8} {facts['wall']:7.1f} s, {facts['cpu']:6.1f} CPU s, peak {facts['peak']:.0f} MiB{read}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--mebibytes", type=int, default=20 * 1024)
    options.add_argument("--limit", type=int, default=256)
    options.add_argument("--parts", type=int, default=0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-large-") as name, cgroup(chosen.limit) as procs:
        folder = Path(name)
        source = folder / "orders.backup"
        hollow(source, chosen.mebibytes * MIB)
        (folder / "seaweedfs").mkdir()
        server = SeaweedFS(folder / "seaweedfs").start()
        where = (str(source), str(folder / "described.json"), server.endpoint_url, BUCKET, KEY, str(chosen.parts))
        limit = f"{chosen.limit} MiB" if procs else "no limit"
        print(f"{chosen.mebibytes} MiB, {limit}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        try:
            step("read", procs, *where)
            step("upload", procs, *where, kill_at=max(1, chosen.mebibytes // 2))
            step("upload", procs, *where)
            step("verify", procs, *where)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
