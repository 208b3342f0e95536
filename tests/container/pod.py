"""A container of the agent's image with the limits of a pod, a simulated cluster, and a store to back up.

The simulated cluster answers over Bolt as an Enterprise cluster would. The store is copied and packed by a JVM of Neo4j
Community in the container (BackupCommand.java).
"""

import json
import os
import tarfile
import urllib.request
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import yaml
import zstandard

from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.neo4j_admin.stores import LOGS, TEMPLATES
from tests.components.containers import CAPPED, Podman
from tests.components.ports import Port
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.polling import until

PROBES = ("/livez", "/readyz")


AGENT_USER = 7474
DATABASE = "orders"
PASSWORD = "for-tests-only"
ADDRESS = "127.0.0.1:6362"
SEED = 'echo "{\\"path\\":\\"/backups/test\\",\\"type\\":\\"FULL\\"}" > /backup-requests/backup.request'
"""The shell command that users of the predecessor know."""


class Pod:
    """The container, its cluster and its files below one folder. Use as a context manager."""

    def __init__(self, podman: Podman, image: str, version: str, folder: Path, s3: SeaweedFS | None = None) -> None:
        self.podman = podman
        self.name = f"agent-{os.getpid()}-{folder.name}"
        self.folder = folder
        self.root, self.requests, self.stores = (folder / name for name in ("backups", "backup-requests", "stores"))
        for made in (self.root, self.requests, self.stores, folder / "cluster"):
            made.mkdir(parents=True)
        for written in (self.root, self.requests):
            os.chown(written, AGENT_USER, AGENT_USER)  # as fsGroup does for a pod
        self._image = image
        cluster = simulated.one_server(version, databases=(DATABASE,)).with_server("server-0", backup=ADDRESS)
        simulated.save(cluster, folder / "cluster")
        self._bolt = BoltServer(folder / "cluster")
        self._port, self._probes_port, self._page_port = Port.reserve(), Port.reserve(), Port.reserve()
        self._s3 = s3
        # In the environment, because the health check does not read the settings file.
        self.environment = {
            "BACKUP_AGENT_HTTP__LISTEN": f"127.0.0.1:{self._port.number}",
            "BACKUP_AGENT_HTTP__PROBES": f"127.0.0.1:{self._probes_port.number}",
            "BACKUP_AGENT_HTTP__PAGE": f"127.0.0.1:{self._page_port.number}",
            "STANDIN_STORES": "/stores",
        }
        if s3 is not None:
            self.environment |= {
                "AWS_ACCESS_KEY_ID": ADMIN.access_key,
                "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }

    @property
    def settings(self) -> dict[str, Any]:
        """The agent's settings, with schedules and, if there is an S3 server, a destination."""
        offsite = {
            "type": "s3",
            "bucket": BUCKET,
            "prefix": self.folder.name,
            "endpoint_url": self._s3.endpoint_url if self._s3 else "",
            "path_style": True,
        }
        return {
            "cluster": "demo",
            "neo4j": {
                "uri": self._bolt.uri("server-0", scheme="neo4j"),
                "password_file": "/run/secrets/neo4j/password",
                "backup_addresses": {simulated.load(self.folder / "cluster").server("server-0").id: ADDRESS},
            },
            "databases": [DATABASE],
            "storage": {"destinations": {"offsite": offsite} if self._s3 else {}},
            "schedules": {
                "nightly": {"cron": "0 2 1 1 *", "type": "FULL"},
                "hourly": {"cron": "15 2 1 1 *", "type": "DIFF"},
            },
        }

    def __enter__(self) -> Self:
        self._bolt.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.podman.attempt("rm", "--force", "--time=0", self.name)
        self._bolt.stop()
        self._port.release()
        self._probes_port.release()
        self._page_port.release()

    def fill_store(self, version: str) -> None:
        """Give the cluster a small store that was written by Neo4j Community."""
        unpack_store(version, "standard", self.stores, DATABASE)

    def start(self, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the agent as a pod would, and wait until it is ready."""
        config, password = self.folder / "config.yaml", self.folder / "password"
        config.write_text(yaml.safe_dump(self.settings))
        password.write_text(PASSWORD)
        mounts = {
            config: "/etc/backup-agent/config.yaml:ro",
            password: "/run/secrets/neo4j/password:ro",
            self.root: "/backups",
            self.requests: "/backup-requests",
            self.stores: "/stores:ro",
        }
        self.podman(
            "run",
            "--detach",
            "--pull=never",
            f"--name={self.name}",
            "--network=host",
            "--no-healthcheck",
            *CAPPED,
            *options,
            *(f"--env={key}={value}" for key, value in {**self.environment, **(environment or {})}.items()),
            *(f"--volume={source}:{target}" for source, target in mounts.items()),
            self._image,
        )
        self.wait()

    def wait(self) -> None:
        """Wait until the agent is ready."""
        until(self._is_ready, "ready agent", 90, pause=0.2)

    def _is_ready(self) -> bool:
        state = self.podman.inspect(self.name)["State"]
        if not state["Running"]:
            raise AssertionError(f"the container ended with {state['ExitCode']}:\n{self.log()}")
        try:
            return self.get("/readyz") == b"ok\n"
        except OSError:
            return False

    def get(self, path: str, timeout: float = 5) -> bytes:
        """Return one of the agent's HTTP pages."""
        port = self._probes_port if path in PROBES else self._port
        with urllib.request.urlopen(f"http://127.0.0.1:{port.number}{path}", timeout=timeout) as reply:
            return bytes(reply.read())

    def log(self) -> str:
        """Return stdout and stderr of the container."""
        completed = self.podman.attempt("logs", self.name)
        return completed.stdout + completed.stderr

    def sh(self, script: str) -> str:
        """Run a shell script in the container, as `kubectl exec … -- sh -c` does, and return its stdout."""
        completed = self.podman.exec(self.name, "sh", "-c", script)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def answer(self, name: str = "backup", patience: float = 120) -> dict[str, Any]:
        """Wait for the final answer to a dropped request and return it."""

        def look() -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = json.loads((self.requests / f"{name}.status.json").read_bytes())
            except (OSError, ValueError):
                return None
            return answer if answer["state"] not in {"queued", "running"} else None

        return until(look, f"answer to {name}", patience, pause=0.2)

    def word(self, patience: float = 120) -> str:
        """Wait for the word in backup.status and return it."""
        script = "cat /backup-requests/backup.status 2>/dev/null || true"
        return until(lambda: self.sh(script).strip(), "word in backup.status", patience, pause=0.2)

    @property
    def pid(self) -> int:
        """The agent's process id on the host."""
        return int(self.podman.inspect(self.name)["State"]["Pid"])

    @property
    def cgroup(self) -> "Cgroup":
        """The container's control group."""
        return Cgroup.of(self.pid)


def unpack_store(version: str, kind: str, folder: Path, database: str) -> None:
    """Write a store of Neo4j Community, `standard` or `system`, into a folder as Neo4j keeps it below its data folder."""
    line = "5.26.31" if version.startswith("5.") else "2026.09.0"
    packed = (TEMPLATES / line / f"{kind}.tar.zst").read_bytes()
    with tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().decompress(packed))) as archive:
        for info in archive:
            kept_in = "transactions" if LOGS.fullmatch(info.name) else "databases"
            content = archive.extractfile(info)
            target = folder / kept_in / database / info.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read() if content else b"")


class Cgroup:
    """The kernel's counters of a container, with cgroup v1 or v2."""

    def __init__(self, memory: Path, cpu: Path, *, unified: bool) -> None:
        self._memory, self._cpu, self._unified = memory, cpu, unified

    @classmethod
    def of(cls, pid: int, root: Path = Path("/")) -> Self:
        """Return the control group of a process (cgroups(7))."""
        mounts = root / "sys/fs/cgroup"
        places: dict[str, Path] = {}
        for line in (root / f"proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(",") if controllers else ["unified"]:
                places[name] = (mounts / name if controllers else mounts) / path.lstrip("/")
        if "memory" in places:
            return cls(places["memory"], places["cpu"], unified=False)
        return cls(places["unified"], places["unified"], unified=True)

    def anonymous(self) -> int:
        """Return the anonymous memory in bytes: what the kernel cannot reclaim before an OOM kill."""
        return self._of(self._memory / "memory.stat", "anon" if self._unified else "total_rss")

    def peak(self) -> int:
        """Return the largest charged memory in bytes, including the page cache, which can fill any limit."""
        return int((self._memory / ("memory.peak" if self._unified else "memory.max_usage_in_bytes")).read_text())

    def processes(self) -> dict[str, int]:
        """Return the anonymous memory of the processes in bytes, by module or program."""
        found: dict[str, int] = {}
        for pid in (self._memory / "cgroup.procs").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                rows = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue  # it has ended
            name = next((word for word in words if word.startswith("backup_agent.")), Path(words[0]).name)
            size = next((int(row.split()[1]) * 1024 for row in rows if row.startswith("RssAnon:")), 0)
            found[name] = found.get(name, 0) + size
        return found

    def limit(self) -> int:
        """Return the memory limit in bytes."""
        return int((self._memory / ("memory.max" if self._unified else "memory.limit_in_bytes")).read_text())

    def oom_kills(self) -> int:
        """Return the number of processes that were killed because of the memory limit."""
        return self._of(self._memory / ("memory.events" if self._unified else "memory.oom_control"), "oom_kill")

    def throttled_seconds(self) -> float:
        """Return for how many seconds processes were throttled by the processor limit."""
        name, unit = ("throttled_usec", 1e6) if self._unified else ("throttled_time", 1e9)
        return self._of(self._cpu / "cpu.stat", name) / unit

    @staticmethod
    def _of(file: Path, key: str) -> int:
        rows = (line.split() for line in file.read_text().splitlines())
        return next(int(row[1]) for row in rows if row[0] == key)
