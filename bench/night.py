"""Measure a night: many databases in one request, their window, and the processor time and memory of each process.

Run by hand: `python bench/night.py [--databases 200] [--kibibytes 64] [--destinations 2] [--rtt 50] [--burn 0.5]`. The
window ends when the last artifact is recorded on the volume, and the night when the last copy is stored. Every process
notes its own processor time when it ends (`bench/accounts`); its largest memory (RssAnon) is sampled.

`--burn` is the processor time that each call of the stand-in burns in addition, as a JVM would, and `--wait` the time
that it waits, as for a large store. With `--cpus` and `--memory` (MiB) the agent runs in a cgroup with these limits, as
in a pod, if cgroups of version 1 can be made (root); the cgroup's peak includes the page cache, which the kernel takes
back before it ends a process. Destinations are folders in one SeaweedFS; with `--rtt` (ms) and `--per-connection`
(MB/s) they are at the end of a long line (`far.py`).
"""

import os
import shlex
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.standins.cluster import three_servers
from bench.far import far
from bench.machine import machine, options, processor_seconds, python, running
from tests.agent.live import Live
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.polling import until

MIB = 1 << 20
ACCOUNTS = Path(__file__).parent / "accounts"
STAND_IN = "backup_agent.standins.neo4j_admin"
SUPERVISOR = "backup_agent.supervisor"
DOCTOR = "backup_agent.jobs.check_"
"""Modules of the doctor. It runs a minute after the start of the agent and then once a day: a night may contain it."""
CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 100_000
"""Period of the processor limit in microseconds, as Kubernetes has it."""
LONGEST = 6 * 3600.0

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ADMIN.access_key,
    "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

BURN = "import time; end = time.process_time() + {burn}\nwhile time.process_time() < end: pass\ntime.sleep({wait})"


@dataclass
class Peaks:
    """The largest memory of a process of each kind, in MiB of anonymous pages, sampled until `stop` is set."""

    live: Live
    stop: threading.Event = field(default_factory=threading.Event)
    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    together: float = 0.0

    def sample(self) -> None:
        """Sample until `stop` is set."""
        while not self.stop.wait(0.5):
            sizes = {pid: _anonymous(pid) for pid in (*self.live.processes(), self._supervisor())}
            self.together = max(self.together, sum(sizes.values()))
            for pid, size in sizes.items():
                kind = _module(pid)
                self.largest[kind] = max(self.largest[kind], size)

    def _supervisor(self) -> int:
        assert self.live.process is not None
        return self.live.process.pid


def _anonymous(pid: int) -> float:
    """Return the anonymous memory of a process in MiB (proc(5)); 0 if it has ended."""
    with suppress(OSError, ValueError):
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(int(row.split()[1]) for row in rows if row.startswith("RssAnon")) / 1024
    return 0.0


def _module(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        return next((after for before, after in pairwise(words) if before == "-m"), "other")
    return "other"


@contextmanager
def limited(live: Live, cpus: float | None, memory: int | None) -> Iterator[Path | None]:
    """Let the agent start in a cgroup with limits, which it reads then. Yield the folder of its memory controller."""
    name = f"night-{os.getpid()}"
    folders = []
    if cpus is not None:
        folders.append(CGROUPS / "cpu" / name)
        folders[-1].mkdir()
        (folders[-1] / "cpu.cfs_period_us").write_text(str(PERIOD))
        (folders[-1] / "cpu.cfs_quota_us").write_text(str(int(cpus * PERIOD)))
    if memory is not None:
        folders.append(CGROUPS / "memory" / name)
        folders[-1].mkdir()
        (folders[-1] / "memory.limit_in_bytes").write_text(str(memory * MIB))
    if folders:
        joins = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in folders)
        live.prefix = ("sh", "-c", f'{joins}exec "$@"', "sh")
    try:
        yield folders[-1] if memory is not None else None
    finally:
        for folder in folders:
            for member in (folder / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (folder.parent / "cgroup.procs").write_text(member)
            folder.rmdir()


def burning(live: Live, burn: float, wait: float) -> None:
    """Let each backup by neo4j-admin burn so much processor time, and wait so many seconds, first."""
    wrapper = live.folder / "burning-neo4j-admin"
    script = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(BURN.format(burn=burn, wait=wait))}"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *backup*) {script} ;; esac\nexec {shlex.quote(str(live.admin))} "$@"\n'
    )
    wrapper.chmod(0o755)
    live.write_settings(neo4j={**live.settings["neo4j"], "admin": str(wrapper)})


def night(live: Live, names: tuple[str, ...], interpreter: Path, cpus: float | None, memory: int | None) -> None:
    """Take a FULL of each database in one request, and print what the night cost."""
    noted = live.folder / "accounts"
    environ: Mapping[str, str] = {**CREDENTIALS, "ACCOUNTS": str(noted), "PYTHONPATH": str(ACCOUNTS)}
    with limited(live, cpus, memory) as cgroup, running(live, interpreter, environ) as pid:
        peaks = Peaks(live)
        sampling = threading.Thread(target=peaks.sample)
        sampling.start()
        own, begun = processor_seconds(pid), time.monotonic()
        noted.write_text("")
        live.drop("x.request", databases=list(names), type="FULL")
        until(lambda: len(live.events("backup ended")) >= len(names), "end of the backups", LONGEST, pause=0.2)
        window = time.monotonic() - begun
        until(lambda: live.events("request answered"), "answer", LONGEST, pause=0.2)
        whole = time.monotonic() - begun
        own = processor_seconds(pid) - own
        peaks.stop.set()
        sampling.join()
        peak = int((cgroup / "memory.max_usage_in_bytes").read_text()) / MIB if cgroup else None
        failures = int((cgroup / "memory.failcnt").read_text()) if cgroup else 0
        until(lambda: not list(live.processes()), "end of every process", 180, pause=0.5)
        answer = live.answer()
        rows = noted.read_text().splitlines()
    print(f"{answer['state']}: window {window:.1f} s, copies stored after {whole:.1f} s")
    costs: dict[str, list[float]] = {SUPERVISOR: [own]}
    for row in rows:
        module, seconds = row.split()
        costs.setdefault(module, []).append(float(seconds))
    doctor = sum(sum(used) for module, used in costs.items() if module.startswith(DOCTOR))
    agent = sum(sum(used) for module, used in costs.items() if module != STAND_IN) - doctor
    print(f"the agent's own processor time: {agent:.2f} s, {agent / len(names):.3f} s a database")
    print(f"of the doctor in addition: {doctor:.2f} s")
    for module, used in sorted(costs.items(), key=lambda item: -sum(item[1])):
        print(
            f"  {module:36} {len(used):4} processes, {sum(used):7.2f} s, {sum(used) / len(names):.3f} s a database, "
            f"at most {peaks.largest.get(module, 0):5.1f} MiB"
        )
    print(f"largest sum of anonymous memory: {peaks.together:.0f} MiB")
    if peak is not None:
        print(f"the cgroup's peak: {peak:.0f} of {memory} MiB with its page cache; {failures} times at the limit")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--databases", type=int, default=20)
    parser.add_argument("--kibibytes", type=int, default=64, help="size of each store")
    parser.add_argument("--destinations", type=int, default=0)
    parser.add_argument("--rtt", type=float, default=0.0, help="round trip to the destinations, ms")
    parser.add_argument("--per-connection", type=float, default=0.0, help="MB/s of a connection to the destinations")
    parser.add_argument("--burn", type=float, default=0.0, help="processor seconds of each call of the stand-in")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that each call of the stand-in waits")
    parser.add_argument("--cpus", type=float, help="processors of the cgroup, such as 0.1")
    parser.add_argument("--memory", type=int, help="memory limit of the cgroup, MiB")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-night-") as name, ExitStack() as stack:
        folder = Path(name)
        interpreter = python(chosen, folder)
        names = tuple(f"db{number}" for number in range(chosen.databases))
        world = three_servers(databases=names)
        for database in names:
            world = world.with_database(database, store_bytes=chosen.kibibytes * 1024)
        live = Live(folder / "agent", world)
        if chosen.destinations:
            (folder / "seaweedfs").mkdir()
            server = SeaweedFS(folder / "seaweedfs").start()
            stack.callback(server.stop)
            url = server.endpoint_url
            if chosen.rtt or chosen.per_connection:
                parts = urlsplit(url)
                port = stack.enter_context(far(parts.port or 80, chosen.rtt, chosen.per_connection))
                url = urlunsplit(parts._replace(netloc=f"{parts.hostname}:{port}"))
            facts = {"type": "s3", "bucket": BUCKET, "endpoint_url": url, "path_style": True}
            places = {
                f"place-{number}": {**facts, "prefix": f"place-{number}"} for number in range(chosen.destinations)
            }
            live.write_settings(storage={"root": str(live.root), "destinations": places})
        if chosen.burn or chosen.wait:
            burning(live, chosen.burn, chosen.wait)
        print(machine(interpreter))
        print(
            f"{chosen.databases} databases of {chosen.kibibytes} KiB, {chosen.destinations} destinations, "
            f"RTT {chosen.rtt:g} ms, {os.cpu_count()} cores; a call burns {chosen.burn:g} s and waits {chosen.wait:g} s"
        )
        night(live, names, interpreter, chosen.cpus, chosen.memory)


if __name__ == "__main__":
    main()
