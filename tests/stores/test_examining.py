"""The doctor at a real bucket: its configuration, the permissions of the credentials, and probes."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from backup_agent.core.doctor.destination import LifecycleRule, NotSeen, ShownFeature, StoreFacts
from backup_agent.core.reasons import Reason
from backup_agent.stores.s3 import S3Store, examine
from tests.components.seaweedfs import WRITE_ONLY, Identity, SeaweedFS
from tests.stores.fault_proxy import Fault, FaultProxy

pytestmark = pytest.mark.components

Make = Callable[..., S3Store]


def keys_in(seaweedfs: SeaweedFS, bucket: str) -> list[str]:
    return [one["Key"] for one in seaweedfs.client().list_objects_v2(Bucket=bucket).get("Contents", ())]


def new_bucket(seaweedfs: SeaweedFS, **options: Any) -> str:
    name = f"b-{uuid4().hex[:12]}"
    seaweedfs.client().create_bucket(Bucket=name, **options)
    return name


def test_without_a_probe_nothing_is_written(seaweedfs: SeaweedFS, s3_store: Make) -> None:
    bucket = new_bucket(seaweedfs)

    found = examine(s3_store(bucket=bucket), probe=False, write=False)

    assert keys_in(seaweedfs, bucket) == []
    assert found.listing is None
    assert isinstance(found.conditional_writes, NotSeen)
    assert (found.encryption, found.versioning, found.lock, found.rules) == ("", False, None, ())
    assert found.clock_offset is not None
    assert abs(found.clock_offset) < 5


def test_a_probe_shows_conditions_and_checksums_by_one_small_object(seaweedfs: SeaweedFS, s3_store: Make) -> None:
    bucket = new_bucket(seaweedfs)

    found = examine(s3_store(bucket=bucket), probe=True, write=False)

    assert len(keys_in(seaweedfs, bucket)) == 1
    assert isinstance(found.conditional_writes, ShownFeature)
    assert isinstance(found.checksums, ShownFeature)
    assert (found.conditional_writes.has, found.checksums.has, found.reading, found.archived) == (
        True,
        True,
        None,
        False,
    )
    assert isinstance(found.deletion, NotSeen)


def test_writing_shows_uploads_and_deletion_and_leaves_one_small_object(seaweedfs: SeaweedFS, s3_store: Make) -> None:
    bucket = new_bucket(seaweedfs)
    store = s3_store(bucket=bucket)

    for _ in range(2):
        found = examine(store, probe=False, write=True)

    assert len(keys_in(seaweedfs, bucket)) == 1
    assert seaweedfs.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert isinstance(found.multipart, ShownFeature)
    assert isinstance(found.deletion, ShownFeature)
    assert (found.multipart.has, found.deletion.has, found.reading) == (True, True, None)


def test_the_configuration_of_the_bucket_is_read(seaweedfs: SeaweedFS, s3_store: Make, prefix: str) -> None:
    bucket, client = new_bucket(seaweedfs), seaweedfs.client()
    rules = [
        {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": prefix[:3]}, "Expiration": {"Days": 30}},
        {"ID": "others", "Status": "Enabled", "Filter": {"Prefix": "elsewhere/"}, "Expiration": {"Days": 1}},
        {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
    ]
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    default = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=default)

    found = examine(s3_store(bucket=bucket), probe=False, write=True)

    assert (found.encryption, found.versioning) == ("AES256", True)
    assert found.rules == (LifecycleRule("'tidy'", deletes_after="30 days"),)
    assert isinstance(found.deletion, NotSeen)  # it would leave a delete marker
    markers = client.list_object_versions(Bucket=bucket).get("DeleteMarkers", [])
    assert markers == []


def test_a_default_retention_is_seen(seaweedfs: SeaweedFS, s3_store: Make) -> None:
    bucket = new_bucket(seaweedfs, ObjectLockEnabledForBucket=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    seaweedfs.client().put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)

    assert examine(s3_store(bucket=bucket), probe=False, write=False).lock == "GOVERNANCE, 1 day"


def test_credentials_without_the_right_to_list_are_reported(
    s3_store: Make, credentials: Callable[[Identity], None]
) -> None:
    credentials(WRITE_ONLY)

    found = examine(s3_store(), probe=True, write=True)

    assert found == StoreFacts(listing=found.listing)
    assert found.listing is not None
    assert found.listing.reason is Reason.STORAGE_AUTH


def test_configuration_that_may_not_be_read_is_unknown(s3_store: Make, proxy: FaultProxy) -> None:
    questions = r"GET \S*\?(encryption|object-lock|lifecycle|versioning)"
    proxy.inject(Fault(questions, "refuse", status=403, code="AccessDenied", times=None))

    found = examine(s3_store(endpoint_url=proxy.endpoint_url), probe=False, write=False)

    for answer in (found.encryption, found.lock, found.rules, found.versioning):
        assert isinstance(answer, NotSeen)
        assert "AccessDenied" in answer.why
