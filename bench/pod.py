"""Measure the whole pod, agent, JVM and upload, under a hard limit of 256 MiB and a tenth of a core.

Run by hand, as root: `python bench/pod.py [--version 2026.09.0] [--mebibytes 1024]`; `--memory`, `--cpus` and
`--launch` replace 256m, 0.1 and direct. It builds the agent's image on Debian and Neo4j Community and runs it with
podman, with a read-only root, watch, schedules, metrics and a destination in SeaweedFS outside the container. It then
drops a request for a FULL and requests /livez every five seconds as a kubelet does.

Neo4j Enterprise is not available for this. Instead a command in Community's neo4j-admin copies a real store to the
staging folder, opens it with a page cache, and packs it with Neo4j's classes (tests/container/BackupCommand.java). It
has no network side (Netty, the catchup protocol) and no recovery of an unclean store. The memory left below the limit,
which is printed last, is available for these.
"""

import argparse
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.components.containers import Podman
from tests.components.neo4j_community import CommunityHome
from tests.components.pins import NEO4J_VERSIONS
from tests.components.seaweedfs import SeaweedFS
from tests.container.pod import DATABASE, Cgroup, Pod

MIB = 1 << 20
NODE_BYTES = 1082
"""Size of a node with 900 random characters in a store."""
REQUEST = 'echo "{\\"path\\":\\"default\\",\\"type\\":\\"FULL\\"}" > /backup-requests/backup.request'
SIDECAR_MIB, SIDECAR_MILLICPU = 512, 200
"""Memory and processor that the agent's predecessor requests for each server."""


@dataclass
class Watch:
    """Samples the memory and the probe of a container while the context is open."""

    cgroup: Cgroup
    pod: Pod
    path: str = "/livez"
    patience: float = 10
    anonymous: int = 0
    processes: dict[str, int] = field(default_factory=dict)
    probes: list[float] = field(default_factory=list)
    failed_probes: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=look) for look in (self._memory, self._probe)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _memory(self) -> None:
        while not self._over.wait(0.1):
            used = self.cgroup.anonymous()
            if used > self.anonymous:
                self.anonymous, self.processes = used, self.cgroup.processes()

    def _probe(self) -> None:
        while not self._over.wait(5):
            begun = time.monotonic()
            try:
                self.pod.get(self.path, self.patience)
            except OSError:
                self.failed_probes += 1
            self.probes.append(time.monotonic() - begun)


def make_store(version: str, mebibytes: int, stores: Path, folder: Path) -> int:
    """Import a store of about the given size into the stand-in's folder; return its size in bytes."""
    home = CommunityHome.create(version, folder / "home")
    noise = random.Random("store")
    rows = folder / "nodes.csv"
    with rows.open("w") as file:
        file.write("id:ID,text\n")
        file.writelines(f"{n},{noise.randbytes(450).hex()}\n" for n in range(mebibytes * MIB // NODE_BYTES))
    options = ("--overwrite-destination=true", f"--nodes=Person={rows}", "--max-off-heap-memory=1G")
    completed = home.admin("database", "import", "full", *options, DATABASE, flags=("-Xmx1g",))
    if completed.returncode != 0:
        raise SystemExit(f"the import of a store failed:\n{completed.stdout[-2000:]}{completed.stderr[-2000:]}")
    for kind in ("databases", "transactions"):
        (stores / kind).mkdir()
        shutil.move(home.folder / "data" / kind / DATABASE, stores / kind / DATABASE)
    return sum(file.stat().st_size for file in stores.rglob("*") if file.is_file())


def run(podman: Podman, chosen: argparse.Namespace, folder: Path, s3: SeaweedFS) -> None:
    image = podman.agent(chosen.version)
    with Pod(podman, image, chosen.version, folder / "pod", s3) as pod:
        size = make_store(chosen.version, chosen.mebibytes, pod.stores, folder)
        limits = (f"--memory={chosen.memory}", f"--memory-swap={chosen.memory}", f"--cpus={chosen.cpus}")
        begun = time.monotonic()
        pod.start(*limits, environment={"BACKUP_AGENT_NEO4J__LAUNCH": chosen.launch})
        ready = time.monotonic() - begun
        cgroup = pod.cgroup
        idle, throttled = cgroup.anonymous(), cgroup.throttled_seconds()
        begun = time.monotonic()
        with Watch(cgroup, pod) as watch:
            pod.sh(REQUEST)
            answer = pod.answer(patience=3600)
        took = time.monotonic() - begun
        report(chosen, answer)
        limit = int(chosen.memory.rstrip("m")) * MIB
        print(
            f"ready {ready:.0f} s after the start; store of {size / MIB:.0f} MiB backed up and uploaded in {took:.0f} s"
        )
        print(f"throttled by the limit of {chosen.cpus} cores for {cgroup.throttled_seconds() - throttled:.0f} s")
        print(f"OOM kills {cgroup.oom_kills()}, charged at most {cgroup.peak() / MIB:.0f} MiB including the page cache")
        print(f"anonymous memory {idle / MIB:.0f} MiB idle, at most {watch.anonymous / MIB:.0f} MiB, of which")
        for name, held in sorted(watch.processes.items(), key=lambda row: -row[1]):
            print(f"    {held / MIB:6.1f} MiB  {name}")
        slowest = max(watch.probes, default=0)
        print(f"/livez requested {len(watch.probes)} times, slowest {slowest:.2f} s, {watch.failed_probes} failed")
        print(f"left below the limit of {chosen.memory}: {(limit - watch.anonymous) / MIB:.0f} MiB")
        if chosen.show_log:
            print(pod.log())


def report(chosen: argparse.Namespace, answer: dict[str, Any]) -> None:
    result = answer.get("databases", {}).get(DATABASE, {})
    print(f"Neo4j {chosen.version}, launch {chosen.launch}: {answer['state']} {answer.get('reason') or ''}")
    if answer["state"] != "succeeded":
        print(f"    {answer.get('error') or result.get('error') or answer.get('warnings')}")
    print(f"    artifact {(result.get('size') or 0) / MIB:.0f} MiB, copies {result.get('copies')}")
    print("    " + ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in (result.get("stages") or {}).items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", choices=NEO4J_VERSIONS, default=NEO4J_VERSIONS[-1])
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the store")
    parser.add_argument("--memory", default="256m", help="hard limit in MiB, such as 256m")
    parser.add_argument("--cpus", default="0.1", help="limit in cores")
    parser.add_argument("--launch", choices=("direct", "script"), default="direct")
    parser.add_argument("--show-log", action="store_true", help="print the agent's log at the end")
    chosen = parser.parse_args()
    with Podman() as podman, tempfile.TemporaryDirectory(prefix="bench-pod-") as name:
        folder = Path(name)
        (folder / "seaweedfs").mkdir()
        s3 = SeaweedFS(folder / "seaweedfs").start()
        try:
            run(podman, chosen, folder, s3)
        finally:
            s3.stop()
    print(f"{platform.system()} {platform.release()}, podman with runc")
    for servers in (3, 5, 7):
        requested = f"{SIDECAR_MIB * servers} MiB and {SIDECAR_MILLICPU * servers}m CPU requested"
        print(f"the predecessor's sidecars of {servers} servers: {requested}, compared with 256 MiB and 100m")


if __name__ == "__main__":
    main()
