"""The commands that release a cluster from the community operator: their order, and what is refused."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from backup_agent.cli.main import code
from backup_agent.k8s.names import Object
from backup_agent.k8s.operator_migration import MigrationError, plan
from tests.k8s.operators import CLAIMS, UID, everything, owned


def commands(objects: list[Object]) -> list[str]:
    return [command for step in plan(objects) for command in step.commands]


def test_nothing_is_deleted_before_claims_volumes_and_owners_are_safe() -> None:
    found = commands(everything())
    safe = [
        next(n for n, line in enumerate(found) if '"retentionPolicy":"Retain"' in line),
        max(n for n, line in enumerate(found) if "persistentVolumeReclaimPolicy" in line),
        max(n for n, line in enumerate(found) if "app.kubernetes.io/instance-" in line),
        next(n for n, line in enumerate(found) if "--replicas 0" in line),
        max(n for n, line in enumerate(found) if '"whenDeleted":"Retain"' in line),
        max(n for n, line in enumerate(found) if "ownerReferences" in line),
    ]
    first_deletion = next(n for n, line in enumerate(found) if "kubectl delete" in line)
    finalizer = next(n for n, line in enumerate(found) if '"finalizers":null' in line)

    assert safe == sorted(safe)
    assert safe[-1] < first_deletion < finalizer
    assert found[finalizer + 1] == "kubectl delete -n graphs neo4jenterprisecluster/demo --cascade=orphan"


def test_each_claim_and_volume_is_kept_by_name() -> None:
    found = "\n".join(commands(everything()))

    for claim in CLAIMS:
        assert f"kubectl label -n graphs pvc/{claim} app.kubernetes.io/instance-" in found
        assert f"kubectl patch pv/pv-{claim} " in found


def test_a_claim_without_the_label_is_kept_and_not_labelled() -> None:
    objects = everything()
    claim = next(one for one in objects if one["metadata"]["name"] == "data-demo-server-0")
    claim["metadata"]["labels"] = {}
    found = "\n".join(commands(objects))

    assert "pv/pv-data-demo-server-0" in found
    assert "pvc/data-demo-server-0 app" not in found


def test_the_owner_of_each_object_is_removed_only_if_it_is_still_the_resource() -> None:
    found = commands(everything())
    names = [f"{one['kind'].lower()}" for one in owned("graphs")]
    removed = [line for line in found if '"op":"test"' in line]

    assert len(removed) == len(names)
    assert all(f'"value":"{UID}"' in line for line in removed)


def test_another_owner_of_an_object_stays() -> None:
    objects = everything()
    client = next(one for one in objects if one["metadata"]["name"] == "demo-client")
    client["metadata"]["ownerReferences"].insert(0, {"kind": "Other", "name": "x", "uid": "other"})

    (line,) = (line for line in commands(objects) if "service/demo-client" in line and "patch" in line)
    assert '"path":"/metadata/ownerReferences/1"' in line


def test_objects_that_are_replaced_are_not_deleted_and_the_others_are() -> None:
    found = commands(everything())
    deleted = {line.rpartition(" ")[2] for line in found if line.startswith("kubectl delete") and "cascade" not in line}

    assert deleted == {
        "statefulset/demo-server",
        "statefulset/demo-backup",
        "service/demo-internals",
        "service/demo-metrics",
        "networkpolicy/demo-server-netpol",
        "configmap/demo-config",
        "rolebinding/demo-discovery",
        "role/demo-discovery",
        "serviceaccount/demo-discovery",
    }


def altered(name: str, change: Callable[[Object], Any]) -> list[Object]:
    objects = copy.deepcopy(everything())
    change(next(one for one in objects if one["metadata"]["name"] == name))
    return objects


REFUSED: dict[str, tuple[list[Object], str]] = {
    "no-resource": (everything()[1:], "no Neo4jEnterpriseCluster is in the objects"),
    "two-resources": (
        [*everything(), *altered("demo", lambda one: one["metadata"].update(name="shop"))[:1]],
        "several",
    ),
    "being-deleted": (altered("demo", lambda one: one["metadata"].update(deletionTimestamp="x")), "is being deleted"),
    "no-uid": (altered("demo", lambda one: one["metadata"].pop("uid")), "no StatefulSet demo-server"),
    "strange-kind": (altered("demo-config", lambda one: one.update(kind="Job")), "not known here: Job/demo-config"),
    "no-servers": (
        [one for one in everything() if one["metadata"]["name"] != "demo-server"],
        "no StatefulSet demo-server",
    ),
    "no-claim": (
        [one for one in everything() if one["metadata"]["name"] != "data-demo-server-1"],
        "claims of servers are not in the objects: data-demo-server-1",
    ),
    "no-volumes": ([one for one in everything() if one["kind"] != "PersistentVolume"], "Add pv to kubectl get"),
    "hostile-name": (altered("demo-metrics", lambda one: one["metadata"].update(name="x; rm -rf /")), "no name of"),
    "hostile-volume": (altered("data-demo-server-0", lambda one: one["spec"].update(volumeName="$(id)")), "no name of"),
    "hostile-uid": (altered("demo", lambda one: one["metadata"].update(uid="'; id")), "no StatefulSet"),
    "other-operator": (altered("demo", lambda one: one.update(apiVersion="neo4j.com/v1beta1")), "no Neo4jEnterprise"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_objects_that_are_not_those_of_the_operator_are_refused(case: str) -> None:
    objects, message = REFUSED[case]

    with pytest.raises(MigrationError, match=message):
        plan(objects)


def test_one_of_several_resources_can_be_named() -> None:
    more = altered("demo", lambda one: one["metadata"].update(name="shop", uid="other"))[:1]

    assert plan([*everything(), *more], "demo") == plan(everything())


def test_the_command_reads_a_list_and_prints_steps(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "objects.json"
    path.write_text(json.dumps({"kind": "List", "items": everything()}))

    assert code(["migrate", "operator", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# 1. Back up every database")
    assert "\nkubectl patch -n graphs neo4jenterprisecluster/demo --type merge" in printed
    assert code(["migrate", "operator", str(path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["steps"]) == 9


@pytest.mark.parametrize("content", ["", "no", "[]", '{"items": 5}', '{"items": [5]}', '{"items": []}', "[" * 500])
def test_an_input_that_is_not_a_list_of_objects_is_refused(
    content: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "objects.json"
    path.write_text(content)

    assert code(["migrate", "operator", str(path)]) == 2
    assert "pipe the output of kubectl get" in " ".join(capsys.readouterr().err.split())
