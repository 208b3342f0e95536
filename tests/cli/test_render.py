"""`render` and `schema cluster`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from backup_agent.cli.main import code
from tests.k8s.specs import GOLDEN, SMALLEST

SPEC = str(GOLDEN / "smallest.spec.yaml")


def with_servers(folder: Path, servers: int) -> str:
    path = folder / "spec.yaml"
    path.write_text(
        SMALLEST + f"topology: {{servers: {servers}}}\nmonitoring: {{service_monitor: {str(servers > 3).lower()}}}\n"
    )
    return str(path)


def test_objects_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["render", SPEC]) == 0

    printed = capsys.readouterr()
    assert printed.out == (GOLDEN / "smallest.yaml").read_text()
    assert printed.err.startswith(
        "NOTE: needed in namespace default, and not rendered: Secrets demo-auth (password); "
        "demo-backup-auth (password, username)\n"
    )


def test_objects_as_json_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["render", SPEC, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], len(found["items"])) == ("List", 12)


def test_a_folder_gets_a_file_for_each_object_and_a_kustomization(tmp_path: Path) -> None:
    assert code(["render", SPEC, "--out", str(tmp_path / "new" / "folder")]) == 0

    found = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    listed = yaml.safe_load((tmp_path / "new" / "folder" / "Kustomization").read_text())["resources"]
    assert found == {"Kustomization", *listed}


def test_rendering_fewer_servers_than_before_prints_the_steps_to_take_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    code(["render", with_servers(tmp_path, 5), "--out", out])
    assert "DEALLOCATE" not in capsys.readouterr().err

    assert code(["render", with_servers(tmp_path, 3), "--out", out]) == 0

    printed = capsys.readouterr().err
    assert "5 servers become 3: servers 3 to 4 must give up what they host" in printed
    assert "address STARTS WITH 'demo-server-3.demo-headless.default.svc.cluster.local'" in printed
    assert "kubectl delete pvc -n default data-demo-server-3 data-demo-server-4" in printed


def test_the_steps_are_printed_again_until_an_option_says_that_the_servers_are_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    code(["render", with_servers(tmp_path, 5), "--out", out])
    fewer = with_servers(tmp_path, 3)
    printed = []
    for more in ([], [], ["--running", "4"], [], ["--running", "3"], []):
        capsys.readouterr()
        code(["render", fewer, "--out", out, *more])
        printed.append([line for line in capsys.readouterr().err.splitlines() if "servers become 3" in line])

    assert [len(lines) for lines in printed] == [1, 1, 1, 1, 0, 0]
    assert "4 servers become 3" in printed[3][0]
    assert not (tmp_path / "out" / "servers.running").exists()


def test_servers_that_stay_after_all_are_not_recorded_as_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for servers in (5, 3, 5):
        code(["render", with_servers(tmp_path, servers), "--out", str(out)])

    assert not (out / "servers.running").exists()
    assert "DEALLOCATE" in capsys.readouterr().err


def rendered_before(folder: Path, *changes: str) -> tuple[str, str]:
    """Render the smallest spec into a folder; return the folder, and the path of a changed spec."""
    out, path = folder / "out", folder / "changed.yaml"
    code(["render", SPEC, "--out", str(out)])
    text = SMALLEST
    for change in changes:
        old, new = change.split(" => ")
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return str(out), str(path)


def test_a_rendering_over_an_earlier_one_lists_the_restarts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, path = rendered_before(tmp_path, "server: { => server: {cpu: 2, ")
    assert "RESTART" not in capsys.readouterr().err

    assert code(["render", SPEC, "--out", out]) == 0
    assert "RESTART: no pod\n" in capsys.readouterr().err
    assert code(["render", path, "--out", out]) == 0
    assert "RESTART: demo-server-2, demo-server-1, demo-server-0: delete one after the" in capsys.readouterr().err


def test_with_the_option_against_restarts_a_restart_is_a_failure_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = rendered_before(tmp_path, "server: { => server: {cpu: 2, ")
    before = {one.name: one.read_bytes() for one in Path(out).iterdir()}
    capsys.readouterr()

    assert code(["render", path, "--out", out, "--fail-on-restart", "--json"]) == 3
    assert {one.name: one.read_bytes() for one in Path(out).iterdir()} == before
    found = json.loads(capsys.readouterr().out)
    assert found["restarts"][0]["pods"] == ["demo-server-2", "demo-server-1", "demo-server-0"]
    assert code(["render", SPEC, "--out", out, "--fail-on-restart"]) == 0


def test_an_older_version_is_refused_unless_it_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, path = rendered_before(tmp_path, '"2026.09.0" => "2026.08.0"')
    before = (Path(out) / "statefulset-demo-server.yaml").read_text()

    assert code(["render", path, "--out", out]) == 4
    assert "REFUSED: version 2026.09.0 becomes 2026.08.0" in capsys.readouterr().err
    assert (Path(out) / "statefulset-demo-server.yaml").read_text() == before
    assert code(["render", path, "--out", out, "--allow-older"]) == 0
    assert "neo4j:2026.08.0-enterprise" in (Path(out) / "statefulset-demo-server.yaml").read_text()


def test_objects_of_another_cluster_are_not_reported_as_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = rendered_before(tmp_path, "cluster: demo => cluster: shop")

    assert code(["render", path, "--out", out]) == 0
    printed = capsys.readouterr().err
    assert "this is a second cluster" in printed
    assert "kubectl delete" not in printed


def test_the_number_of_running_servers_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["render", SPEC, "--running", "4"]) == 0

    assert "4 servers become 3: server 3 must give up" in capsys.readouterr().err


def test_an_object_no_longer_rendered_is_removed_from_the_folder_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code(["render", with_servers(tmp_path, 5), "--out", str(out)])
    (out / "mine.yaml").write_text("not: rendered\n")

    code(["render", with_servers(tmp_path, 3), "--out", str(out)])

    assert not (out / "servicemonitor-demo-backup.yaml").exists()
    assert (out / "mine.yaml").exists()
    assert "if it was applied: kubectl delete -n 'default' 'servicemonitor' 'demo-backup'" in capsys.readouterr().err


def test_unrelated_files_in_the_folder_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "Kustomization").write_text("- a list\n")
    (tmp_path / "statefulset-demo-server.yaml").write_text("spec: [")

    assert code(["render", SPEC, "--out", str(tmp_path)]) == 0


def test_a_faulty_spec_ends_with_2_and_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SMALLEST.replace("cluster: demo", "cluster: Demo").replace("eval", "maybe"))

    assert code(["render", str(path), "--out", str(tmp_path / "out")]) == 2

    printed = capsys.readouterr().err
    assert f"2 faults in the spec ({path}):" in printed
    assert not (tmp_path / "out").exists()


def test_a_note_lists_the_names_that_certificates_must_have(capsys: pytest.CaptureFixture[str]) -> None:
    code(["render", str(GOLDEN / "everything.spec.yaml")])

    printed = capsys.readouterr().err
    assert "tls.bolt must name: shop-client, shop-client.graphs.svc.example.internal, *.shop-headless.graphs" in printed


def test_the_schema_of_a_spec_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["schema", "cluster"]) == 0

    schema = json.loads(capsys.readouterr().out)
    (whole, alone) = (schema["$defs"][one["$ref"].rpartition("/")[2]]["properties"] for one in schema["anyOf"])
    assert {"server", "topology"} <= set(whole)
    assert "neo4j" in alone
    assert "server" not in alone


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is absent")
def test_kustomize_takes_the_folder(tmp_path: Path) -> None:
    code(["render", SPEC, "--out", str(tmp_path)])
    completed = subprocess.run(("kubectl", "kustomize", str(tmp_path)), capture_output=True, text=True, check=True)

    def by_name(objects: list[dict[str, object]]) -> list[str]:
        return sorted(json.dumps(one, sort_keys=True) for one in objects)

    assert by_name(list(yaml.safe_load_all(completed.stdout))) == by_name(
        list(yaml.safe_load_all((GOLDEN / "smallest.yaml").read_text()))
    )
