"""The overlays of docs/overlays.md, built by kubectl on the rendered example."""

import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backup_agent.k8s.changes import compare, key
from backup_agent.k8s.manifests import objects
from backup_agent.k8s.names import Object
from tests.k8s.specs import EXAMPLE, ROOT, parsed

pytestmark = [pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is absent"), pytest.mark.process]

OVERLAYS = ("plugins", "sidecar", "labels", "logs")
PAGE = (ROOT / "docs" / "overlays.md").read_text()


@cache
def built(name: str) -> dict[str, Object]:
    folder = EXAMPLE / "overlays" / name
    completed = subprocess.run(("kubectl", "kustomize", str(folder)), capture_output=True, text=True, check=True)
    return {key(one): one for one in yaml.safe_load_all(completed.stdout)}


def base() -> dict[str, Object]:
    return {key(one): one for one in objects(parsed((EXAMPLE / "spec.yaml").read_text()))}


def changed_objects(found: dict[str, Object]) -> set[str]:
    before = base()
    assert before.keys() == found.keys()
    return {name for name, one in found.items() if one != before[name]}


def server_spec(found: dict[str, Object]) -> Any:
    return found["StatefulSet/demo-server"]["spec"]


def test_the_page_names_each_overlay() -> None:
    assert {path.name for path in (EXAMPLE / "overlays").iterdir()} == set(OVERLAYS)
    assert all(f"](../k8s/overlays/{name}/kustomization.yaml)" in PAGE for name in OVERLAYS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_result_of_an_overlay_is_valid_by_the_schemas(name: str) -> None:
    for one in built(name).values():
        kubernetes_validate.validate(one, "1.37", strict=True)


@pytest.mark.parametrize("name", ["plugins", "sidecar", "logs"])
def test_an_overlay_of_the_servers_changes_no_other_object(name: str) -> None:
    assert changed_objects(built(name)) == {"StatefulSet/demo-server"}


def test_plugins_are_installed_into_a_volume() -> None:
    (container,) = server_spec(built("plugins"))["template"]["spec"]["containers"]

    assert {"name": "NEO4J_PLUGINS", "value": '["apoc", "graph-data-science"]'} in container["env"]
    assert {"name": "plugins", "mountPath": "/plugins"} in container["volumeMounts"]
    assert any(one["name"] == "NEO4J_AUTH" for one in container["env"])


def test_a_sidecar_is_added_and_leaves_the_server_as_it_is() -> None:
    containers = {one["name"]: one for one in server_spec(built("sidecar"))["template"]["spec"]["containers"]}

    assert containers.keys() == {"neo4j", "logs"}
    assert containers["neo4j"] == server_spec(base())["template"]["spec"]["containers"][0]


def test_labels_change_no_pod_and_nothing_that_is_immutable() -> None:
    found = built("labels")

    assert changed_objects(found) == found.keys()
    assert compare(base().values(), found.values()).restarts == ()
    assert compare(base().values(), found.values()).steps == ()


def test_logs_are_on_a_claim_instead_of_a_scratch_volume() -> None:
    found = server_spec(built("logs"))

    assert "logs" not in {one["name"] for one in found["template"]["spec"]["volumes"]}
    assert [one["metadata"]["name"] for one in found["volumeClaimTemplates"]] == ["data", "logs"]
