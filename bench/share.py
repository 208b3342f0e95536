"""What a run of 1 GiB costs beyond `neo4j-admin`, the upload, and one reading pass: the agent's share.

Run by hand: `python bench/share.py [--mebibytes 1024] [--rounds 3]`. The whole is what the supervisor and every process
below it used, from the request dropped to its answer. Three things are taken from it: `neo4j-admin` as it was in that
run; one plain upload of the same artifact by the agent's S3 store, as a process of its own; one reading pass with the
checksums of the upload's parts, likewise. What remains is asking the cluster, planning, judging, recording, watching.

The stand-in writes a gibibyte much faster than a cluster and a JVM would: the share beside a real one is smaller.
"""

import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.standins.cluster import three_servers
from bench.machine import machine, options, python, running
from bench.upload import AGENT, measure
from tests.agent.live import Live
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")

READ = """
import sys
from pathlib import Path
from backup_agent.artifact.reading import read_through
from backup_agent.core.parts import part_size
read_through(Path(sys.argv[1]), part_size=part_size)
"""

IMPORTS = {
    "asking the cluster": "import backup_agent.cluster.__main__",
    "the run": "import backup_agent.run.backup",
}
"""Processes that only the agent has, as far as starting them and importing their modules goes."""


@dataclass(frozen=True)
class Cost:
    """Seconds of processors and of the wall clock."""

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
    """One run, and beside it what its parts cost alone."""

    whole: Cost
    admin: Cost
    upload: Cost
    reading: Cost

    @property
    def rest(self) -> Cost:
        """The agent's own share."""
        return self.whole - self.admin - self.upload - self.reading


def note_the_cost(live: Live) -> Path:
    """Put a program in neo4j-admin's place that notes what each call of it cost; return where."""
    noted = live.folder / "cost"
    program = live.folder / "neo4j-admin"
    program.write_text(
        f'#!/bin/sh\nbegun=$(date +%s.%N)\n{shlex.quote(str(live.admin))} "$@"\ncode=$?\n'
        f"{{ echo $begun $(date +%s.%N); times; }} >> {shlex.quote(str(noted))}\nexit $code\n"
    )
    program.chmod(0o755)
    live.write_settings(neo4j={**live.settings["neo4j"], "admin": str(program)})
    return noted


def noted_cost(noted: Path) -> Cost:
    """Return the sum of the calls noted: begin and end, then the two lines of `times`: own, and children's."""
    cost = Cost(0, 0)
    rows = noted.read_text().splitlines()
    for moments, *used in zip(*(rows[number::3] for number in range(3)), strict=True):
        begun, ended = map(float, moments.split())
        minutes = [value.rstrip("s").split("m") for row in used for value in row.split()]
        cost += Cost(sum(int(minute) * 60 + float(second) for minute, second in minutes), ended - begun)
    return cost


def used_so_far(pid: int) -> float:
    """Return the processor seconds of a process and of all it has waited for, their children included (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def alone(argv: tuple[str, ...], environment: dict[str, str]) -> Cost:
    """Return what a process costs."""
    took = measure(argv, environment)
    return Cost(took.cpu, took.wall)


def one_round(live: Live, pid: int, noted: Path, name: str) -> tuple[Cost, Cost, dict[str, Any]]:
    """Take one backup; return its cost, that of neo4j-admin within, and the database's part of the answer."""
    noted.unlink(missing_ok=True)
    used, begun = used_so_far(pid), time.monotonic()
    answer = live.ask(name, database="orders", type="FULL", patience=600)
    wall = time.monotonic() - begun
    if answer["state"] != "succeeded":
        raise SystemExit(f"the backup failed: {answer}")
    return Cost(used_so_far(pid) - used, wall), noted_cost(noted), answer["databases"]["orders"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-share-") as name:
        folder = Path(name)
        interpreter = str(python(chosen, folder))
        (folder / "seaweedfs").mkdir()
        server = SeaweedFS(folder / "seaweedfs")
        world = three_servers(databases=("orders",)).with_database("orders", store_bytes=chosen.mebibytes * MIB)
        live = Live(folder / "world", world)
        noted = note_the_cost(live)
        destination = {"type": "s3", "bucket": BUCKET, "endpoint_url": server.endpoint_url, "path_style": True}
        live.write_settings(storage={"root": str(live.root), "destinations": {"offsite": destination}})
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": ADMIN.access_key,
            "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        server.start()
        try:
            with running(live, Path(interpreter), environment) as pid:
                rounds, stages = measured(live, pid, noted, chosen.rounds, interpreter, environment)
        finally:
            server.stop()
        started = {what: alone((interpreter, "-c", code), environment) for what, code in IMPORTS.items()}
        print(machine(Path(interpreter)))
        report(chosen.mebibytes, rounds, stages, started)


def measured(
    live: Live, pid: int, noted: Path, count: int, interpreter: str, environment: dict[str, str]
) -> tuple[list[Round], dict[str, float]]:
    """Return the rounds, and the stages of the last as its answer tells them."""
    rounds = []
    for turn in range(count):
        whole, admin, result = one_round(live, pid, noted, f"round-{turn}")
        artifact = live.root / result["artifact"]
        described = live.folder / "file.json"
        described.write_text(
            json.dumps(json.loads(artifact.with_name(artifact.name + ".json").read_text())["files"][0])
        )
        destination = live.settings["storage"]["destinations"]["offsite"]
        place = (destination["endpoint_url"], BUCKET, f"alone-{turn}", "", str(artifact), str(described))
        upload = alone((interpreter, "-c", AGENT, *place), environment)
        reading = alone((interpreter, "-c", READ, str(artifact)), environment)
        rounds.append(Round(whole, admin, upload, reading))
    return rounds, result["stages"]


def report(mebibytes: int, rounds: list[Round], stages: dict[str, float], started: dict[str, Cost]) -> None:
    def middle(which: Callable[[Round], Cost]) -> Cost:
        costs = [which(one) for one in rounds]
        return Cost(statistics.median(one.cpu for one in costs), statistics.median(one.wall for one in costs))

    whole, rest = middle(lambda one: one.whole), middle(lambda one: one.rest)
    print(f"one FULL of {mebibytes} MiB and its copy in SeaweedFS, median of {len(rounds)}")
    print(f"whole run        {whole}")
    print(f"neo4j-admin      {middle(lambda one: one.admin)}")
    print(f"upload alone     {middle(lambda one: one.upload)}")
    print(f"reading alone    {middle(lambda one: one.reading)}")
    print(f"agent's share    {rest}: {rest.cpu / whole.cpu:.1%} of the processor time (target 3 %)")
    print(
        "of which to start a process and import: "
        + "; ".join(f"{what} {one.cpu:.2f} s" for what, one in started.items())
    )
    print("stages, by the wall clock: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items()))


if __name__ == "__main__":
    main()
