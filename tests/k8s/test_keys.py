"""Keys in which installations differ: labels, Secrets of the servers, metrics, the user of pods, egress, accounts."""

import json
from typing import Any

import pytest
import yaml

from backup_agent.k8s import neo4j_conf
from backup_agent.k8s.changes import compare
from backup_agent.k8s.manifests import objects
from backup_agent.k8s.names import Object
from backup_agent.k8s.notes import notes
from backup_agent.k8s.reading import SpecError
from tests.k8s.specs import SMALLEST, parsed, rendered

OBJECTS = {"labels": {"team": "graphs"}, "annotations": {"example.com/owner": "dba"}}


def spec_with(**sections: Any) -> str:
    found = yaml.safe_load(SMALLEST)
    for name, keys in sections.items():
        found[name] = {**found.get(name, {}), **keys} if isinstance(keys, dict) else keys
    return json.dumps(found)


def pod_template(text: str, name: str = "demo-server") -> Object:
    found: Object = rendered(parsed(text))[f"StatefulSet/{name}"]["spec"]["template"]
    return found


def test_labels_and_annotations_are_on_every_object_and_on_no_pod_selector_or_claim() -> None:
    found = rendered(parsed(spec_with(**OBJECTS)))

    for one in found.values():
        assert one["metadata"]["labels"]["team"] == "graphs"
        assert one["metadata"]["annotations"]["example.com/owner"] == "dba"
    without = yaml.safe_dump({name: one.get("spec") for name, one in found.items()})
    assert "team" not in without
    assert compare(objects(parsed(SMALLEST)), objects(parsed(spec_with(**OBJECTS)))).restarts == ()
    assert compare(objects(parsed(SMALLEST)), objects(parsed(spec_with(**OBJECTS)))).steps == ()


@pytest.mark.parametrize(("section", "name"), [("server", "demo-server"), ("backup", "demo-backup")])
def test_the_labels_and_annotations_of_pods_are_keys_of_their_own(section: str, name: str) -> None:
    found = pod_template(
        spec_with(**{section: {"pod_labels": {"team": "graphs"}, "pod_annotations": {"a.b/c": "d"}}}), name
    )

    assert found["metadata"]["labels"]["team"] == "graphs"
    assert found["metadata"]["annotations"]["a.b/c"] == "d"


@pytest.mark.parametrize("name", ["neo4j.com/cluster", "app.kubernetes.io/name", "app.kubernetes.io/managed-by"])
def test_a_label_that_the_renderer_sets_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"labels without app\.kubernetes\.io/, neo4j\.com/ at their beginning"):
        parsed(spec_with(server={"pod_labels": {name: "x"}}))


def test_secrets_become_variables_of_the_servers() -> None:
    (container,) = pod_template(spec_with(server={"env_from": ["demo-ldap"]}))["spec"]["containers"]

    assert container["envFrom"] == [{"secretRef": {"name": "demo-ldap"}}]


def test_secrets_are_mounted_read_only_where_the_spec_says() -> None:
    mounts = [{"secret": "licenses.example.com", "path": "/licenses"}, {"secret": "trust", "path": "/trust"}]
    found = pod_template(spec_with(server={"secret_mounts": mounts}))["spec"]
    volumes = {one["name"]: one["secret"]["secretName"] for one in found["volumes"] if "secret" in one}
    mounted = {one["mountPath"]: one for one in found["containers"][0]["volumeMounts"]}

    assert volumes[mounted["/licenses"]["name"]] == "licenses.example.com"
    assert mounted["/trust"]["readOnly"] is True


def test_one_more_mount_does_not_rename_the_others() -> None:
    first = {"secret": "b", "path": "/b"}
    one, two = (
        {volume["name"] for volume in pod_template(spec_with(server={"secret_mounts": given}))["spec"]["volumes"]}
        for given in ([first], [{"secret": "a", "path": "/a"}, first])
    )

    assert one <= two


@pytest.mark.parametrize(
    "path", ["/data", "/data/x", "/var", "/var/lib/neo4j/conf", "/logs", "relative", "/a/../b", "/a b"]
)
def test_a_mount_over_a_folder_of_the_servers_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match=r"server\.secret_mounts\[0\]\.path"):
        parsed(spec_with(server={"secret_mounts": [{"secret": "x", "path": path}]}))


def test_two_mounts_at_one_path_are_refused() -> None:
    with pytest.raises(SpecError, match=r"secret_mounts\[1\]\.path: another path"):
        parsed(spec_with(server={"secret_mounts": [{"secret": "x", "path": "/x"}, {"secret": "y", "path": "/x"}]}))


def test_secrets_of_the_servers_are_listed_as_needed() -> None:
    given = {"env_from": ["demo-ldap"], "secret_mounts": [{"secret": "trust", "path": "/trust"}]}

    assert "demo-backup-auth (password, username); demo-ldap; trust" in notes(parsed(spec_with(server=given)))[0]


def test_metrics_are_served_to_prometheus_alone() -> None:
    text = spec_with(server={"metrics": True}, monitoring={"service_monitor": True})
    found = rendered(parsed(text))
    service, monitor = found["Service/demo-metrics"], found["ServiceMonitor/demo-metrics"]

    assert neo4j_conf.settings(parsed(text))["server.metrics.prometheus.endpoint"] == "0.0.0.0:2004"
    assert [port["port"] for port in service["spec"]["ports"]] == [2004]
    chosen = monitor["spec"]["selector"]["matchLabels"]
    services = {
        name
        for name, one in found.items()
        if one["kind"] == "Service" and chosen.items() <= one["metadata"]["labels"].items()
    }
    assert services == {"Service/demo-metrics"}
    rules = found["NetworkPolicy/demo-server"]["spec"]["ingress"]
    assert [rule["from"] for rule in rules if rule["ports"] == [{"port": 2004, "protocol": "TCP"}]] == [
        found["NetworkPolicy/demo-backup"]["spec"]["ingress"][0]["from"]
    ]


def test_without_metrics_there_is_no_note_on_them() -> None:
    assert "2004" not in yaml.safe_dump(rendered(parsed(SMALLEST)))


def test_metrics_by_hand_and_by_the_key_are_a_fault() -> None:
    config = {"server.metrics.prometheus.endpoint": "localhost:2004"}

    with pytest.raises(SpecError, match=r"server\.metrics\.prometheus\.endpoint: leave it out: it follows"):
        parsed(spec_with(server={"metrics": True, "config": config}))


@pytest.mark.parametrize("name", ["demo-server", "demo-backup"])
def test_the_kubernetes_cluster_may_assign_the_user(name: str) -> None:
    fixed, assigned = (
        pod_template(text, name)["spec"]["securityContext"] for text in (SMALLEST, spec_with(pod_user="assigned"))
    )

    assert fixed.keys() - assigned.keys() == {"runAsUser", "runAsGroup", "fsGroup"}
    assert assigned["runAsNonRoot"] is True


def egress_rules(**network: Any) -> list[Object]:
    found: list[Object] = rendered(parsed(spec_with(network=network)))["NetworkPolicy/demo-backup"]["spec"].get(
        "egress", []
    )
    return found


def test_the_agent_may_connect_anywhere_unless_the_spec_says_where() -> None:
    policy = rendered(parsed(SMALLEST))["NetworkPolicy/demo-backup"]["spec"]

    assert policy["policyTypes"] == ["Ingress"]
    assert "egress" not in policy


def test_the_agent_may_connect_to_dns_the_servers_and_the_named_targets() -> None:
    dns, servers, bucket = egress_rules(egress=[{"cidr": "203.0.113.0/24"}])

    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert [port["port"] for port in servers["ports"]] == [6362, 7687]
    assert servers["to"][0]["podSelector"]["matchLabels"]["neo4j.com/component"] == "server"
    assert bucket == {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
    assert len(egress_rules(egress=[])) == 2


def login_secret(text: str) -> str:
    (found,) = (one for one in pod_template(text, "demo-backup")["spec"]["volumes"] if one["name"] == "neo4j")
    name: str = found["secret"]["secretName"]
    return name


def test_the_agent_has_an_account_of_its_own_unless_the_spec_says_otherwise() -> None:
    assert login_secret(SMALLEST) == "demo-backup-auth"
    assert login_secret(spec_with(backup={"auth": {"secret": "mine"}})) == "mine"
    assert login_secret(spec_with(backup={"use_servers_account": True})) == "demo-auth"


def test_two_accounts_of_the_agent_are_a_fault() -> None:
    with pytest.raises(SpecError, match=r"backup\.use_servers_account: set this or backup\.auth, not both"):
        parsed(spec_with(backup={"auth": {"secret": "mine"}, "use_servers_account": True}))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [({}, "Create the account once the servers run"), ({"use_servers_account": True}, "logs in as an administrator")],
)
def test_the_account_is_noted(keys: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(notes(parsed(spec_with(backup=keys))))
