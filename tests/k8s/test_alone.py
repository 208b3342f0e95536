"""An agent alone, beside servers of a chart, of an operator, or outside Kubernetes."""

import json
from typing import Any

import pytest
import yaml

from backup_agent.k8s import agent_settings
from backup_agent.k8s.names import Object
from backup_agent.k8s.notes import notes
from backup_agent.k8s.reading import SpecError, read
from backup_agent.settings.load import parse
from tests.k8s.specs import ALONE, EXAMPLE, alone, rendered

FOREIGN_SELECTORS = {
    # Selectors of the Services of the servers, as their chart or operator renders them for the names of the examples.
    "helm-chart": {"app": "demo", "helm.neo4j.com/instance": "server1"},
    "neo4j-operator": {"app.kubernetes.io/instance": "demo", "neo4j.com/pool": "primary"},
    "community-operator": {"neo4j.com/cluster": "demo"},
}
SERVERS = {
    # Labels of a server's pod.
    "helm-chart": {
        "app": "demo",
        "helm.neo4j.com/neo4j.name": "demo",
        "helm.neo4j.com/clustering": "true",
        "helm.neo4j.com/pod_category": "neo4j-instance",
        "helm.neo4j.com/instance": "server1",
    },
    "neo4j-operator": {
        "app.kubernetes.io/name": "neo4j",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/managed-by": "neo4j-operator",
        "neo4j.com/component": "workload",
        "neo4j.com/pool": "primary",
    },
    "community-operator": {
        "app.kubernetes.io/name": "neo4j",
        "app.kubernetes.io/component": "database",
        "neo4j.com/cluster": "demo",
        "neo4j.com/clustering": "true",
    },
}


def spec_tree(name: str = "community-operator") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLE / "alone" / f"{name}.yaml").read_text())
    return found


def rendered_from(found: dict[str, Any]) -> dict[str, Object]:
    return rendered(read(json.dumps(found).encode(), "spec.yaml"))


def agent_labels(name: str) -> dict[str, str]:
    found = rendered(alone(name))[f"StatefulSet/{alone(name).cluster}-backup"]
    labels: dict[str, str] = found["spec"]["template"]["metadata"]["labels"]
    return labels


def test_there_is_an_example_for_each_kind_of_cluster() -> None:
    assert {path.stem for path in (EXAMPLE / "alone").iterdir()} == set(ALONE)


@pytest.mark.parametrize("name", ALONE)
def test_only_objects_of_the_agent_are_rendered(name: str) -> None:
    found = rendered(alone(name))

    assert {one["metadata"]["labels"]["neo4j.com/component"] for one in found.values()} == {"backup"}
    assert sum(one["kind"] == "StatefulSet" for one in found.values()) == 1


@pytest.mark.parametrize("name", ALONE)
def test_the_agent_reads_the_settings_that_were_checked(name: str) -> None:
    found = rendered(alone(name))[f"ConfigMap/{alone(name).cluster}-backup"]["data"]["config.yaml"]

    assert parse(found.encode(), {}, "config.yaml").settings == agent_settings.settings(alone(name))


@pytest.mark.parametrize("name", FOREIGN_SELECTORS)
def test_no_service_of_the_servers_sends_clients_to_the_agent(name: str) -> None:
    assert not FOREIGN_SELECTORS[name].items() <= agent_labels(name).items()


@pytest.mark.parametrize("name", SERVERS)
def test_the_labels_in_the_example_are_those_of_the_servers_and_not_of_the_agent(name: str) -> None:
    pods = alone(name).neo4j.pods

    assert pods is not None
    assert pods.labels.items() <= SERVERS[name].items()
    assert not pods.labels.items() <= agent_labels(name).items()


def test_no_object_has_the_label_of_a_cluster() -> None:
    assert "neo4j.com/cluster:" not in yaml.safe_dump(rendered(alone("helm-chart")))


def test_certificates_are_mounted_where_the_settings_look_for_them() -> None:
    settings = agent_settings.settings(alone("elsewhere")).neo4j
    pod = rendered(alone("elsewhere"))["StatefulSet/demo-backup"]["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    secrets = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}

    assert str(settings.ca_file) == f"{mounts['bolt-ca']}/ca.crt"
    assert settings.backup_tls is not None
    assert str(settings.backup_tls.key_file) == f"{mounts['backup-tls']}/tls.key"
    assert (secrets["bolt-ca"], secrets["backup-tls"]) == ("demo-ca", "demo-backup-tls")


def test_by_default_the_agent_has_its_own_account() -> None:
    found = spec_tree()
    del found["backup"]["auth"]
    pod = rendered_from(found)["StatefulSet/demo-agent-backup"]["spec"]["template"]["spec"]

    assert [one["secret"]["secretName"] for one in pod["volumes"] if one["name"] == "neo4j"] == [
        "demo-agent-backup-auth"
    ]


def test_the_servers_reach_the_agent_by_their_labels_or_addresses() -> None:
    def sources(name: str) -> list[Object]:
        found = rendered(alone(name))["NetworkPolicy/demo-backup"]["spec"]["ingress"]
        return next(rule["from"] for rule in found if rule["ports"][0]["port"] == 8083)

    assert sources("elsewhere") == [{"ipBlock": {"cidr": "192.0.2.0/28"}}]
    assert sources("helm-chart") == [{"podSelector": {"matchLabels": SERVERS_OF_THE_CHART}}]


SERVERS_OF_THE_CHART = {"helm.neo4j.com/neo4j.name": "demo", "helm.neo4j.com/pod_category": "neo4j-instance"}


def test_without_labels_and_addresses_no_server_reaches_the_agent() -> None:
    found = spec_tree("helm-chart")
    del found["neo4j"]["pods"]
    rules = rendered_from(found)["NetworkPolicy/demo-backup"]["spec"]["ingress"]

    assert [port["port"] for rule in rules for port in rule["ports"]] == [8080]


def test_an_agent_that_no_pod_may_reach_has_a_policy_without_rules() -> None:
    found = spec_tree("helm-chart") | {"network": {"prometheus": []}}
    del found["neo4j"]["pods"]
    policy = rendered_from(found)["NetworkPolicy/demo-backup"]

    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policy["spec"]


def test_a_policy_for_the_servers_is_rendered_only_if_the_spec_asks_for_it() -> None:
    assert [
        name for name in ALONE if f"NetworkPolicy/{alone(name).cluster}-backup-servers" in rendered(alone(name))
    ] == ["community-operator"]


def test_the_policy_for_the_servers_admits_the_agent_only_and_is_in_their_namespace() -> None:
    found = spec_tree()
    found["neo4j"]["pods"]["namespace"] = "databases"
    policy = rendered_from(found)["NetworkPolicy/demo-agent-backup-servers"]

    assert policy["metadata"]["namespace"] == "databases"
    assert policy["spec"]["podSelector"]["matchLabels"] == found["neo4j"]["pods"]["labels"]
    (rule,) = policy["spec"]["ingress"]
    (source,) = rule["from"]
    assert [port["port"] for port in rule["ports"]] == [6362, 7687]
    assert source["podSelector"]["matchLabels"].items() <= agent_labels("community-operator").items()
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "graphs"}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        pytest.param("server", {"data": {"size": "1Gi"}}, "server: leave it out: with neo4j, no servers", id="server"),
        pytest.param("auth", {"secret": "x"}, "write the agent's account as backup.auth", id="auth"),
        pytest.param("tls", {}, "neo4j.ca_secret and neo4j.backup_tls_secret", id="tls"),
        pytest.param("topology", {"servers": 5}, "topology: leave it out", id="topology"),
        pytest.param("network", {"clients": []}, "network.clients: leave it out", id="clients"),
        pytest.param("neo4j", {"uri": "demo:7687"}, "neo4j.uri: expected one of", id="uri"),
        pytest.param("neo4j", {"uri": "neo4j://demo", "ca_secret": "ca"}, "expected a uri with +s", id="ca-without-tls"),
        pytest.param("neo4j", {"uri": "neo4j://demo", "pods": {"labels": {}}}, "neo4j.pods.labels", id="every-pod"),
        pytest.param("neo4j", {}, "neo4j.uri: required", id="no-uri"),
    ],
)  # fmt: skip
def test_a_fault_says_what_to_write_instead(key: str, value: Any, text: str) -> None:
    with pytest.raises(SpecError, match=text.replace("+", r"\+")):
        rendered_from({**spec_tree(), key: value})


def test_a_setting_that_follows_from_neo4j_is_a_fault_and_the_port_of_the_listeners_is_none() -> None:
    found = spec_tree()
    found["backup"]["settings"]["neo4j"] = {"uri": "neo4j://demo", "backup_port": 6400}

    with pytest.raises(SpecError) as caught:
        rendered_from(found)

    assert [fault.path for fault in caught.value.faults] == ["backup.settings.neo4j.uri"]


def test_the_fault_of_a_spec_without_servers_names_both_kinds_of_spec() -> None:
    found = spec_tree()
    del found["neo4j"]

    with pytest.raises(SpecError, match=r"server: required.*; for an agent alone, write neo4j: \{uri: …\} instead"):
        rendered_from(found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("helm-chart", "server.backup.listen_address=0.0.0.0:6362"),
        ("helm-chart", "neo4j.com/backup-of=demo,neo4j.com/component=backup of the namespace graphs"),
        ("helm-chart", "the backup port has no certificate"),
        ("community-operator", "the rendered policy demo-agent-backup-servers does"),
        ("elsewhere", "of the CA in the Secret demo-backup-tls"),
        ("elsewhere", "demo-backup-s3 (credentials); demo-backup-tls (ca.crt, tls.crt, tls.key); demo-ca (ca.crt)"),
    ],
)
def test_the_notes_state_the_requirements_of_the_servers(name: str, expected: str) -> None:
    assert expected in "\n".join(notes(alone(name)))
