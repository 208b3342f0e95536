"""Each command of the runbooks that begins with `kubectl`, typed in order on a real API server.

`tests/k8s/kubelet_commands.py` stands in for the commands that need a kubelet, and `Nodes` for what kubelets report.
`make api-server` runs this.
"""

import base64
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
import trustme
import yaml

from backup_agent.k8s import manifests
from backup_agent.k8s.spec import ClusterSpec
from tests.components.kubernetes import NODE, OTHER_NODE, Kubelet, Kubernetes, RefusedError
from tests.k8s.live import apply, bind, claims, example, known, wait_for_pods
from tests.polling import until

pytestmark = [pytest.mark.components, pytest.mark.api_server]

ROOT = Path(__file__).parents[2]
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))

TYPED = re.compile(r"^ {4,}((?:kubectl|until kubectl|for \w+ in) .+)$|`(kubectl [^`]+)`", re.MULTILINE)
"""A line of a block of code, or code within a paragraph."""

PLACEHOLDERS = {
    "demo-server-N": "demo-server-2",
    " NODE ": f" {NODE} ",
    " ARTIFACT ": " default/orders/orders-2026-11-23T02-00-00.backup ",
}

LEFT_OUT = {
    "kubectl wait": "the name of a command, in a sentence",
    "kubectl rollout status": "the name of a command, in a sentence",
    "kubectl rollout status statefulset/demo-server": "of servers with `server.update: automatic`",
    "kubectl get certificate": "of cert-manager",
}

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

EXPANDABLE = {
    "metadata": {"name": "expandable"},
    "provisioner": "example.com/disks",
    "allowVolumeExpansion": True,
    "volumeBindingMode": "WaitForFirstConsumer",
}


def typed(page: Path) -> list[str]:
    """Return the commands of a runbook, in order."""
    found = [" ".join((block or within).split()) for block, within in TYPED.findall(page.read_text())]
    for placeholder, name in PLACEHOLDERS.items():
        found = [f"{command} ".replace(placeholder, name).strip() for command in found]
    return [command for command in found if command not in LEFT_OUT]


class Nodes(threading.Thread):
    """Report what kubelets would of the pods of a namespace: of one node, and of another one while the first is tainted."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        super().__init__()
        self._kubernetes = kubernetes
        self._kubelets = [Kubelet(kubernetes, namespace, node) for node in (NODE, OTHER_NODE)]
        self._ended = threading.Event()

    def run(self) -> None:
        """Look at the pods until the end."""
        while not self._ended.wait(0.1):
            taints = self._kubernetes.request("GET", f"/api/v1/nodes/{NODE}")["spec"].get("taints", ())
            with suppress(RefusedError):  # of a pod that has just been deleted
                self._kubelets[any(one["key"] == OUT_OF_SERVICE for one in taints)].look()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._kubernetes.kubectl("taint", "node", NODE, f"{OUT_OF_SERVICE}-")


@pytest.fixture
def cluster(kubernetes: Kubernetes, namespace: str) -> ClusterSpec:
    """The cluster of the examples, with pods that run, bound claims and its Secrets; return its spec."""
    if known(kubernetes, "/apis/storage.k8s.io/v1/storageclasses/expandable") is None:
        kubernetes.request("POST", "/apis/storage.k8s.io/v1/storageclasses", EXPANDABLE)
    found = example(namespace)
    storage = found.backup.storage.model_copy(update={"storage_class": "expandable"})
    found = found.model_copy(update={"backup": found.backup.model_copy(update={"storage": storage})})
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    for name, data in {"demo-auth": {}, "demo-backup-auth": {}, "demo-tls": certificate()}.items():
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        kubernetes.request("POST", secrets, {"metadata": {"name": name}, "data": encoded})
    apply(kubernetes, found)
    wait_for_pods(kubernetes, found)
    for claim in claims(kubernetes, namespace):
        bind(kubernetes, namespace, claim)
    return found


def certificate() -> dict[str, bytes]:
    """Return the files of a Secret of certificates."""
    ca = trustme.CA()
    issued = ca.issue_cert("demo-client")
    return {
        "tls.crt": issued.cert_chain_pems[0].bytes(),
        "tls.key": issued.private_key_pem.bytes(),
        "ca.crt": ca.cert_pem.bytes(),
    }


@pytest.fixture
def desk(kubernetes: Kubernetes, cluster: ClusterSpec, tmp_path: Path) -> Path:
    """A folder with what an administrator has: the rendered objects, files, and a `kubectl`; return it."""
    (tmp_path / "demo").mkdir()
    for name, content in manifests.files(cluster).items():
        (tmp_path / "demo" / name).write_text(content)
    for name, data in certificate().items():
        (tmp_path / name).write_bytes(data)
    for name in ("neo4j.conf", "system.dump"):
        (tmp_path / name).write_text("")
    config = yaml.safe_load(kubernetes.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = cluster.namespace
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    real, program = kubernetes.programs / "kubectl", tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in exec | logs | run | port-forward | get)\n'
        f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.k8s.kubelet_commands {real} "$@";;\nesac\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    return tmp_path


def type_in(desk: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line. The exit code is not 0 if any program of a pipe has failed."""
    environment = {"PATH": f"{desk}:/usr/bin:/bin", "KUBECONFIG": str(desk / "kubeconfig"), "NEW": "for-tests-only"}
    return subprocess.run(
        ("bash", "-o", "pipefail", "-c", command),
        cwd=desk,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_the_commands_of_a_runbook_can_be_typed_in_order(
    page: Path, kubernetes: Kubernetes, cluster: ClusterSpec, desk: Path
) -> None:
    before = set(claims(kubernetes, cluster.namespace))
    faults = []
    with Nodes(kubernetes, cluster.namespace):
        for command in typed(page):
            done = type_in(desk, command)
            if done.returncode != 0:
                faults.append(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
        until(lambda: set(claims(kubernetes, cluster.namespace)) == before, "claims")

    assert faults == []
    wait_for_pods(kubernetes, cluster)


def test_every_runbook_has_commands() -> None:
    assert [page.stem for page in RUNBOOKS if not typed(page)] == []
    assert len(RUNBOOKS) > 10


@pytest.mark.parametrize(
    "command",
    [
        "kubectl exec demo-backup-0 -- backup-agent lost",
        "kubectl exec demo-backup-0 -- backup-agent list --plaice offsite",
        "kubectl exec demo-server-9 -- cypher-shell",
        "kubectl exec demo-server-0 -- neo4j-admin database undo",
    ],
)
def test_a_command_that_a_pod_does_not_know_fails(command: str, desk: Path) -> None:
    assert type_in(desk, command).returncode != 0
