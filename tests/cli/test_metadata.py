"""`show --metadata` and `fetch --metadata`: the script that restores users and roles."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backup_agent.artifact.header import read_header
from backup_agent.core.artifacts.records import Record
from backup_agent.stores.s3 import S3Store
from tests.artifact import writer
from tests.artifact.writer import Written
from tests.builders import a_record, artifact_file
from tests.catalog.places import filled
from tests.cli.conftest import Place, on_a_terminal, read
from tests.components.seaweedfs import ADMIN, SeaweedFS
from tests.stores.files import ignore

NAME = "orders-2026-11-23T02-00-00.backup"
SCRIPT = "CREATE USER `zoë` SET ENCRYPTED PASSWORD '1,c0ffee,c0ffee';\r\nCREATE ROLE `clerks`;"
SHOWN = "CREATE USER `zoë` SET ENCRYPTED PASSWORD '***';\\r\nCREATE ROLE `clerks`;\n"


def artifact(place: Place, *, limit: int | None = None, **facts: Any) -> Record:
    """Put an artifact with the script on the volume; in parts of at most `limit` bytes if that is given."""
    scripts: dict[str, Any] = {"metadata": {b"compressedMetadataScript": gzip.compress(SCRIPT.encode())}}
    content = writer.artifact(Written(**{**scripts, **facts}))
    whole = place.folder / NAME
    whole.write_bytes(content)
    paths = writer.split(whole, content, limit) if limit else [whole]
    files = tuple(artifact_file(path.name, path.read_bytes()) for path in paths)
    volume = filled(place.root)
    record = volume.add(a_record(header=read_header(whole), files=files), files=False)
    for path in paths:
        volume.put(f"default/orders/{path.name}", path.read_bytes())
    return record


def to_stdout(place: Place, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "backup_agent", "--config", str(place.config), "fetch", *arguments]
    return subprocess.run([*words, "--metadata", "-"], capture_output=True, check=False)


def test_the_script_is_shown_with_masked_passwords_and_escapes(place: Place) -> None:
    record = artifact(place)

    assert (shown := place.run("show", record.key, "--metadata")).out == SHOWN
    assert (shown.code, shown.err) == (0, "")
    assert place.run("show", record.key, "--metadata", "--json").json == {
        "place": "local",
        "artifact": record.key,
        "script": SCRIPT.replace("1,c0ffee,c0ffee", "***"),
    }


def test_the_script_is_written_unchanged_to_a_file_that_only_its_owner_can_read(place: Place, tmp_path: Path) -> None:
    record, file = artifact(place), tmp_path / "users.cypher"
    result = place.run("fetch", record.key, "--metadata", str(file))

    assert (result.code, result.out) == (0, "")
    assert result.err == f"fetched the metadata script of {record.key} from local\n"
    assert file.read_bytes() == SCRIPT.encode()
    assert file.stat().st_mode & 0o7777 == 0o600
    assert place.run("fetch", "orders", "--metadata", str(tmp_path / "again"), "--json").json == {
        "place": "local",
        "file": str(tmp_path / "again"),
        "artifact": record.key,
        "size": len(SCRIPT.encode()),
    }


def test_the_header_of_one_whole_artifact_is_enough(place: Place, tmp_path: Path) -> None:
    """The full is missing, so nothing can be restored."""
    record = artifact(place, lowest=5, highest=9, flags=3)
    for number, name in enumerate(("orders", record.key)):
        result = place.run("fetch", name, "--metadata", str(tmp_path / f"users-{number}"))

        assert (result.code, (tmp_path / f"users-{number}").read_bytes()) == (0, SCRIPT.encode())
        assert result.err.splitlines()[0] == f"{record.key} cannot be restored; only its header is read"
    assert place.run("fetch", "orders", "--to", str(tmp_path / "to")).code == 1
    moment = place.run("fetch", "orders", "--at", "2026-11-23 02:30 UTC", "--metadata", str(tmp_path / "none"))
    assert moment.code == 1


@pytest.mark.process
def test_the_script_goes_unchanged_through_a_pipe(place: Place) -> None:
    record = artifact(place)
    fetched = to_stdout(place, record.key)

    assert (fetched.returncode, fetched.stdout) == (0, SCRIPT.encode())


def test_no_existing_file_and_no_link_is_overwritten(place: Place, tmp_path: Path) -> None:
    record = artifact(place)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        result = place.run("fetch", record.key, "--metadata", str(tmp_path / name))

        assert result.code == 1
        assert f"{tmp_path / name}: the script was not written: File exists" in result.err
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_the_script_is_not_written_to_a_terminal(place: Place) -> None:
    record = artifact(place)
    with on_a_terminal("--config", str(place.config), "fetch", record.key, "--metadata", "-") as (_, terminal):
        text = read(terminal)

    assert "standard output is a terminal: redirect it, or give a file" in text
    assert "c0ffee" not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fetch", "orders"), "say where to write: --to FOLDER for the artifacts, or --metadata FILE for the script"),
        (("fetch", "orders", "--to", "a", "--metadata", "b"), "--to and --metadata exclude each other"),
        (("fetch", "orders", "--metadata", "-", "--json"), "--json and the script exclude each other"),
        (("show", NAME, "--metadata", "--restore"), "--restore and --metadata exclude each other"),
        (("show", NAME, "--from", "local"), "--from goes with --restore or --metadata"),
    ],
)
def test_options_that_exclude_each_other_are_refused(place: Place, arguments: tuple[str, ...], expected: str) -> None:
    result = place.run(*arguments)

    assert result.code == 2
    assert expected in result.err


def test_the_script_of_an_artifact_in_parts_is_read_across_them(place: Place) -> None:
    record = artifact(place, limit=100)

    assert len(record.files) > 3
    assert place.run("show", record.key, "--metadata").out == SHOWN


def test_an_artifact_without_a_script_is_an_error_with_its_reason(place: Place) -> None:
    result = place.run("show", artifact(place, metadata={}).key, "--metadata")

    assert result.code == 1
    assert "has no metadata script\nHINT: it was taken with neo4j.include_metadata: none" in result.err


def test_an_artifact_with_another_header_than_its_record_is_refused(place: Place, tmp_path: Path) -> None:
    record = artifact(place, magic="BTV2")
    path = place.root / record.key
    path.write_bytes(path.read_bytes().replace(writer.DATABASE_ID.bytes, bytes(16)))
    result = place.run("fetch", record.key, "--metadata", str(tmp_path / "file"))

    assert result.code == 1
    assert f"local: {record.key} differs from its record: it has another header" in result.err
    assert not (tmp_path / "file").exists()


def test_a_damaged_script_is_an_error_that_names_the_place(place: Place) -> None:
    record = artifact(place, magic="BTV2", metadata={b"metadataScript": SCRIPT.encode()})
    path = place.root / record.key
    path.write_bytes(path.read_bytes().replace("zoë".encode(), b"zo\xff\xff"))
    result = place.run("show", record.key, "--metadata")

    assert result.code == 1
    assert f"local: {NAME}, at byte 111: the metadata script is not UTF-8 (byte 15 of it)" in result.err
    assert "c0ffee" not in result.err


def test_the_script_is_read_from_a_bucket_after_a_lost_volume(
    place: Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = artifact(place, limit=200)
    ADMIN.use(monkeypatch)
    store = S3Store(**seaweedfs.place(f"{place.folder.name}/demo"))
    for file in record.files:
        store.put_artifact(f"default/orders/{file.name}", place.folder / file.name, file, ignore)
    store.create(f"{record.key}.json", record.to_json())
    shutil.rmtree(place.root)
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **seaweedfs.place(place.folder.name)}}
    shown = place.run("show", record.key, "--metadata", "--from", "offsite")
    local = place.run("show", record.key, "--metadata", "--from", "local")
    fetched = to_stdout(place, record.key, "--from", "offsite")

    assert (local.code, local.out) == (1, "")
    assert (shown.code, shown.out) == (3, SHOWN)
    assert shown.err.startswith("ORIGIN NOT PROVEN: ")
    assert (fetched.returncode, fetched.stdout) == (3, SCRIPT.encode())
