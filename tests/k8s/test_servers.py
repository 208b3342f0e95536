"""The servers' StatefulSet: how its pods are updated, and how they run without Neo4j."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from backup_agent.k8s.changes import compare
from backup_agent.k8s.manifests import objects
from backup_agent.k8s.names import Object
from backup_agent.k8s.notes import notes
from tests.k8s.specs import SMALLEST, parsed, rendered
from tests.polling import until


def with_server(**keys: object) -> str:
    tree = yaml.safe_load(SMALLEST)
    tree["server"] |= keys
    return yaml.safe_dump(tree)


def stateful_set(**keys: object) -> Object:
    found: Object = rendered(parsed(with_server(**keys)))["StatefulSet/demo-server"]
    return found


@pytest.mark.parametrize(
    ("update", "strategy"), [(None, "OnDelete"), ("automatic", "RollingUpdate"), ("supervised", "OnDelete")]
)
def test_the_spec_says_who_deletes_the_pods_of_an_update(update: str | None, strategy: str) -> None:
    keys = {"update": update} if update else {}

    assert stateful_set(**keys)["spec"]["updateStrategy"] == {"type": strategy}


def test_the_note_on_a_supervised_restart_names_the_page_to_follow() -> None:
    before, after = (objects(parsed(with_server(update="supervised", **more))) for more in ({}, {"cpu": "2"}))
    (restart,) = compare(before, after).restarts

    assert restart.supervised
    assert "delete one after the other in this order (docs/runbooks/rolling-restart.md)" in str(restart)


def test_a_change_of_the_update_strategy_restarts_no_pod() -> None:
    before, after = (objects(parsed(with_server(update=update))) for update in ("automatic", "supervised"))

    assert compare(before, after).restarts == ()


def test_pods_without_neo4j_are_not_probed() -> None:
    (container,) = stateful_set(offline_maintenance=True)["spec"]["template"]["spec"]["containers"]

    assert not any(key.endswith("Probe") for key in container)
    assert any(
        "Neo4j does not run in new pods" in note for note in notes(parsed(with_server(offline_maintenance=True)))
    )


def test_pods_without_neo4j_have_its_settings_and_end_at_once(tmp_path: Path) -> None:
    (container,) = stateful_set(offline_maintenance=True)["spec"]["template"]["spec"]["containers"]
    (tmp_path / "mounted").mkdir()
    (tmp_path / "conf").mkdir()
    (tmp_path / "mounted" / "neo4j.conf").write_text("a.b=1\n")
    command = [word.replace("/conf/neo4j.conf", f"{tmp_path}/mounted/neo4j.conf") for word in container["command"]]

    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        try:
            until((tmp_path / "conf" / "neo4j.conf").exists, "neo4j.conf")
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # in a pod, its `sleep` ends with the container

    assert (tmp_path / "conf" / "neo4j.conf").read_text() == "a.b=1\n"
