"""Repairing wrong modes on a volume, and reporting those that cannot be repaired."""

import os
import stat
from pathlib import Path

import pytest

from backup_agent.jobs.file_modes import repair

OTHER_USER = 64001


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lax(root: Path) -> dict[str, Path]:
    """Make a volume as an agent with the umask 022 would."""
    folder = root / "default" / "orders"
    folder.mkdir(parents=True)
    (root / ".aside").mkdir()
    (root / "lost+found").mkdir(mode=0o700)
    files = {
        "artifact": folder / "orders-2026-11-23T02-00-00.backup",
        "part": folder / "orders-2026-11-23T02-00-00.backup.1",
        "record": folder / "orders-2026-11-23T02-00-00.backup.json",
        "owner": root / "owner.json",
        "aside": root / ".aside" / "2026-11-23T02-00-00+run+x.aside",
    }
    for path in files.values():
        path.write_bytes(b"x")
        path.chmod(0o644)
    for path in (folder, root / "default", root / ".aside", root):
        path.chmod(0o755)
    return {**files, "folder": folder, "set": root / "default", "root": root}


def test_others_lose_their_rights_and_the_group_can_read_artifacts(tmp_path: Path) -> None:
    made = lax(tmp_path)

    found = repair(tmp_path)

    assert {name: oct(mode(path)) for name, path in made.items()} == {
        "artifact": "0o660",
        "part": "0o660",
        "record": "0o640",
        "owner": "0o640",
        "aside": "0o660",
        "folder": "0o2770",
        "set": "0o2770",
        "root": "0o2770",
    }
    assert (found.changed, found.left) == (9, 0)
    assert mode(tmp_path / "lost+found") == 0o700


def test_right_modes_are_not_changed(tmp_path: Path) -> None:
    lax(tmp_path)
    repair(tmp_path)

    assert repair(tmp_path).changed == 0


def test_a_missing_setgid_bit_is_set_silently(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)

    assert repair(tmp_path).changed == 0
    assert mode(tmp_path) == 0o2770


def test_an_interrupted_repair_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, chmod, count = lax(tmp_path), Path.chmod, 0

    def fails(path: Path, to: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        chmod(path, to)

    monkeypatch.setattr(Path, "chmod", fails)
    with pytest.raises(KeyboardInterrupt):
        repair(tmp_path)
    repair(tmp_path)

    assert {oct(mode(made[name])) for name in ("artifact", "part", "aside")} == {"0o660"}
    assert mode(made["folder"]) == 0o2770


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    outside.chmod(0o644)
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    (root / "link.backup").symlink_to(outside)

    repair(root)

    assert mode(outside) == 0o644


def test_a_missing_folder_is_not_reported(tmp_path: Path) -> None:
    assert repair(tmp_path / "absent").tell() == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of other users")
def test_files_of_another_user_are_reported_with_an_example(tmp_path: Path) -> None:
    made = lax(tmp_path)
    os.chown(tmp_path, OTHER_USER, 0)  # in Kubernetes, the root of a mount belongs to another user
    os.chown(made["artifact"], OTHER_USER, 0)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.chown(made["folder"], OTHER_USER + 1, 0)
        os.setresuid(OTHER_USER + 1, OTHER_USER + 1, OTHER_USER + 1)
        found = repair(made["folder"])
        os._exit(0 if found.left == 3 and "orders-" in found.tell() else found.left + 1)  # record and part are root's

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of other users")
def test_the_root_of_a_mount_that_others_can_list_is_not_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    child = os.fork()
    if child == 0:
        os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
        os._exit(repair(tmp_path).left)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
