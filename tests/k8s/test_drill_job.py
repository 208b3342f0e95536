"""The CronJob of drills: its volumes, its network policy and the notes on it."""

from typing import Any

from backup_agent.k8s import notes
from backup_agent.k8s.names import Object
from tests.k8s.specs import SMALLEST, parsed, rendered, spec

JOB = """\
  settings: {storage: {destinations: {offsite: {bucket: backups}}}}
  drill_job: {schedule: "0 10 * * 6", place: offsite, scratch: {size: 1Gi, in_memory: true}}
"""


def pod(found: dict[str, Object], name: str) -> Any:
    return found[f"CronJob/{name}-drill"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_a_spec_without_a_drill_job_has_none() -> None:
    assert not [name for name in rendered(spec("smallest")) if "drill" in name]


def test_the_pod_has_neither_the_claims_of_the_agent_nor_its_secrets() -> None:
    volumes = pod(rendered(spec("everything")), "shop")["volumes"]

    secrets = {one["secret"]["secretName"] for one in volumes if "secret" in one}
    assert secrets == {"shop-drill-s3", "shop-drill-signing"}
    assert not [one for one in volumes if "persistentVolumeClaim" in one]
    (scratch,) = (one for one in volumes if one["name"] == "scratch")
    assert scratch["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"] == "fast"


def test_scratch_may_be_memory() -> None:
    volumes = pod(rendered(parsed(SMALLEST + JOB)), "demo")["volumes"]

    assert {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in volumes


def test_the_pod_may_connect_to_name_servers_and_the_given_ranges_only() -> None:
    rules = rendered(spec("everything"))["NetworkPolicy/shop-drill"]["spec"]
    without = rendered(parsed(SMALLEST + JOB))["NetworkPolicy/demo-drill"]["spec"]

    assert ("ingress" in rules, rules["policyTypes"]) == (False, ["Ingress", "Egress"])
    assert [rule.get("to") for rule in rules["egress"]] == [None, [{"ipBlock": {"cidr": "203.0.113.0/24"}}]]
    assert [one["port"] for one in rules["egress"][0]["ports"]] == [53, 53]
    assert without["egress"][1] == {"ports": [{"port": 443, "protocol": "TCP"}]}


def test_notes_name_where_production_data_go_and_what_the_job_may_reach() -> None:
    found = "\n".join(notes.notes(parsed(SMALLEST + JOB)))

    assert "production data are on the node of the pod of demo-drill" in found
    assert "without egress" in found
    assert "without signing.trusted" in found
    assert "without signing_secret" in found
    assert "without signing_secret" not in "\n".join(notes.notes(spec("everything")))
    assert "has no destination" not in found
    assert "has no destination elsewhere" in "\n".join(
        notes.notes(parsed(SMALLEST + JOB.replace("place: offsite", "place: elsewhere")))
    )
