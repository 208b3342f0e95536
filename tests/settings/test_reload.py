from pathlib import Path

import pytest

from backup_agent.settings.faults import SettingsError
from backup_agent.settings.reload import Reloader

LEAST = "cluster: demo\nneo4j: {uri: 'neo4j://demo-client:7687'}\n"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(LEAST)
    return tmp_path / "config.yaml"


def test_without_valid_settings_the_first_load_fails(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Reloader(tmp_path / "none", {})


def test_writing_the_same_content_again_is_not_a_change(file: Path) -> None:
    reloader = Reloader(file, {})
    file.unlink()
    file.write_text(LEAST)

    assert reloader.check() is None


def test_changed_content_comes_into_force(file: Path) -> None:
    reloader = Reloader(file, {})
    file.write_text(LEAST + "limits: {parallel: 3}\nsets: [release]\n")
    change = reloader.check()

    assert change is not None
    assert change.settings.limits.parallel == 3
    assert (change.fault, change.waiting, change.settings.sets) == (None, (), ("release",))
    assert reloader.loaded is change.loaded
    assert reloader.check() is None


def test_a_config_map_swapped_by_its_symlink_is_noticed(tmp_path: Path) -> None:
    """As the kubelet does it: config.yaml -> ..data/config.yaml, ..data -> a folder, replaced by rename."""
    for folder, parallel in (("..first", 1), ("..second", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").write_text(LEAST + f"limits: {{parallel: {parallel}}}\n")
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    reloader = Reloader(tmp_path / "config.yaml", {})
    (tmp_path / "..next").symlink_to("..second")
    (tmp_path / "..next").rename(tmp_path / "..data")
    change = reloader.check()

    assert change is not None
    assert change.settings.limits.parallel == 2


def test_a_faulty_file_leaves_the_last_good_settings_in_force_and_is_reported_once(file: Path) -> None:
    reloader = Reloader(file, {})
    file.write_text(LEAST + "limits: {parallel: 0}\nfrob: 1\n")
    change = reloader.check()

    assert change is not None
    assert change.settings.limits.parallel == 1
    assert change.fault is not None
    assert "limits.parallel: expected at least 1 (got 0)" in change.fault
    assert "frob: unknown key" in change.fault
    assert reloader.check() is None


def test_the_fault_ends_when_the_valid_content_is_restored(file: Path) -> None:
    reloader = Reloader(file, {})
    file.write_text("[")
    assert reloader.check() is not None
    file.write_text(LEAST)
    change = reloader.check()

    assert change is not None
    assert change.fault is None


def test_a_file_that_vanishes_is_a_fault_until_it_is_back(file: Path) -> None:
    reloader = Reloader(file, {})
    file.unlink()
    change = reloader.check()
    assert change is not None
    assert change.fault is not None
    assert "no such file" in change.fault
    assert reloader.check() is None
    file.write_text(LEAST)
    change = reloader.check()

    assert change is not None
    assert change.fault is None


def test_changed_keys_that_need_a_restart_keep_their_values_and_are_named(file: Path) -> None:
    reloader = Reloader(file, {})
    changed = LEAST.replace("demo\n", "other\n") + (
        "requests: {folder: /drop}\nstorage: {root: /data, destinations: {a: {bucket: aaa}}}\nhttp: {listen: 'x:1'}\nsets: [b]\n"
    )
    file.write_text(changed)
    change = reloader.check()

    assert change is not None
    assert change.waiting == ("cluster", "requests.folder", "storage.root", "http")
    assert change.settings.cluster == "demo"
    assert str(change.settings.storage.root) == "/backups"
    assert str(change.settings.requests.folder) == "/backup-requests"
    assert change.settings.http.listen_address[1] == 8080
    assert (change.settings.sets, list(change.settings.storage.destinations)) == (("b",), ["a"])
    assert change.loaded.provenance["cluster"] == "file"
    assert change.loaded.provenance["requests.folder"] == "default"

    file.write_text(LEAST)
    change = reloader.check()
    assert change is not None
    assert change.waiting == ()


def test_a_reload_reads_the_environment_as_at_the_start(file: Path) -> None:
    environ = {"BACKUP_AGENT_LIMITS__PARALLEL": "4"}
    reloader = Reloader(file, environ)
    environ.clear()
    file.write_text(LEAST + "sets: [a]\n")
    change = reloader.check()

    assert change is not None
    assert change.settings.limits.parallel == 4
