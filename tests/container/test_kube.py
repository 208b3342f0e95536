"""The pod of the rendered example, played by podman: its limits, its rights, its volumes, and the seed's command in it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.pod import Watch
from tests.components.containers import Podman
from tests.container.conftest import VERSION
from tests.container.kube import pod_of
from tests.container.pod import DATABASE, PASSWORD, Pod
from tests.container.test_image import SEED
from tests.k8s.specs import EXAMPLE, parsed, rendered

SMALLEST_PROFILE = {"memory": "256Mi", "cpu_limit": "100m"}


def objects() -> dict[str, dict[str, Any]]:
    """Render the example in the smallest profile; nothing else of it is another."""
    spec = yaml.safe_load((EXAMPLE / "spec.yaml").read_text())
    spec["backup"] |= SMALLEST_PROFILE
    return rendered(parsed(yaml.safe_dump(spec)))


@pytest.fixture
def played(podman: Podman, image: str, tmp_path: Path) -> Iterator[Pod]:
    found = objects()
    with Pod(podman, image, VERSION, tmp_path / "pod") as pod:
        pod.fill_store(VERSION)
        # The settings are the rendered ones. What is of the simulated cluster comes by the environment, which wins.
        neo4j = pod.settings["neo4j"]
        world = {
            "NEO4J__URI": neo4j["uri"],
            "NEO4J__BACKUP_ADDRESSES": neo4j["backup_addresses"],
            "DATABASES": [DATABASE],
        }
        variables = {f"BACKUP_AGENT_{key}": json.dumps(value) for key, value in world.items()}
        manifests = pod_of(
            found["StatefulSet/demo-backup"],
            image,
            {
                "demo-backup": found["ConfigMap/demo-backup"]["data"],
                "demo-auth": {"username": "neo4j", "password": PASSWORD},
            },
            environment=pod.environment | variables,
            folders={"/stores": str(pod.stores)},
        )
        file = tmp_path / "pod.yaml"
        file.write_text(yaml.safe_dump_all(manifests))
        pod.name = "demo-backup-0-backup"
        podman("play", "kube", "--network=host", str(file))
        pod.wait()
        yield pod
        podman("play", "kube", "--down", str(file))


def test_the_rendered_pod_backs_up_in_the_smallest_profile_and_no_probe_would_restart_it(played: Pod) -> None:
    (container,) = objects()["StatefulSet/demo-backup"]["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]

    with Watch(played.cgroup, played, probe["httpGet"]["path"], probe["timeoutSeconds"]) as watch:
        played.sh(SEED)
        word = played.word()

    assert word == "COMPLETED"
    assert played.sh("ls /backups/test/orders | wc -l").strip() == "2"
    assert played.sh("id -u; touch /x 2>/dev/null || echo refused").split() == ["7474", "refused"]
    assert json.loads(played.sh("cat /backups/owner.json"))["namespace"] == "default"
    assert played.cgroup.limit() == 256 << 20
    assert played.cgroup.throttled_seconds() > 0
    assert played.cgroup.oom_kills() == 0
    assert watch.probes
    assert watch.failed_probes == 0
