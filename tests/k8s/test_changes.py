"""The notes of `render` on a change before it is applied: restarts, and changes that Kubernetes or Neo4j forbid."""

from typing import Any

import pytest
import yaml

from backup_agent.k8s import manifests
from backup_agent.k8s.changes import Changes, compare
from tests.k8s.specs import ALONE, SMALLEST, alone, parsed


def objects(**changes: Any) -> list[dict[str, Any]]:
    """Return the objects of the smallest spec, with changed keys. `a__b` is the key b of the section a."""
    tree = yaml.safe_load(SMALLEST)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = tree
        for key in parents:
            section = section.setdefault(key, {})
        section[last] = value
    return manifests.objects(parsed(yaml.safe_dump(tree)))


def changes_of(**changes: Any) -> Changes:
    return compare(objects(), objects(**changes))


def steps(found: Changes) -> str:
    return "\n".join(found.steps)


def test_a_first_rendering_and_an_unchanged_one_have_no_notes() -> None:
    assert compare([], objects()) == Changes()
    assert compare(objects(), objects()) == Changes()


def test_the_servers_restart_one_by_one_from_the_last_to_the_first() -> None:
    before = objects(server__update="automatic")
    after = objects(server__update="automatic", server__image="neo4j:2026.09.1-enterprise")
    (restart,) = compare(before, after).restarts

    assert restart.pods == ("demo-server-2", "demo-server-1", "demo-server-0")
    assert restart.reasons == ("spec.containers[neo4j].image neo4j:2026.09.0-enterprise -> neo4j:2026.09.1-enterprise",)
    assert str(restart).startswith(
        "demo-server-2, demo-server-1, demo-server-0 restart, one after the other in this order"
    )


def test_the_reason_of_a_restart_names_the_changed_setting_without_its_value() -> None:
    (restart,) = changes_of(server__config={"db.logs.query.enabled": "hunter2", "db.a.b": 1}).restarts

    assert restart.reasons == ("neo4j.conf: db.a.b, db.logs.query.enabled",)


def test_only_existing_servers_restart() -> None:
    more = compare(objects(), objects(topology__servers=5, server__cpu="2"))
    fewer = compare(objects(topology__servers=5), objects(server__cpu="2"))

    assert [restart.pods for restart in (*more.restarts, *fewer.restarts)] == [
        ("demo-server-2", "demo-server-1", "demo-server-0")
    ] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"topology__servers": 5},
        {"client_service__type": "LoadBalancer", "server__config": {"dbms.routing.default_router": "CLIENT"}},
        {"network__clients": []},
        {"backup__settings": {"databases": ["orders"]}},
        {"monitoring__service_monitor": True, "monitoring__rules": True},
    ],
    ids=str,
)
def test_a_change_outside_the_pod_template_restarts_no_pod_or_only_the_servers_that_it_configures(
    changes: dict[str, Any],
) -> None:
    restarts = [restart.reasons for restart in changes_of(**changes).restarts]

    assert restarts == ([("neo4j.conf: dbms.routing.default_router",)] if "server__config" in changes else [])


def test_the_agent_restarts_alone() -> None:
    (restart,) = changes_of(backup__memory="2Gi").restarts

    assert restart.pods == ("demo-backup-0",)
    assert str(restart) == (
        "demo-backup-0 restarts. Changed: spec.containers[backup].resources.limits.memory 1Gi -> 2Gi"
    )


def test_values_of_variables_are_not_shown() -> None:
    (restart,) = changes_of(backup__s3={"region": "eu-central-1"}).restarts

    assert restart.reasons == ("spec.containers[backup].env[AWS_REGION] added",)

    before, after = (objects(backup__s3={"region": region}) for region in ("eu-central-1", "eu-west-1"))
    (restart,) = compare(before, after).restarts
    assert restart.reasons == ("spec.containers[backup].env[AWS_REGION].value",)


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("2026.09.0", "2026.08.0", True),
        ("2026.09.1", "2026.09.0", True),
        ("2025.01.0", "5.26.31", True),
        ("2026.09.0", "2026.10.0", False),
        ("5.26.31", "2025.01.0", False),
        ("5.26.31", "5.26", False),
        ("5.26", "5.26.31", False),
    ],
)
def test_an_older_version_is_refused(before: str, after: str, refused: bool) -> None:
    assert (compare(objects(version=before), objects(version=after)).older is not None) is refused


def test_before_a_newer_version_a_full_is_advised() -> None:
    assert "take a FULL first" in steps(changes_of(version="2026.10.0"))


@pytest.mark.parametrize(("on", "word"), [(True, "on"), (False, "off")])
def test_encryption_between_servers_is_switched_while_all_are_stopped(on: bool, word: str) -> None:
    sides = [objects(), objects(tls__cluster={"secret": "demo-tls"})]
    found = steps(compare(*(sides if on else reversed(sides))))

    assert f"tls.cluster is switched {word}" in found
    assert "kubectl scale -n default statefulset/demo-server --replicas 0" in found


def test_for_a_larger_claim_the_steps_patch_it_and_recreate_the_stateful_set() -> None:
    found = steps(changes_of(server__data__size="200Gi"))

    assert "for claim in data-demo-server-0 data-demo-server-1 data-demo-server-2; do kubectl patch pvc" in found
    assert '{"spec":{"resources":{"requests":{"storage":"200Gi"}}}}' in found
    assert "kubectl delete statefulset -n default demo-server --cascade=orphan" in found


@pytest.mark.parametrize(
    "changes",
    [{"backup__storage__size": "100Gi"}, {"backup__storage": {"size": "200Gi", "storage_class": "fast"}}],
    ids=["smaller", "class"],
)
def test_a_note_says_that_a_claim_cannot_change(changes: dict[str, Any]) -> None:
    found = steps(changes_of(**changes))

    assert "backup-storage-demo-backup-0 stay as they are" in found
    assert "kubectl patch pvc" not in found
    assert "kubectl delete statefulset -n default demo-backup --cascade=orphan" in found


def test_changed_labels_of_a_claim_are_noted() -> None:
    after = objects()
    template = next(one for one in after if one["metadata"]["name"] == "demo-server" and one["kind"] == "StatefulSet")
    template["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]["team"] = "graphs"

    assert "the labels of data-demo-server-0" in steps(compare(objects(), after))


def test_a_changed_selector_ends_the_pods() -> None:
    found = compare(objects(), manifests.objects(alone("helm-chart").model_copy(update={"namespace": "default"})))

    assert "kubectl delete statefulset -n default demo-backup    # its pods end, its claims are kept" in steps(found)
    assert "the servers are no longer rendered" in steps(found)


@pytest.mark.parametrize("changes", [{"cluster": "shop"}, {"namespace": "graphs"}], ids=str)
def test_another_name_is_a_second_cluster(changes: dict[str, Any]) -> None:
    found = changes_of(**changes)

    assert found.moved
    assert found.restarts == ()
    assert "this is a second cluster and a second agent: the objects were demo-backup in namespace default" in steps(
        found
    )


def test_the_first_servers_beside_a_single_one_have_the_steps_of_the_manual() -> None:
    found = steps(compare(objects(topology__servers=1), objects()))

    assert "1 server becomes 3" in found
    assert "neo4j-admin database load system --from-stdin" in found
    assert "kubectl delete pod -n default -l neo4j.com/component=server,neo4j.com/cluster=demo" in found
    assert "1 server becomes" not in steps(changes_of(topology__servers=5))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"servers": 3}, {"servers": 3, "spread": "require"}, "needs 3 nodes that match server.placement, where 1"),
        ({"servers": 3, "spread": "require"}, {"servers": 5, "spread": "require"}, "needs 5 nodes"),
        ({"servers": 5, "spread": "require"}, {"servers": 3, "spread": "require"}, None),
        ({"servers": 3, "spread": "require"}, {"servers": 5}, None),
    ],
)
def test_a_need_for_more_nodes_is_noted(before: dict[str, Any], after: dict[str, Any], expected: str | None) -> None:
    found = steps(compare(objects(topology=before), objects(topology=after)))

    assert (expected in found) if expected else ("nodes that match" not in found)


def test_zones_that_become_required_are_noted_once() -> None:
    before, after = objects(), objects(topology__zones="require")

    assert "topology.zones: require needs three zones" in steps(compare(before, after))
    assert "three zones" not in steps(compare(after, objects(topology={"zones": "require", "servers": 5})))


@pytest.mark.parametrize("name", ALONE)
def test_changes_of_an_agent_alone_are_noted(name: str) -> None:
    before = manifests.objects(alone(name))

    assert compare(before, manifests.objects(alone(name))) == Changes()


def test_edited_objects_are_compared_as_far_as_possible() -> None:
    before: list[dict[str, Any]] = [
        {"kind": "StatefulSet", "metadata": {"name": "demo-server", "labels": []}, "spec": 5},
        {
            "kind": "StatefulSet",
            "metadata": {"name": "demo-backup"},
            "spec": {"volumeClaimTemplates": [{}], "replicas": "x"},
        },
        {"kind": "ConfigMap", "metadata": {"name": "demo-server"}, "data": {"neo4j.conf": 7}},
    ]

    compare(before, objects())
