"""The catalog of a real bucket: listed, indexed, compared and rebuilt like that of a volume."""

from pathlib import Path

import pytest
from botocore.response import StreamingBody

from backup_agent.catalog.contents import survey
from backup_agent.catalog.diff import diff
from backup_agent.catalog.rebuild import rebuild
from backup_agent.core.artifacts.drift import Kind
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.stores.s3 import S3Store
from tests import memory
from tests.builders import a_record
from tests.catalog.places import FilledPlace, filled
from tests.components.seaweedfs import ADMIN, BUCKET, SeaweedFS


@pytest.fixture(name="bucket")
def _bucket(seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilledPlace:
    ADMIN.use(monkeypatch)
    return filled(tmp_path / "root", S3Store(**seaweedfs.place(tmp_path.name)), "offsite")


def test_a_bucket_is_cataloged_like_a_volume(bucket: FilledPlace, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    volume = filled(root)
    records = [a_record(hour, parts=hour % 2, set_name="a") for hour in range(10)]
    records += [a_record(hour, parts=hour % 2, set_name="a-b") for hour in (24, 25)]
    for record in records:
        volume.add(record)
        bucket.add(record, recognised=record is not records[-1])
    hold = bucket.hold(records[0])
    offsite = bucket.place
    kept, anew = tmp_path / "kept", offsite.index

    before = survey(bucket.at(kept))
    rebuilt = rebuild(offsite)

    found = survey(bucket.at(kept))

    assert before.unrecognised.keys() == {records[-1].key}
    assert found.entries == survey(volume.place, indexed=False).entries
    assert found.holds == {records[0].key: hold}
    assert anew.read_bytes() == kept.read_bytes()
    assert rebuilt.noted == (records[-1].key,)
    assert list(diff(offsite, checksums=True)) == []

    bucket.store.delete(records[3].key)
    bucket.store.delete(record_key(records[4].key))
    bucket.put("a/orders/strange.txt", b"mine")
    bucket.put(records[5].key, b"x" * records[5].files[0].size)
    after = survey(bucket.at(kept))

    assert {one.kind for one in diff(offsite, checksums=True)} == {
        Kind.RECORD_WITHOUT_ARTIFACT,
        Kind.ARTIFACT_WITHOUT_RECORD,
        Kind.VANISHED,
        Kind.FOREIGN,
        Kind.CHECKSUM_CHANGED,
        Kind.CHAIN_BROKEN,
    }
    assert after.without_artifact.keys() == {records[3].key}
    assert [orphan.key for orphan in after.orphans] == [records[4].key]


def test_an_object_of_300_mb_in_the_place_of_a_record_is_unreadable_and_is_not_loaded(
    bucket: FilledPlace, seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, forged, held = (bucket.add(a_record(hour)) for hour in (0, 1, 2))
    bucket.hold(held)
    memory.sparse(tmp_path / "huge", 300 * 1000**2)
    client = seaweedfs.client()
    for key in (record_key(forged.key), hold_key(held.key)):
        with (tmp_path / "huge").open("rb") as body:
            client.put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/{key}", Body=body)
    read, counted = StreamingBody.read, list[int]()

    def counting(body: StreamingBody, amt: int | None = None) -> bytes:
        found = bytes(read(body, amt))
        counted.append(len(found))
        return found

    monkeypatch.setattr(StreamingBody, "read", counting)
    found = survey(bucket.place)

    assert found.entries.keys() == {kept.key, held.key}
    assert {one.key for one in found.unreadable} == {record_key(forged.key), hold_key(held.key)}
    assert all("is larger than" in one.fault for one in found.unreadable)
    assert sum(counted) < 2**20
