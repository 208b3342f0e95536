"""Measure the agent's share of a 1 GiB run: its cost without `neo4j-admin`, the upload and one reading pass.

Run by hand: `python bench/share.py [--mebibytes 1024] [--rounds 3] [--version 2026.09.0]`. The cost of the whole run is
that of the supervisor and its child processes from dropping the request to its answer. Three costs are subtracted:
`neo4j-admin` in that run; an upload of the same artifact by the agent's S3 store, in a process of its own; and a
reading pass with the checksums of the upload's parts, also in a process of its own. The remainder is the cost of
discovery, planning, the verdict, the record and watching.

With `--version`, neo4j-admin is a JVM of Neo4j Community of that version, started directly, with the command
tests/container/BackupCommand.java as `database backup`: it copies a real store, opens it with a page cache, and packs
it with Neo4j's classes. Otherwise it is the stand-in, which writes 1 GiB of noise at a thirtieth of that cost, so the
agent's share is larger.
"""

import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.standins.cluster import three_servers
from bench.machine import machine, options, processor_seconds, python, running
from bench.pod import make_store
from bench.upload import AGENT, measure
from tests.agent.live import Live
from tests.components.containers import stand_in
from tests.components.java import java_home
from tests.components.neo4j_community import CommunityHome, jars
from tests.components.pins import NEO4J_VERSIONS
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.container.pod import DATABASE
from tests.polling import until

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ADMIN.access_key,
    "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

READ = """
import sys
from pathlib import Path
from backup_agent.artifact.reading import read_through
from backup_agent.core.artifacts.parts import part_size
read_through(Path(sys.argv[1]), part_size=part_size)
"""


@dataclass(frozen=True)
class Cost:
    """Processor time and wall time in seconds."""

    cpu: float
    wall: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __str__(self) -> str:
        return f"{self.cpu:6.2f} s CPU, {self.wall:6.2f} s"


@dataclass(frozen=True)
class Round:
    """The costs of one run and of its parts. `supervisor` and `asking` are parts of `whole`, in processor seconds."""

    whole: Cost
    supervisor: float
    asking: float
    admin: Cost
    upload: Cost
    reading: Cost
    stages: dict[str, float]

    @property
    def rest(self) -> Cost:
        """The agent's own share."""
        return self.whole - self.admin - self.upload - self.reading


def recording(program: Path, wrapper: Path, recorded: Path) -> Path:
    """Write a program that calls another and records the cost of each call."""
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(
        f'#!/bin/sh\nbegun=$(date +%s.%N)\n{shlex.quote(str(program))} "$@"\ncode=$?\n'
        f"{{ echo $begun $(date +%s.%N); times; }} >> {shlex.quote(str(recorded))}\nexit $code\n"
    )
    wrapper.chmod(0o755)
    return wrapper


@dataclass(frozen=True)
class RealAdmin:
    """A home of Neo4j Community whose neo4j-admin has the command `database backup`, and a store for it."""

    home: Path
    stores: Path

    @classmethod
    def create(cls, version: str, mebibytes: int, folder: Path) -> Self:
        """Create the home and the store, which takes some minutes."""
        stores = folder / "stores"
        stores.mkdir(parents=True)
        make_store(version, mebibytes, stores, folder)
        home = CommunityHome.create(version, folder / "admin").folder
        (home / "lib").unlink()
        (home / "lib").mkdir()
        for jar in jars(version).glob("*.jar"):
            (home / "lib" / jar.name).symlink_to(jar)
        stand_in(version, home / "lib" / "stand-in-of-backup.jar", folder)
        return cls(home, stores)

    def install(self, live: Live, recorded: Path) -> None:
        """Configure an agent to start this neo4j-admin with a `java` that records its cost."""
        java = live.folder / "java"
        recording(java_home() / "bin" / "java", java / "bin" / "java", recorded)
        shutil.copyfile(java_home() / "release", java / "release")
        live.environ = {"JAVA_HOME": str(java), "NEO4J_HOME": str(self.home), "STANDIN_STORES": str(self.stores)}
        live.write_settings(neo4j={**live.settings["neo4j"], "admin": None, "launch": "direct"})


def recorded_cost(recorded: Path) -> Cost:
    """Return the sum of the recorded calls: for each, begin and end, then the shell's two lines of `times`."""
    cost = Cost(0, 0)
    rows = recorded.read_text().splitlines()
    for moments, *used in zip(*(rows[number::3] for number in range(3)), strict=True):
        begun, ended = map(float, moments.split())
        minutes = [value.rstrip("s").split("m") for row in used for value in row.split()]
        cost += Cost(sum(int(minute) * 60 + float(second) for minute, second in minutes), ended - begun)
    return cost


def used_so_far(pid: int) -> tuple[float, float]:
    """Return the processor seconds of a process, and of its ended descendants (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return processor_seconds(pid), (int(fields[13]) + int(fields[14])) / TICKS


def alone(*argv: str) -> Cost:
    """Run a process and return its cost."""
    took = measure(argv, {"PATH": os.environ["PATH"], **CREDENTIALS})
    return Cost(took.cpu, took.wall)


def place(endpoint_url: str, prefix: str) -> dict[str, object]:
    """Return the settings of a destination."""
    return {"type": "s3", "bucket": BUCKET, "prefix": prefix, "endpoint_url": endpoint_url, "path_style": True}


def one_round(folder: Path, size: int, endpoint_url: str, interpreter: Path, admin: RealAdmin | None) -> Round:
    """Take one backup with a new agent, which has to ask the cluster, then measure its parts separately."""
    live = Live(folder, three_servers(databases=(DATABASE,)).with_database(DATABASE, store_bytes=size))
    recorded = live.folder / "cost"
    if admin is not None:
        admin.install(live, recorded)
    else:
        program = recording(live.admin, live.folder / "neo4j-admin", recorded)
        live.write_settings(neo4j={**live.settings["neo4j"], "admin": str(program)})
    live.write_settings(storage={"root": str(live.root), "destinations": {"offsite": place(endpoint_url, folder.name)}})
    with running(live, interpreter, CREDENTIALS) as pid:
        own, children = used_so_far(pid)
        begun = time.monotonic()
        live.drop("x.request", database=DATABASE, type="FULL")
        # Discovery is the first child process to end.
        asking = until(lambda: used_so_far(pid)[1] - children, "end of a child", patience=120)
        # Watch the log: reading the answer again and again would wake the agent, which watches that folder.
        until(lambda: live.events("request answered"), "answer", patience=3600)
        wall = time.monotonic() - begun
        own, children = (after - before for after, before in zip(used_so_far(pid), (own, children), strict=True))
        answer = live.answer()
    if answer["state"] != "succeeded":
        raise SystemExit(f"the backup failed: {answer}")
    result = answer["databases"][DATABASE]
    artifact = live.root / result["artifact"]
    record = json.loads(artifact.with_name(artifact.name + ".json").read_text())
    described = live.folder / "file.json"
    described.write_text(json.dumps(record["files"][0]))
    beside = (endpoint_url, BUCKET, f"{folder.name}/alone", "", str(artifact), str(described))
    return Round(
        whole=Cost(own + children, wall),
        supervisor=own,
        asking=asking,
        admin=recorded_cost(recorded),
        upload=alone(str(interpreter), "-c", AGENT, *beside, "0"),
        reading=alone(str(interpreter), "-c", READ, str(artifact)),
        stages=result["stages"],
    )


def report(mebibytes: int, rounds: Sequence[Round]) -> None:
    def median(which: Callable[[Round], Cost]) -> Cost:
        costs = [which(measured) for measured in rounds]
        return Cost(
            statistics.median(measured.cpu for measured in costs),
            statistics.median(measured.wall for measured in costs),
        )

    whole, rest = median(lambda measured: measured.whole), median(lambda measured: measured.rest)
    supervisor = statistics.median(measured.supervisor for measured in rounds)
    asking = statistics.median(measured.asking for measured in rounds)
    print(f"one FULL of {mebibytes} MiB and its copy in SeaweedFS, median of {len(rounds)}")
    print(f"whole run      {whole}")
    print(f"neo4j-admin    {median(lambda measured: measured.admin)}")
    print(f"upload         {median(lambda measured: measured.upload)}")
    print(f"reading pass   {median(lambda measured: measured.reading)}")
    print(f"agent's share  {rest}: {rest.cpu / whole.cpu:.1%} of the processor time (target 3 %)")
    others = rest.cpu - supervisor - asking
    print(f"  supervisor {supervisor:.2f} s, discovery {asking:.2f} s, the run and its copy {others:.2f} s")
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in rounds[-1].stages.items())
    print(f"  wall times of the last run's stages: {stages}")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--version", choices=NEO4J_VERSIONS, help="use a JVM of this version as neo4j-admin")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-share-") as name:
        folder = Path(name)
        interpreter = python(chosen, folder)
        (folder / "seaweedfs").mkdir()
        server = SeaweedFS(folder / "seaweedfs").start()
        admin = RealAdmin.create(chosen.version, chosen.mebibytes, folder / "neo4j") if chosen.version else None
        rounds = []
        try:
            for turn in range(chosen.rounds):
                world = folder / f"round-{turn}"
                rounds.append(one_round(world, chosen.mebibytes * MIB, server.endpoint_url, interpreter, admin))
                shutil.rmtree(world)
        finally:
            server.stop()
        print(machine(interpreter))
        report(chosen.mebibytes, rounds)


if __name__ == "__main__":
    main()
