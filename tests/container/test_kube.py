"""The pod of the rendered example, run by podman with 256 MiB and a tenth of a core: privileges, volumes, a backup.

The example gets a destination in S3 and the set that the dropped request names.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bench.pod import Watch
from tests.components.containers import Podman
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.container.conftest import VERSION
from tests.container.kube import pod_of
from tests.container.pod import DATABASE, PASSWORD, SEED, Pod
from tests.k8s.specs import EXAMPLE, parsed, rendered

SMALLEST_PROFILE = {"memory": "256Mi", "cpu_limit": "100m"}
CREDENTIALS = f"[default]\naws_access_key_id = {ADMIN.access_key}\naws_secret_access_key = {ADMIN.secret_key}\n"


@pytest.fixture(scope="module")
def objects(seaweedfs: SeaweedFS) -> dict[str, dict[str, Any]]:
    """Render the example in the smallest profile."""
    spec = yaml.safe_load((EXAMPLE / "spec.yaml").read_text())
    spec["backup"] |= SMALLEST_PROFILE
    spec["backup"]["s3"] = {"credentials_secret": "demo-backup-s3", "region": "us-east-1"}
    offsite = {"bucket": BUCKET, "prefix": "played", "endpoint_url": seaweedfs.endpoint_url, "path_style": True}
    spec["backup"]["settings"] |= {"sets": ["test"], "storage": {"destinations": {"offsite": offsite}}}
    return rendered(parsed(yaml.safe_dump(spec)))


@pytest.fixture(scope="module")
def played(
    podman: Podman, image: str, objects: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    folder = tmp_path_factory.mktemp("kube")
    with Pod(podman, image, VERSION, folder / "pod") as pod:
        pod.fill_store(VERSION)
        # The settings are the rendered ones; the environment overrides those that concern the simulated cluster.
        neo4j = pod.settings["neo4j"]
        world = {
            "NEO4J__URI": neo4j["uri"],
            "NEO4J__BACKUP_ADDRESSES": neo4j["backup_addresses"],
            "DATABASES": [DATABASE],
        }
        variables = {f"BACKUP_AGENT_{key}": json.dumps(value) for key, value in world.items()}
        manifests = pod_of(
            objects["StatefulSet/demo-backup"],
            image,
            {
                "demo-backup": objects["ConfigMap/demo-backup"]["data"],
                "demo-auth": {"username": "neo4j", "password": PASSWORD},
                "demo-backup-auth": {"username": "backup_agent", "password": PASSWORD},
                "demo-backup-s3": {"credentials": CREDENTIALS},
            },
            environment=pod.environment | variables,
            folders={"/stores": str(pod.stores)},
        )
        file = folder / "pod.yaml"
        file.write_text(yaml.safe_dump_all(manifests))
        pod.name = "demo-backup-0-backup"
        podman("play", "kube", "--network=host", str(file))
        pod.wait()
        yield pod
        podman("play", "kube", "--down", str(file))


def test_a_dropped_request_is_backed_up_and_uploaded_in_the_smallest_profile(
    played: Pod, objects: dict[str, dict[str, Any]], seaweedfs: SeaweedFS
) -> None:
    (container,) = objects["StatefulSet/demo-backup"]["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]

    with Watch(played.cgroup, played, probe["httpGet"]["path"], probe["timeoutSeconds"]) as watch:
        played.sh(SEED)
        word = played.word(patience=300)

    assert word == "COMPLETED", played.log()
    assert played.sh("ls /backups/test/orders | wc -l").strip() == "2"
    copied = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix="played/demo/test/")["Contents"]
    assert sorted(item["Key"].rpartition(".")[2] for item in copied) == ["backup", "json"]
    assert played.cgroup.limit() == 256 << 20
    assert played.cgroup.throttled_seconds() > 0
    assert played.cgroup.oom_kills() == 0
    assert watch.probes
    assert watch.failed_probes == 0


def test_the_agent_is_unprivileged_and_knows_its_namespace(played: Pod) -> None:
    assert played.sh("id -u; touch /x 2>/dev/null || echo refused").split() == ["7474", "refused"]
    assert json.loads(played.sh("cat /backups/owner.json"))["namespace"] == "default"


def test_the_agent_exits_with_0_on_sigterm(played: Pod) -> None:
    played.podman("stop", "--time=60", played.name)

    assert played.podman.inspect(played.name)["State"]["ExitCode"] == 0
