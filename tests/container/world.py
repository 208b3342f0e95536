"""The pods of the rendered example, run by podman, with a simulated cluster and a folder with `kubectl` in it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import yaml

from backup_agent.standins import cluster as simulated
from backup_agent.standins.bolt import BoltServer
from tests.components.containers import ROOT, Podman
from tests.components.ports import Port
from tests.components.seaweedfs import ADMIN
from tests.container.conftest import VERSION
from tests.container.kubectl import Cluster, Workload
from tests.container.pod import unpack_store
from tests.k8s.specs import EXAMPLE, parsed, rendered
from tests.polling import until

SERVER, AGENT = "demo-server", "demo-backup"
SERVER_POD, AGENT_POD = f"{SERVER}-0-neo4j", f"{AGENT}-0-backup"
PASSWORD = "it's a $(secret)"
BACKUP_PASSWORD = "for-tests-only"
DATABASE = "orders"

CREDENTIALS = f"[default]\naws_access_key_id = {ADMIN.access_key}\naws_secret_access_key = {ADMIN.secret_key}\n"

_HOST = "demo-{}.demo-headless.default.svc.cluster.local"

_ADMIN = """#!/bin/sh
exec /opt/backup-agent/bin/python -B -c "import sys; sys.path.insert(0, '/stand-in'); \\
from backup_agent.standins.neo4j_admin.__main__ import main; main(sys.argv[1:], '/stand-in/cluster')" "$@"
"""


class Call(NamedTuple):
    """A call of a program that was recorded."""

    argv: tuple[str, ...]
    stdin: str


class PodsBolt(BoltServer):
    """The Bolt server of a simulated cluster, whose servers advertise the names of the rendered pods."""

    def shown_addresses(self) -> Mapping[str, str]:
        return {server.name: f"{_HOST.format(server.name)}:7687" for server in self.current().servers}


class World:
    """The rendered pods, and a shell in which `kubectl` reaches them. Use as a context manager."""

    def __init__(
        self, podman: Podman, image: str, folder: Path, *, servers: int, destination: Mapping[str, Any] | None = None
    ) -> None:
        """`destination` has the settings of the destination `offsite`."""
        self.podman = podman
        self.folder = folder
        self.root = folder / "shell"
        self.root.mkdir(parents=True)
        stand_in = folder / "stand-in"
        stand_in.mkdir()
        (stand_in / "neo4j-admin").write_text(_ADMIN)
        (stand_in / "neo4j-admin").chmod(0o755)
        (stand_in / "cluster").mkdir()
        shutil.copytree(ROOT / "backup_agent", stand_in / "backup_agent", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "recorders").mkdir()
        self.cluster_folder = stand_in / "cluster"
        self.save(_simulated(servers))
        self._bolt = PodsBolt(self.cluster_folder)
        self._ports = {name: Port.reserve() for name in ("LISTEN", "PROBES", "PAGE")}
        self.spec = _spec(servers, destination)
        self.objects = rendered(parsed(self.spec))
        recorders = {"/recorders": str(folder / "recorders")}
        self._workloads = {
            SERVER: Workload(server_image(podman, VERSION), folders=recorders),
            AGENT: Workload(image, folders={**recorders, "/stand-in": str(stand_in)}),
        }
        self.kubectl = Cluster(
            str(folder),
            [*podman.argv],
            podman.environment,
            self._workloads,
            {
                "demo-auth": {"username": "neo4j", "password": PASSWORD},
                "demo-backup-auth": {"username": "backup_agent", "password": BACKUP_PASSWORD},
                "demo-backup-s3": {"credentials": CREDENTIALS},
            },
        )

    def __enter__(self) -> Self:
        self._bolt.start()
        neo4j = {
            "NEO4J__URI": self._bolt.uri("server-0"),
            "NEO4J__ADMIN": "/stand-in/neo4j-admin",
            "NEO4J__BACKUP_ADDRESSES": {
                f"{_HOST.format(one.name)}:7687": one.backup for one in simulated.load(self.cluster_folder).servers
            },
        }
        # The containers share the machine's network, where another program may listen on the default ports.
        http = {f"HTTP__{name}": f"127.0.0.1:{port.number}" for name, port in self._ports.items()}
        environment = {**neo4j, **http}
        self._workloads[AGENT].environment = {f"BACKUP_AGENT_{key}": _text(value) for key, value in environment.items()}
        self.kubectl.install(self.root / "kubectl")
        self.kubectl.apply(list(self.objects.values()), playing=1)
        until(lambda: self.agent("status").returncode == 0, "agent that answers", 90, pause=0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.podman.clear()
        self._bolt.stop()
        for port in self._ports.values():
            port.release()

    def lose_everything(self) -> None:
        """Remove all pods, claims and objects. The servers that come next are new."""
        self.podman.clear()
        for workload in self._workloads.values():
            workload.stateful_set = None
        self.kubectl.files = {}
        self.kubectl.save()
        system = {"database_id": "F" * 64}
        self.save(simulated.load(self.cluster_folder).with_database_dropped(DATABASE).with_database("system", **system))

    def sh(self, lines: str, *, recorded: bool = False, cwd: str = "/proc") -> subprocess.CompletedProcess[str]:
        """Enter lines in a shell on a machine that has kubectl, until one fails. The folder cannot be written to.

        With `recorded`, the recorders of the test take the place of the programs in the containers.
        """
        path = f"{self.root}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        secrets = {"PASSWORD": PASSWORD, "BACKUP_PASSWORD": BACKUP_PASSWORD}
        environment = {"PATH": path, **secrets, **({"RECORDERS": "1"} if recorded else {})}
        return subprocess.run(
            ["bash", "-eo", "pipefail"],
            input=lines,
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent in its pod."""
        return self.podman.exec(AGENT_POD, "backup-agent", *words)

    def inside(self, pod: str, script: str) -> str:
        """Run a script in the container of a pod and return its output."""
        completed = self.podman.exec(pod, "sh", "-c", script)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def runs(self, pod: str) -> bool:
        """Return whether Neo4j "runs" in a server's container."""
        return self.podman.exec(pod, "test", "-e", "/var/lib/neo4j/run/neo4j.pid").returncode == 0

    def calls(self, pod: str) -> list[Call]:
        """Return the recorded calls of programs in the container of a pod, and forget them."""
        script = "cd /tmp/calls 2>/dev/null || exit 0; for one in *; do cat $one; printf '\\1'; done; rm -r /tmp/calls"
        found = [text.split("\0") for text in self.inside(pod, script).split("\1") if text]
        return [Call(tuple(words), stdin) for *words, stdin in found]

    def back_up(self, *words: str) -> dict[str, Any]:
        """Let the agent take a backup and return its answer."""
        completed = self.agent("request", *words, "--wait", "--json")
        assert completed.returncode == 0, completed.stdout + completed.stderr
        answer: dict[str, Any] = json.loads(completed.stdout)
        return answer

    def commit(self, database: str) -> None:
        """Let the simulated cluster commit transactions, so that a differential is not empty."""
        self.save(simulated.load(self.cluster_folder).with_transactions(database, 5))

    def save(self, cluster: simulated.Cluster) -> None:
        """Change the simulated cluster."""
        simulated.save(cluster, self.cluster_folder)
        (self.cluster_folder / simulated.FILE).chmod(0o644)  # the agent's user reads it


def server_image(podman: Podman, version: str) -> str:
    """Build the image of the servers' containers (tests/container/server)."""
    tag = f"localhost/server-stand-in:{version}"
    with TemporaryDirectory(prefix="server-") as name:
        context = Path(name)
        shutil.copytree(Path(__file__).with_name("server"), context, dirs_exist_ok=True)
        for database, template in {"system": "system", "neo4j": "standard"}.items():
            unpack_store(version, template, context / "stores", database)
        return podman.build(tag, context / "Containerfile", context, {"BASE": podman.neo4j(version)})


def _simulated(servers: int) -> simulated.Cluster:
    made = (
        simulated.three_servers(VERSION, databases=(DATABASE,))
        if servers > 1
        else simulated.one_server(VERSION, databases=(DATABASE,))
    )
    for one in made.servers:
        made = made.with_server(one.name, backup=f"{_HOST.format(one.name)}:6362")
    return made.with_alias("sales", DATABASE)


def _spec(servers: int, destination: Mapping[str, Any] | None) -> str:
    spec = yaml.safe_load((EXAMPLE / "spec.yaml").read_text())
    spec["topology"]["servers"] = servers
    if destination is not None:
        spec["backup"]["s3"] = {"credentials_secret": "demo-backup-s3", "region": "us-east-1"}
        spec["backup"]["settings"]["storage"] = {"destinations": {"offsite": dict(destination)}}
    return yaml.safe_dump(spec)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
