"""The agent's objects: settings, identity, claims, and at most one agent at a time."""

import pytest
import yaml

from backup_agent.catalog import owner_file
from backup_agent.k8s import agent_settings
from backup_agent.k8s.names import Object
from backup_agent.settings.load import parse
from tests.k8s.specs import SMALLEST, parsed, rendered, spec


def settings_file(found: dict[str, Object], cluster: str) -> str:
    text = found[f"ConfigMap/{cluster}-backup"]["data"]["config.yaml"]
    assert isinstance(text, str)
    return text


def pod(found: dict[str, Object], name: str) -> Object:
    template: Object = found[f"StatefulSet/{name}"]["spec"]["template"]
    return template


def test_the_agent_reads_the_settings_that_were_checked() -> None:
    found = settings_file(rendered(spec("everything")), "shop")

    assert parse(found.encode(), {}, "config.yaml").settings == agent_settings.settings(spec("everything"))


def test_settings_follow_from_the_spec() -> None:
    found = yaml.safe_load(settings_file(rendered(spec("everything")), "shop"))

    assert found["cluster"] == "shop"
    assert found["neo4j"] == {
        "uri": "neo4j+s://shop-client:7687",
        "username_file": "/run/secrets/neo4j/username",
        "password_file": "/run/secrets/neo4j/password",
        "ca_file": "/run/secrets/bolt-ca/ca.crt",
        "servers": [f"shop-server-{number}.shop-headless.graphs.svc.example.internal:6362" for number in range(5)],
        "backup_tls": {
            "ca_file": "/run/secrets/backup-tls/ca.crt",
            "cert_file": "/run/secrets/backup-tls/tls.crt",
            "key_file": "/run/secrets/backup-tls/tls.key",
        },
    }
    assert found["storage"]["destinations"]["offsite"]["ca_file"] == "/run/secrets/s3-ca/ca.crt"


def test_the_certificates_of_aws_are_public_even_beside_a_store_with_its_own_ca() -> None:
    places = "{own: {bucket: backups, endpoint_url: https://s3.example.com}, aws: {bucket: backups}}"
    more = f"  s3: {{ca_config_map: corporate-ca}}\n  settings: {{storage: {{destinations: {places}}}}}\n"
    found = yaml.safe_load(settings_file(rendered(parsed(SMALLEST + more)), "demo"))["storage"]["destinations"]

    assert {name for name, destination in found.items() if "ca_file" in destination} == {"own"}


def test_the_default_schedule_is_written_out() -> None:
    found = yaml.safe_load(settings_file(rendered(parsed(SMALLEST)), "demo"))

    assert {"cron": "0 2 * * *", "timezone": "UTC", "type": "FULL"}.items() <= found["schedules"]["default"].items()


def test_an_empty_mapping_of_schedules_stays_empty() -> None:
    assert yaml.safe_load(settings_file(rendered(spec("long-term-support")), "ledger"))["schedules"] == {}


def test_the_kubelet_waits_longer_than_the_shutdown_grace_of_the_agent() -> None:
    found = rendered(spec("everything"))

    assert pod(found, "shop-backup")["spec"]["terminationGracePeriodSeconds"] == 10 * 60 + 30


def test_a_change_of_the_settings_does_not_change_the_pod() -> None:
    more = SMALLEST + "  settings: {databases: [orders]}\n"

    assert pod(rendered(parsed(SMALLEST)), "demo-backup") == pod(rendered(parsed(more)), "demo-backup")


def test_the_agent_has_the_labels_of_its_cluster_and_is_not_an_endpoint_for_clients() -> None:
    found = rendered(parsed(SMALLEST))
    labels = pod(found, "demo-backup")["metadata"]["labels"]

    assert (labels["neo4j.com/cluster"], labels["neo4j.com/component"]) == ("demo", "backup")
    assert not found["Service/demo-client"]["spec"]["selector"].items() <= labels.items()


def test_the_objects_have_the_names_that_users_of_the_predecessor_know() -> None:
    found = rendered(parsed(SMALLEST))
    container = pod(found, "demo-backup")["spec"]["containers"][0]

    assert {"StatefulSet/demo-server", "StatefulSet/demo-backup", "Service/demo-client"} <= found.keys()
    assert container["name"] == "backup"
    assert {"/backups", "/backup-requests"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_agent_sees_certificates_of_the_servers_but_no_key() -> None:
    volumes = pod(rendered(spec("everything")), "shop-backup")["spec"]["volumes"]
    keys = {volume["secret"]["secretName"]: volume["secret"].get("items") for volume in volumes if "secret" in volume}

    assert keys["shop-bolt-tls"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert "shop-backup-tls" not in keys


def test_the_agent_gets_its_namespace_in_the_variable_that_it_reads() -> None:
    environment = pod(rendered(parsed(SMALLEST)), "demo-backup")["spec"]["containers"][0]["env"]
    given = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in environment if "valueFrom" in one}

    assert given == {owner_file.NAMESPACE: "metadata.namespace"}


def test_claims_outlive_their_stateful_set() -> None:
    found = rendered(spec("everything"))

    assert [
        found[f"StatefulSet/{name}"]["spec"]["persistentVolumeClaimRetentionPolicy"]
        for name in ("shop-backup", "shop-server")
    ] == [{"whenDeleted": "Retain", "whenScaled": "Retain"}] * 2


@pytest.mark.parametrize("name", ["demo-server", "demo-backup"])
def test_the_operators_finalizer_finds_no_claim_that_is_made_from_these_objects(name: str) -> None:
    found = rendered(parsed(SMALLEST))[f"StatefulSet/{name}"]["spec"]
    finalizer = {"app.kubernetes.io/name": "neo4j", "app.kubernetes.io/instance": "demo"}
    # The StatefulSet controller merges the selector's labels into those of each template.
    claims = [
        {**one["metadata"]["labels"], **found["selector"]["matchLabels"]} for one in found["volumeClaimTemplates"]
    ]

    assert [labels for labels in claims if finalizer.items() <= labels.items()] == []


def test_requests_have_a_claim_of_their_own() -> None:
    claims = rendered(parsed(SMALLEST))["StatefulSet/demo-backup"]["spec"]["volumeClaimTemplates"]

    assert [claim["metadata"]["name"] for claim in claims] == ["backup-requests", "backup-storage"]


def test_a_claim_contains_nothing_that_an_upgrade_changes() -> None:
    old, new = (
        rendered(parsed(SMALLEST.replace("2026.09.0", version)))["StatefulSet/demo-server"]["spec"]
        for version in ("2025.05.0", "2026.09.0")
    )

    assert old["volumeClaimTemplates"] == new["volumeClaimTemplates"]
    assert old["template"] != new["template"]


def test_there_is_no_limit_of_cpu_unless_the_spec_has_one() -> None:
    plain, asked = (
        pod(rendered(spec(name)), pod_name)["spec"]["containers"][0]["resources"]
        for name, pod_name in (("smallest", "demo-backup"), ("256Mi", "small-backup"))
    )

    assert plain == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    assert asked == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi", "cpu": "100m"}}


def test_metrics_are_served_by_an_agent_that_is_not_ready() -> None:
    assert rendered(parsed(SMALLEST))["Service/demo-backup"]["spec"]["publishNotReadyAddresses"] is True


def test_an_identity_of_the_cloud_is_an_annotation_of_the_agents_own_account() -> None:
    found = rendered(spec("everything"))
    arn = {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/shop-seed"}

    assert found["ServiceAccount/shop-server"]["metadata"]["annotations"].items() >= arn.items()
    assert not found["ServiceAccount/shop-backup"]["metadata"]["annotations"].items() & arn.items()
