"""`show --restore`: the commands that restore a point, from the first place that has its chain."""

from typing import Any

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.keys import damage_key, record_key
from backup_agent.core.artifacts.records import Record
from backup_agent.settings.model import Settings
from backup_agent.stores.s3 import S3Store
from tests.builders import a_header
from tests.cli.conftest import Place
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS
from tests.stores.files import ignore


def chain(place: Place, **changes: Any) -> tuple[Record, Record]:
    """Put a full and the differential that continues it on the volume."""
    return taken(place, 0, **changes), taken(place, 1, **changes)


def taken(place: Place, hour: int, **changes: Any) -> Record:
    return place.record(hour, stored=True, **{"admin_version": "2026.09.0", **changes})


def test_a_differential_is_restored_with_its_chain(place: Place) -> None:
    full, differential = chain(place)
    result = place.run("show", "--restore", differential.key)

    assert result.code == 0
    assert f"# {differential.key} at local" in result.out
    assert all(f"'{file.sha256}' '{file.name}'" in result.out for one in (full, differential) for file in one.files)
    assert f"--from-path=\"$FOLDER\"/'{differential.files[0].name}'" in result.out
    assert "seedURI" not in result.out


@pytest.mark.parametrize("named", ["key", "name", "path", "record"])
def test_a_point_can_be_named_by_key_path_or_file_name(place: Place, named: str) -> None:
    full, _ = chain(place)
    path = str(place.root / full.key)
    given = {"key": full.key, "name": full.files[0].name, "path": path, "record": f"{path}.json"}[named]

    assert place.run("show", "--restore", "--json", given).json["artifact"] == full.key


@pytest.mark.parametrize("fault", ["damaged", "missing", "cut"])
def test_a_point_whose_full_is_damaged_or_missing_is_refused(place: Place, fault: str) -> None:
    full, differential = chain(place)
    if fault == "damaged":
        (place.root / damage_key(full.key)).write_bytes(b"{}")
    elif fault == "missing":
        (place.root / full.key).unlink()
    else:
        (place.root / full.key).write_bytes(b"cut")
    result = place.run("show", "--restore", differential.key)

    assert (result.code, result.out) == (1, "")
    assert "a part of its chain is missing or damaged" in result.err


@pytest.mark.parametrize("named", [True, False], ids=["which says what it was taken after", "which does not"])
def test_an_empty_differential_restores_the_artifact_before_it(place: Place, named: bool) -> None:
    full, first = chain(place)
    empty = taken(place, 2, header=a_header(2, lowest=0, highest=0), parent=first.key if named else None)
    later = taken(place, 3, header=a_header(3, lowest=first.header.highest + 1))
    out = place.run("show", "--restore", empty.key).out
    (place.root / damage_key(first.key)).write_bytes(b"{}")

    assert out.startswith(f"# {empty.key} at local")
    assert [one.files[0].name in out for one in (full, first, later)] == [True, True, False]
    assert place.run("show", "--restore", empty.key).code == 1


@pytest.mark.parametrize(("fault", "said"), [("damaged", "marked as damaged"), ("missing", "its file is missing")])
def test_list_show_and_why_give_the_same_reason_as_show_restore(place: Place, fault: str, said: str) -> None:
    full, differential = chain(place)
    sound = [one["fault"] for one in place.run("list", "--json").json["artifacts"]]
    if fault == "damaged":
        (place.root / damage_key(full.key)).write_bytes(b"{}")
    else:
        (place.root / full.key).unlink()
    listed = place.run("list").out.splitlines()
    shown = [place.run("show", one.key).out for one in (full, differential)]

    assert sound == [None, None]
    assert said in listed[1]
    assert listed[2].endswith("a part of its chain is missing or damaged")
    assert said in shown[0]
    assert (
        f"  cannot be restored: {place.run('why', '--json', full.key).json['fault']}\n"
        in place.run("why", full.key).out
    )
    assert said in place.run("why", full.key).out
    assert "cannot be restored from the volume: a part of its chain is missing or damaged" in shown[1]


def test_an_unknown_version_must_be_given(place: Place) -> None:
    full, _ = chain(place, admin_version=None)
    refused = place.run("show", "--restore", full.key)
    given = place.run("show", "--restore", full.key, "--neo4j-version", "5.26.31")

    assert (refused.code, refused.out) == (1, "")
    assert "the record has no version" in refused.err
    assert "--neo4j-version 5.26.31" in refused.err
    assert "# Neo4j 5.26.31" in given.out


def test_an_unknown_artifact_cannot_be_restored(place: Place) -> None:
    assert place.run("show", "--restore", "nightly").code == 1


def test_place_needs_restore(place: Place) -> None:
    assert place.run("show", "nightly", "--place", "offsite").code == 2


def test_restoring_from_an_unknown_place_is_an_error(place: Place) -> None:
    full, _ = chain(place)
    result = place.run("show", "--restore", full.key, "--place", "offsite")

    assert result.code == 1
    assert "there is no such place" in result.err


@pytest.fixture(name="bucket")
def _bucket(place: Place, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    ADMIN.use(monkeypatch)
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", **seaweedfs.place(place.folder.name)}}
    return S3Store(**seaweedfs.place(f"{place.folder.name}/demo"))


def copy(place: Place, bucket: S3Store, *records: Record) -> None:
    """Copy artifacts to the bucket and write their copy notes, as the agent does."""
    notes = place_of("offsite", Settings.model_validate(place.settings)).record_notes
    for record in records:
        for file in record.files:
            key = f"{record.set}/{record.database}/{file.name}"
            bucket.put_artifact(key, place.root / key, file, ignore)
        bucket.create(record_key(record.key), record.to_json())
        notes.add(record.key, record.to_json())


def test_an_artifact_that_only_a_bucket_has_is_fetched_from_there(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    (place.root / full.key).unlink()
    by_itself = place.run("show", "--restore", differential.key)
    (place.root / record_key(full.key)).unlink()
    (place.root / record_key(differential.key)).unlink()
    without_volume = place.run("show", "--restore", differential.key)
    uri = f"s3://{BUCKET}/{place.folder.name}/demo/{full.key}"

    assert (by_itself.code, by_itself.out) == (0, without_volume.out)
    assert f"# {differential.key} at offsite" in by_itself.out
    endpoint = place.settings["storage"]["destinations"]["offsite"]["endpoint_url"]
    fetched = f"aws s3 cp --endpoint-url '{endpoint}' --region 'us-east-1' '{uri}' \"$FOLDER/\""
    assert fetched in by_itself.out.splitlines()
    assert full.files[0].sha256 in by_itself.out
    assert "aws configure set default.s3.addressing_style path" in by_itself.out


def test_a_given_place_is_used_even_if_the_volume_has_the_chain(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full)
    local = place.run("show", "--restore", "--json", full.key)
    asked = place.run("show", "--restore", "--json", full.key, "--place", "offsite")
    lacking = place.run("show", "--restore", differential.key, "--place", "offsite")

    assert (local.json["place"], asked.json["place"]) == ("local", "offsite")
    assert any("seedURI" in line for step in local.json["steps"] for line in step["lines"])
    assert (lacking.code, lacking.out) == (1, "")


def test_a_copy_that_was_deleted_is_no_seed(place: Place, bucket: S3Store) -> None:
    full, differential = chain(place)
    copy(place, bucket, full)
    place_of("offsite", Settings.model_validate(place.settings)).record_notes.give_up(differential.key)

    assert "seedURI" not in place.run("show", "--restore", differential.key).out


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_damaged_copy_is_no_seed(place: Place, bucket: S3Store, fault: str) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    if fault == "damaged":
        bucket.create(damage_key(full.key), b"{}")
        offsite = place_of("offsite", Settings.model_validate(place.settings))
        offsite.damage_notes.note(full.key, damaged=True)
    else:
        bucket.delete(full.key)
    result = place.run("show", "--restore", differential.key)

    assert (result.code, "# Restore the database on that server" in result.out) == (0, True)
    assert "seedURI" not in result.out


def test_an_unreachable_bucket_is_a_seed_with_a_warning(
    place: Place, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, differential = chain(place)
    copy(place, bucket, full, differential)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    out = place.run("show", "--restore", differential.key).out

    assert "seedURI" in out
    assert "# [cypher-shell -d system] offsite could not be reached from here" in out
