"""Each command of the runbooks that begins with `kubectl`, typed in order on a real API server (`make api-server`)."""

import base64
from pathlib import Path

import pytest
import trustme

from backup_agent.k8s.spec import ClusterSpec
from tests.components.kubernetes import NODE, Kubernetes
from tests.k8s.desk import ROOT, Desk, Nodes, typed
from tests.k8s.live import apply, bind, claims, example, known, wait_for_pods
from tests.polling import until

pytestmark = [pytest.mark.components, pytest.mark.api_server]

RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))

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

EXPANDABLE = {
    "metadata": {"name": "expandable"},
    "provisioner": "example.com/disks",
    "allowVolumeExpansion": True,
    "volumeBindingMode": "WaitForFirstConsumer",
}


def commands(runbook: Path) -> list[str]:
    """Return the commands of a runbook, with names in the place of placeholders."""
    found = [f"{command} " for command in typed(runbook.read_text()) if command not in LEFT_OUT]
    for placeholder, name in PLACEHOLDERS.items():
        found = [command.replace(placeholder, name) for command in found]
    return found


@pytest.fixture
def cluster(kubernetes: Kubernetes, namespace: str) -> ClusterSpec:
    """The spec of the cluster of the examples, which has running pods, bound claims and its Secrets."""
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
def desk(kubernetes: Kubernetes, cluster: ClusterSpec, tmp_path: Path) -> Desk:
    """An administrator's shell in a folder with the files that the runbooks name."""
    for name, data in (certificate() | {"neo4j.conf": b"", "system.dump": b""}).items():
        (tmp_path / name).write_bytes(data)
    return Desk(kubernetes, cluster, tmp_path)


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.stem)
def test_the_commands_of_a_runbook_can_be_typed_in_order(
    runbook: Path, kubernetes: Kubernetes, cluster: ClusterSpec, desk: Desk
) -> None:
    before = set(claims(kubernetes, cluster.namespace))

    with Nodes(kubernetes, cluster.namespace):
        faults = desk.faults(commands(runbook))
        until(lambda: set(claims(kubernetes, cluster.namespace)) == before, "claims")

    assert faults == []
    wait_for_pods(kubernetes, cluster)


def test_every_runbook_has_commands() -> None:
    assert [runbook.stem for runbook in RUNBOOKS if not commands(runbook)] == []
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
def test_a_command_that_a_pod_does_not_know_fails(command: str, desk: Desk) -> None:
    assert desk.type(command).returncode != 0
