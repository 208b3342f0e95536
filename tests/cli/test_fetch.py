"""`fetch`: the artifacts of a restore point, in a folder or as a tar."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.restore.machines import RECEIVE
from backup_agent.stores.s3 import S3Store
from tests import memory
from tests.builders import a_record, content
from tests.cli.conftest import Place, on_a_terminal, read
from tests.components.seaweedfs import ADMIN, SeaweedFS
from tests.stores.files import ignore


def chain(place: Place) -> tuple[Record, Record]:
    """Put a full and the differential that continues it on the volume."""
    full, differential = (place.record(hour, stored=True, admin_version="2026.09.0") for hour in (0, 1))
    return full, differential


def names(*records: Record) -> list[str]:
    return [file.name for record in records for file in record.files]


def tar_of(place: Place, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "backup_agent", "--config", str(place.config), "fetch", *arguments, "--to", "-"]
    return subprocess.run(words, capture_output=True, check=False)


def test_the_newest_point_is_fetched_with_its_chain(place: Place, tmp_path: Path) -> None:
    full, differential = chain(place)
    result = place.run("fetch", "orders", "--to", str(tmp_path / "to"))

    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines() == [
        "fetching 2 files, 270 B, from local",
        f"fetched {full.key}",
        f"fetched {differential.key}",
    ]
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == names(full, differential)
    assert (tmp_path / "to" / names(full)[0]).read_bytes() == content(names(full)[0])


def test_a_moment_fetches_the_differential_that_reaches_it(place: Place, tmp_path: Path) -> None:
    full, differential = chain(place)
    place.record(2, stored=True)
    found = place.run("fetch", "orders", "--at", "2026-11-23 02:30 UTC", "--to", str(tmp_path / "to"), "--json").json

    assert found == {
        "place": "local",
        "folder": str(tmp_path / "to"),
        "artifacts": [full.key, differential.key],
        "size": 270,
    }


@pytest.mark.process
def test_the_lines_of_a_plan_unpack_a_tar_and_check_it(place: Place, tmp_path: Path) -> None:
    full, differential = chain(place)
    fetched = tar_of(place, "orders")
    folder = tmp_path / "a folder"
    received = subprocess.run(["sh", "-ec", RECEIVE, "sh", str(folder)], input=fetched.stdout, check=False)

    assert (fetched.returncode, received.returncode) == (0, 0)
    assert sorted(path.name for path in folder.iterdir()) == names(full, differential)


@pytest.mark.process
def test_a_tar_that_was_cut_off_is_not_unpacked_into_the_folder(place: Place, tmp_path: Path) -> None:
    chain(place)
    whole = tar_of(place, "orders").stdout
    for cut in (0, 512, 1024, whole.index(b"SHA256SUMS")):
        folder = tmp_path / str(cut)
        words = ["sh", "-ec", RECEIVE, "sh", str(folder)]
        received = subprocess.run(words, input=whole[:cut], capture_output=True, check=False)
        assert received.returncode != 0, cut
        assert not folder.exists() or not list(folder.iterdir()), cut


@pytest.mark.process
def test_a_damaged_artifact_ends_the_tar_with_an_error(place: Place) -> None:
    full, _ = chain(place)
    (place.root / full.key).write_bytes(b"X" + content(names(full)[0])[1:])
    fetched = tar_of(place, "orders")

    assert fetched.returncode == 1
    assert b"SHA256SUMS" not in fetched.stdout
    assert f"local: {full.key} differs from its record: SHA-256 " in fetched.stderr.decode()


def test_a_tar_is_not_written_to_a_terminal(place: Place) -> None:
    chain(place)
    with on_a_terminal("--config", str(place.config), "fetch", "orders", "--to", "-") as (_, terminal):
        text = read(terminal)

    assert "standard output is a terminal: redirect it, or give a folder with --to" in text


def test_a_tar_and_json_exclude_each_other(place: Place) -> None:
    result = place.run("fetch", "orders", "--to", "-", "--json")

    assert result.code == 2
    assert "exclude each other" in result.err


def test_unrecognised_records_are_fetched_with_a_warning(place: Place, tmp_path: Path) -> None:
    chain(place)
    shutil.rmtree(place.root / ".agent")
    result = place.run("fetch", "orders", "--to", str(tmp_path / "to"))

    assert result.code == 3
    assert result.err.startswith("ORIGIN NOT PROVEN: ")
    assert len(list((tmp_path / "to").iterdir())) == 2


def test_after_a_lost_volume_the_settings_and_the_bucket_are_enough(
    place: Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full, differential = chain(place)
    ADMIN.use(monkeypatch)
    store = S3Store(**seaweedfs.place(f"{place.folder.name}/demo"))
    for record in (full, differential):
        store.put_artifact(record.key, place.root / record.key, record.files[0], ignore)
        store.create(f"{record.key}.json", record.to_json())
    shutil.rmtree(place.root)
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **seaweedfs.place(place.folder.name)}}
    result = place.run("fetch", "orders", "--from", "offsite", "--to", str(tmp_path / "to"))

    assert (result.code, result.err.splitlines()[1]) == (3, "fetching 2 files, 270 B, from offsite")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == names(full, differential)


LARGE = 96 << 20


def test_a_large_artifact_of_a_bucket_takes_little_memory(
    place: Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a memory limit sixteen ranges of 4 MiB are read at a time, which would take 120 MiB."""
    ADMIN.use(monkeypatch)
    name = names(a_record(0))[0]
    digest = hashlib.sha256()
    for _ in range(96):
        digest.update(bytes(1 << 20))
    record = a_record(0, files=(ArtifactFile(name=name, size=LARGE, sha256=digest.hexdigest()),))
    store = S3Store(**seaweedfs.place(f"{place.folder.name}/demo"))
    memory.sparse(tmp_path / "large", LARGE)
    store.put_artifact(record.key, tmp_path / "large", record.files[0], ignore)
    store.create(f"{record.key}.json", record.to_json())
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **seaweedfs.place(place.folder.name)}}
    words = ("fetch", "orders", "--from", "offsite", "--to", str(tmp_path / "to"))
    fetched = memory.run("backup_agent", "--config", str(place.config), *words)

    assert fetched.code == 3, fetched.err
    assert (tmp_path / "to" / name).stat().st_size == LARGE
    assert fetched.mib < 90
