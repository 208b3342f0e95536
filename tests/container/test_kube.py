"""The pod of the StatefulSet, played by podman: its limits, its rights, its volumes, and the seed's command in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.components.containers import Podman
from tests.container.conftest import VERSION
from tests.container.kube import pod_of
from tests.container.pod import PASSWORD, Pod
from tests.container.test_image import SEED

STATEFUL_SET = yaml.safe_load(Path(__file__).with_name("statefulset.yaml").read_text())


@pytest.fixture
def played(podman: Podman, image: str, tmp_path: Path) -> Iterator[Pod]:
    with Pod(podman, image, VERSION, tmp_path / "pod") as pod:
        pod.fill_store(VERSION)
        objects = pod_of(
            STATEFUL_SET,
            image,
            {"demo-backup": {"config.yaml": yaml.safe_dump(pod.settings)}, "demo-auth": {"password": PASSWORD}},
            environment=pod.environment,
            folders={"/stores": str(pod.stores)},
        )
        file = tmp_path / "pod.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        pod.name = "demo-backup-0-backup"
        podman("play", "kube", "--network=host", str(file))
        pod.wait()
        yield pod
        podman("play", "kube", "--down", str(file))


def test_the_pod_of_the_stateful_set_backs_up(played: Pod) -> None:
    played.sh(SEED)

    assert played.word() == "COMPLETED"
    assert played.sh("ls /backups/test/orders | wc -l").strip() == "2"
    assert played.sh("id -u; touch /x 2>/dev/null || echo refused").split() == ["7474", "refused"]
    assert played.cgroup.limit() == 256 << 20
