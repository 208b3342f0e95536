"""A storage root on the container's own disk is refused; one on a mounted volume is not."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from backup_agent.catalog import mounts
from backup_agent.catalog.mounts import Require, check_volume_mounted, is_own_disk
from backup_agent.core.reasons import PermanentError

OVERLAY = "600 500 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a,upperdir=/b"
BOUND = "600 500 254:0 /containers/1/root / rw,relatime - ext4 /dev/vda rw"
VOLUME = "601 600 254:0 /volumes/1 /backups rw,relatime - ext4 /dev/vda rw"
ODD = r"602 600 254:0 /volumes/2 /my\040volume rw,relatime shared:3 master:1 - ext4 /dev/vda rw"
OTHER = "603 600 0:99 / /backups-old rw - tmpfs tmpfs rw"
KUBERNETES = {mounts.KUBERNETES: "10.0.0.1"}


@pytest.fixture(autouse=True)
def _not_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MARKERS", ())


def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let the process see these mounts."""
    (tmp_path / "mountinfo").write_text("\n".join([*lines, ""]))
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")


@pytest.mark.parametrize(
    ("lines", "folder", "require", "environ", "expected"),
    [
        pytest.param((OVERLAY,), "/backups", "auto", {}, True, id="an-overlay-as-root-is-a-container"),
        pytest.param((BOUND,), "/backups", "auto", KUBERNETES, True, id="in-a-pod-whose-root-is-no-overlay"),
        pytest.param((BOUND,), "/backups", "auto", {}, False, id="on-a-machine"),
        pytest.param((BOUND,), "/backups", "always", {}, True, id="on-a-machine-that-must-have-a-volume"),
        pytest.param((OVERLAY,), "/backups", "never", KUBERNETES, False, id="knowingly"),
        pytest.param((OVERLAY, VOLUME), "/backups", "auto", KUBERNETES, False, id="a-volume"),
        pytest.param((BOUND, VOLUME), "/backups", "always", {}, False, id="a-volume-on-the-device-of-the-root"),
        pytest.param((OVERLAY, VOLUME), "/backups/a/b", "auto", {}, False, id="a-folder-of-a-volume"),
        pytest.param((OVERLAY, ODD), "/my volume/x", "auto", {}, False, id="a-mount-point-with-a-space"),
        pytest.param((OVERLAY, OTHER), "/backups", "auto", {}, True, id="a-volume-whose-name-only-begins-alike"),
        pytest.param((OVERLAY, VOLUME), "/backups/../data", "auto", {}, True, id="a-path-that-leaves-the-volume"),
    ],
)
def test_a_folder_is_on_the_containers_own_disk_if_no_volume_is_mounted_above_it(
    lines: tuple[str, ...],
    folder: str,
    require: Require,
    environ: dict[str, str],
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen(tmp_path, monkeypatch, *lines)

    assert is_own_disk(Path(folder), require, environ) is expected


def test_a_marker_file_of_the_container_engine_shows_that_this_is_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(tmp_path, monkeypatch, BOUND)
    monkeypatch.setattr(mounts, "MARKERS", (tmp_path / "mountinfo",))

    assert is_own_disk(Path("/backups"), "auto", {})


def test_a_link_to_the_containers_own_disk_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"/{uuid4()}"
    (tmp_path / "root").symlink_to(target)
    seen(tmp_path, monkeypatch, OVERLAY, f"601 600 0:99 / {tmp_path} rw - tmpfs tmpfs rw")

    assert is_own_disk(tmp_path / "root", "auto", {})


def test_the_error_says_what_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(tmp_path, monkeypatch, OVERLAY)
    with pytest.raises(PermanentError) as caught:
        check_volume_mounted(Path("/backups"), "auto", {})

    assert "/backups: no volume is mounted there" in caught.value.failure.error
    assert "the container's own disk" in caught.value.failure.error
    assert "storage.require_volume: never" in caught.value.failure.hint


def test_a_real_mount_is_seen(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from backup_agent.catalog.mounts import is_own_disk; "
    code += "print(is_own_disk(Path(sys.argv[1]), 'always', {}))"
    words = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$1" && exec "$2" -c "$3" "$1"', "sh"]
    completed = subprocess.run(
        [*words, str(tmp_path), sys.executable, code], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in completed.stderr:
        pytest.skip("this user may not mount")

    assert (completed.returncode, completed.stdout) == (0, "False\n"), completed.stderr
    assert is_own_disk(Path(f"/{uuid4()}"), "always", {})
