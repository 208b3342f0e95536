"""A policy scanner finds only the listed deviations, each of which has a reason."""

from pathlib import Path

import pytest

from backup_agent.k8s import manifests
from tests.components.checkov import failed_checks
from tests.k8s.specs import NAMES, spec

MEANT = {
    "CKV_K8S_11": "no limit of CPU unless the spec asks for one: it only slows down a backup or a server",
    "CKV_K8S_15": "pulling at each start makes a start depend on the registry; the spec can ask for Always",
    "CKV_K8S_21": "the namespace is the spec's, and the examples name none",
    "CKV_K8S_35": "the first password of the servers: their image wants it beside the name, in one variable or file",
    "CKV_K8S_40": "7474 is the user of Neo4j's own images, to whom their files belong",
    "CKV_K8S_43": "images are named as in the spec, by digest where it has one",
}


@pytest.mark.components
def test_a_policy_scanner_finds_only_the_listed_deviations(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.yaml").write_text(manifests.stream(spec(name)))

    found = failed_checks(tmp_path)

    assert [(check, resource) for check, resource in found if check not in MEANT] == []
    assert {check for check, _ in found} == MEANT.keys()
    assert {resource for check, resource in found if check == "CKV_K8S_35"} == {
        f"StatefulSet.{one.namespace}.{one.cluster}-server" for one in map(spec, NAMES)
    }
