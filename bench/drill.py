"""Measure the memory of a drill by its level, and the agent's share of the processor time beside Neo4j.

Run by hand: `python bench/drill.py [--mebibytes 1024] [--version 2026.09.0] [--limits 256,512,1024] [--levels read]`.
Neo4j Community imports generated data into a store of about so many MiB, of which an artifact is made; `--keep DIR`
keeps it for the next run. Then each level is drilled in a cgroup with each limit (MiB; version 1 of cgroups, root), by
`backup-agent drill`, which is as large as the supervisor beside a drill of the agent. Memory is anonymous pages,
sampled; the kernel takes back all other pages before it ends a process. The drill must pass. A limit that the agent
refuses is printed as refused.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.core.drill.levels import Level
from backup_agent.standins.neo4j_admin import artifacts
from backup_agent.standins.neo4j_admin.artifacts import Entry, Reader, StoreId
from backup_agent.standins.neo4j_admin.stores import STORE_ID_AT
from bench.machine import machine
from tests.components.neo4j_community import CommunityHome
from tests.components.pins import NEO4J_VERSIONS
from tests.jobs.drills import Vault

MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup/memory")
EVERY_SECONDS = 0.02
BLOCK = MIB
NODE = 190
"""Bytes of a node with its properties in a store of the standard format (measured)."""
TICKS = os.sysconf("SC_CLK_TCK")
STORE_FOLDERS = ("data/databases/neo4j", "data/transactions/neo4j")
IMPORT = (
    "database",
    "import",
    "full",
    "neo4j",
    "--overwrite-destination=true",
    "--max-off-heap-memory=512m",
    "--id-type=integer",
)


def imported(home: CommunityHome, folder: Path, mebibytes: int) -> None:
    """Import nodes with a string of 100 characters each into the database `neo4j`, until it has about the size."""
    nodes = mebibytes * MIB // NODE
    table = folder / "orders.csv"
    with table.open("w") as rows:
        rows.write(":ID,total:long,text:string\n")
        rows.writelines(
            f"{number},{number * 7919 % 1_000_003},{number:0>20}{os.urandom(40).hex()}\n" for number in range(nodes)
        )
    report = folder / "import.report"  # by default it is written to the working directory
    done = home.admin(*IMPORT, f"--report-file={report}", f"--nodes=Order={table}", flags=("-Xmx768m",))
    table.unlink()
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def entries(home: CommunityHome) -> Iterator[Entry]:
    """Yield the files of the store and of its transaction logs."""
    for folder in STORE_FOLDERS:
        for path in sorted((home.folder / folder).iterdir()):
            if path.is_file() and path.name != "database_lock":
                yield Entry(path.name, path.stat().st_size, partial(_blocks, path))


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            yield block


def prepared(folder: Path, version: str, mebibytes: int) -> tuple[Vault, int]:
    """Return a volume with an artifact of a generated store, and the size of the store in bytes."""
    vault = Vault(folder / "vault", version=version, admin=False)
    template = vault.back_up("FULL", "2026-11-23T02:00:00")
    path = vault.root / template.key
    header = artifacts.read_header(path)
    (vault.root / f"{template.key}.json").unlink()
    home = CommunityHome.create(version, folder / "import")
    imported(home, folder, mebibytes)
    found = tuple(entries(home))
    log = next(home.folder / STORE_FOLDERS[1] / one.name for one in found if one.name.startswith("neostore.trans"))
    with log.open("rb") as content:
        content.seek(STORE_ID_AT)
        store_id = StoreId.read(Reader(content))
    with path.open("wb") as output:
        artifacts.write(output, dataclasses.replace(header, store=store_id), found)
    vault.record(path)
    return vault, sum(one.size for one in found)


@contextmanager
def cgroup(mebibytes: int) -> Iterator[Path]:
    """Make a cgroup with a memory limit. Yield its folder."""
    folder = CGROUPS / f"drill-bench-{os.getpid()}"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(mebibytes * MIB))
    try:
        yield folder
    finally:
        folder.rmdir()


class Watched:
    """Processor time and anonymous memory of the processes in a cgroup, by kind; memory also by stage."""

    def __init__(self, group: Path) -> None:
        self._group = group
        self._seconds: dict[int, tuple[str, float]] = {}
        self.peaks: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        """Stage -> kind of process, or `all` -> largest anonymous memory in MiB."""

    def sample(self, stage: str) -> None:
        """Look at each process once."""
        sizes: dict[str, float] = defaultdict(float)
        for pid in map(int, (self._group / "cgroup.procs").read_text().split()):
            with suppress(OSError, ValueError, IndexError):
                kind = _kind(pid)
                rows = Path(f"/proc/{pid}/status").read_text().splitlines()
                sizes[kind] += sum(int(row.split()[1]) for row in rows if row.startswith("RssAnon")) / 1024
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                self._seconds[pid] = kind, sum(map(int, ticks)) / TICKS
        for kind, size in {**sizes, "all": sum(sizes.values())}.items():
            self.peaks[stage][kind] = max(self.peaks[stage][kind], size)

    def seconds(self, kind: str) -> float:
        """Return the processor time of all processes of a kind."""
        return sum(seconds for found, seconds in self._seconds.values() if found == kind)


def _kind(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if not words[0]:
        raise ValueError("it has ended")
    if words[0].endswith(b"java"):
        return "java"
    return "child" if b"backup_agent.jobs.drill" in words else "command"


def drill(vault: Vault, version: str, level: Level, limit: int) -> Iterator[str]:
    """Drill once, and yield rows of figures."""
    config = vault.folder / "config.yaml"
    config.write_text(yaml.safe_dump(vault.tree))
    home = CommunityHome(version, vault.folder.parent / "import")
    words = (sys.executable, "-m", "backup_agent", "--config", str(config), "drill", "orders", "--json")
    with cgroup(limit) as group, tempfile.TemporaryDirectory() as folder:
        join = ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
        out, told = Path(folder, "out"), ""
        terminal, end = os.openpty()  # the command tells its stages to a terminal only
        os.set_blocking(terminal, False)
        with out.open("w") as stdout:
            process = subprocess.Popen(
                (*join, *words, "--level", level.value),
                stdout=stdout,
                stderr=end,
                env={**os.environ, **home.environment},
            )
        watched = Watched(group)
        while process.poll() is None:
            with suppress(BlockingIOError):
                told += os.read(terminal, BLOCK).decode()
            stages = [line.strip() for line in told.splitlines() if line.startswith("  ")]
            watched.sample(stages[-1] if stages else "begin")
            time.sleep(EVERY_SECONDS)
        while (group / "cgroup.procs").read_text().strip():
            time.sleep(EVERY_SECONDS)
        killed = "oom_kill 0" not in (group / "memory.oom_control").read_text()
        with suppress(BlockingIOError):
            told += os.read(terminal, BLOCK).decode()
        os.close(terminal)
        os.close(end)
        ended = "killed by the kernel, " * killed + told.splitlines()[-1][:200]
        found = json.loads(out.read_text())[0]["evidence"] if process.returncode == 0 else {"seconds": {}}
    for stage, peaks in watched.peaks.items():
        sizes = " ".join(f"{peaks[kind]:7.0f}" for kind in ("all", "command", "child", "java"))
        seconds = found["seconds"].get(stage)
        yield f"{level.value:8} {limit:5}  {stage:8} {sizes} {'' if seconds is None else f'{seconds:8.1f}'}"
    command, child, neo4j = map(watched.seconds, ("command", "child", "java"))
    share = f", {(command + child) / (command + child + neo4j):.1%}" if neo4j else ""
    seconds = f"agent {command + child:.2f} s (its command {command:.2f} s), Neo4j {neo4j:.2f} s"
    yield f"{level.value:8} {limit:5}  processor: {seconds}{share}"
    if process.returncode:
        yield f"{level.value:8} {limit:5}  NOT PASSED: {ended}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--version", default=NEO4J_VERSIONS[-1], choices=NEO4J_VERSIONS)
    parser.add_argument("--limits", default="256,512,1024", help="MiB, separated by commas")
    parser.add_argument("--levels", default=",".join(Level), help="separated by commas")
    parser.add_argument("--keep", type=Path, help="a folder for the artifact, which is used again if it exists")
    chosen = parser.parse_args()
    print(machine(Path(sys.executable)))
    with tempfile.TemporaryDirectory(prefix="drill-bench-") as temporary:
        folder = (chosen.keep or Path(temporary)).absolute()
        made = folder / "made.json"
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            vault, size = prepared(folder, chosen.version, chosen.mebibytes)
            made.write_text(json.dumps({"version": chosen.version, "size": size}))
        else:
            vault = Vault.__new__(Vault)
            vault.__dict__.update(folder=folder / "vault", version=chosen.version, databases=("orders",), admin=False)
        vault.drill = {"accept_license": "evaluation", "timeout": "6h"}
        facts = json.loads(made.read_text())
        print(f"Neo4j Community {facts['version']}, a store of {facts['size'] / MIB:.0f} MiB")
        print("level    limit  stage        all command   child    java   wall s")
        for limit in chosen.limits.split(","):
            for level in chosen.levels.split(","):
                for row in drill(vault, facts["version"], Level(level), int(limit)):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
