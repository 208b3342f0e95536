"""Passes at the real server: in buckets with versions, with default retention, and with the policies of docs/s3.md."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.core.artifacts.keys import damage_key, hold_key, record_key
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.core.requests.answers import Outcome, PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.jobs.prune import prune
from backup_agent.settings.model import Settings
from tests.builders import an_event_writer
from tests.components.seaweedfs import LIMITED, SeaweedFS
from tests.jobs.worlds import NOW, RETENTION, World, small
from tests.stores import policies
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.files import PART, ignore, make

pytestmark = pytest.mark.components


@pytest.fixture
def client(seaweedfs: SeaweedFS) -> Iterator[Any]:
    client = seaweedfs.client()
    yield client
    client.close()


@pytest.fixture
def versioned(client: Any) -> str:
    """Return a new bucket that keeps old versions."""
    name = f"versioned-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def locked(client: Any) -> str:
    """Return a new bucket whose default retention locks each version."""
    name = f"locked-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    return name


@pytest.fixture
def world_in(
    seaweedfs: SeaweedFS,
    credentials: Callable[..., None],  # noqa: ARG001  wanted for what it sets
    tmp_path: Path,
) -> Callable[..., tuple[World, Place]]:
    """Return a destination in a bucket, with a few artifacts that retention keeps or deletes."""

    def make(bucket: str, **more: Any) -> tuple[World, Place]:
        root = tmp_path / "backups"
        root.mkdir()
        destination = {**seaweedfs.place("neo4j"), "retention": RETENTION, **more, "bucket": bucket}
        world = World(root, "offsite", {"offsite": destination})
        store = place_of("offsite", world.settings).store
        world.elsewhere = store.create
        return small(world), place_of("offsite", world.settings)

    return make


def apply_retention(place: Place, events: list[dict[str, Any]] | None = None, **task: Any) -> PlaceResult:
    """Apply retention at a place."""
    writer = an_event_writer([] if events is None else events)
    return prune(PruneTask(run="prune-1", place=place.name, settings={}, **task), place, writer)


def settings_of(world: World, **changes: Any) -> Settings:
    """Return the settings with another destination."""
    destination = {**world.destinations["offsite"], **changes}
    if not destination.get("deletes", True):
        del destination["retention"]
    return Settings.model_validate(
        {**world.tree, "storage": {"root": str(world.root), "destinations": {"offsite": destination}}}
    )


def markers(client: Any, bucket: str) -> dict[str, int]:
    """Return the number of delete markers of each key below the place."""
    found = client.list_object_versions(Bucket=bucket, Prefix="neo4j/demo/").get("DeleteMarkers", ())
    keys = [one["Key"].removeprefix("neo4j/demo/") for one in found]
    return {key: keys.count(key) for key in keys}


def test_a_deletion_that_leaves_old_versions_frees_no_space(
    versioned: str, world_in: Callable[..., tuple[World, Place]]
) -> None:
    world, place = world_in(versioned)
    events: list[dict[str, Any]] = []

    result = apply_retention(place, events)

    assert (result.outcome, result.deleted, result.freed) == (Outcome.SUCCEEDED, 2, 0)
    assert result.kept_versions == sum(one.size for one in result.deletions)
    deleted = [one for one in events if one["event"] == "pruned"]
    assert [one["freed"] for one in deleted] == [False, False]
    assert all(place.store.stat(key) is None for key in world.going)


def test_no_key_is_deleted_that_never_existed(
    client: Any, versioned: str, world_in: Callable[..., tuple[World, Place]]
) -> None:
    world, place = world_in(versioned)
    differential, full, orphan = world.going

    apply_retention(place)
    apply_retention(place)

    expected = {full, record_key(full), differential, record_key(differential), hold_key(differential), orphan}
    assert markers(client, versioned) == dict.fromkeys(expected, 1)
    assert damage_key(full) not in expected


def test_in_a_bucket_without_versions_deletions_free_space(
    client: Any, world_in: Callable[..., tuple[World, Place]]
) -> None:
    bucket = f"plain-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    _, place = world_in(bucket)

    result = apply_retention(place)

    assert (result.freed, result.kept_versions) == (sum(one.size for one in result.deletions), None)


def test_passes_in_a_bucket_with_versions_write_one_version_of_the_lease_a_minute(
    client: Any, versioned: str, world_in: Callable[..., tuple[World, Place]]
) -> None:
    world, _ = world_in(versioned)
    for _ in range(10):
        with hold_place(place_of("offsite", world.settings)) as held:
            held.check()

    found = client.list_object_versions(Bucket=versioned, Prefix="neo4j/demo/.agent/lease.json")["Versions"]
    assert len(found) == 1


def test_default_retention_that_allows_new_versions_stops_nothing(
    locked: str, world_in: Callable[..., tuple[World, Place]]
) -> None:
    _, place = world_in(locked)

    assert apply_retention(place).deleted == 2
    with hold_place(place) as held:
        held.confirm()


def test_the_error_names_a_default_retention_that_forbids_to_replace_the_lease(
    locked: str, world_in: Callable[..., tuple[World, Place]], proxy: FaultProxy
) -> None:
    _, place = world_in(locked, endpoint_url=proxy.endpoint_url)
    with hold_place(place) as held:
        proxy.inject(Fault("^PUT .*lease", "refuse", status=403, code="AccessDenied", times=None))
        with pytest.raises(
            PermanentError, match="the default retention of the bucket has locked the object until 20"
        ) as no:
            held.confirm()

    assert no.value.failure.reason is Reason.STORAGE_AUTH
    assert "default retention" in no.value.failure.advice


def test_records_that_were_archived_by_a_rule_of_the_bucket_are_reported_and_nothing_is_deleted(
    bucket: str, world_in: Callable[..., tuple[World, Place]], proxy: FaultProxy
) -> None:
    world, place = world_in(bucket, endpoint_url=proxy.endpoint_url)
    proxy.inject(Fault("^GET .*backup.json", "refuse", status=403, code="InvalidObjectState", times=None))

    result = apply_retention(place)

    assert (result.outcome, result.deleted) == (Outcome.SUCCEEDED_WITH_WARNINGS, None)
    assert (
        sum("InvalidObjectState" in warning for warning in result.warnings) == len({*world.kept, *world.going[:2]}) + 1
    )


# Policies


@pytest.fixture
def allow(client: Any, credentials: Callable[..., None]) -> Callable[[str, str], None]:
    """Return a function that gives the client the permissions of a policy in docs/s3.md."""

    def allow(bucket: str, use: str) -> None:
        policies.allow(client, use, bucket)
        credentials(LIMITED)

    return allow


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"plain-{uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    return name


def is_refused(act: Callable[[], object]) -> bool:
    with pytest.raises(PermanentError) as error:
        act()
    return error.value.failure.reason is Reason.STORAGE_AUTH


def copy(place: Place, tmp_path: Path, size: int) -> None:
    """Store an artifact, resume an interrupted upload, and read it again."""
    name = f"default/hr/hr-2026-11-23T02-00-{size % 60:02}.backup"
    file = make(tmp_path / "source", size)
    sent = 0

    def stop(count: int) -> None:
        nonlocal sent
        sent += count
        if sent > PART:
            raise TransientError(Reason.STORAGE_UNREACHABLE, "stopped")

    with suppress(TransientError):
        place.store.put_artifact(name, tmp_path / "source", file, stop)
    place.store.put_artifact(name, tmp_path / "source", file, ignore)
    with place.store.open(name) as content:
        assert content.read() == (tmp_path / "source").read_bytes()


def test_the_policy_for_agents_is_enough_for_all_their_work(
    bucket: str, world_in: Callable[..., tuple[World, Place]], allow: Callable[[str, str], None], tmp_path: Path
) -> None:
    world, _ = world_in(bucket)
    allow(bucket, "agent")
    place = place_of("offsite", world.settings)

    assert apply_retention(place).deleted == 2
    for size in (100, 3 * PART):
        copy(place, tmp_path, size)
    assert all(place.store.stat(key) is None for key in world.going)
    elsewhere = place_of("offsite", settings_of(world, prefix="other"))
    assert is_refused(lambda: elsewhere.store.create("x", b"{}"))


def test_an_agent_without_the_right_to_delete_copies_and_deletes_nothing(
    bucket: str, world_in: Callable[..., tuple[World, Place]], allow: Callable[[str, str], None], tmp_path: Path
) -> None:
    world, _ = world_in(bucket)
    allow(bucket, "agent without deletion")
    place = place_of("offsite", settings_of(world, deletes=False))

    before = sorted(one.key for one in place.store.list())
    for _ in range(2):
        result = apply_retention(place, forgotten={"orders": NOW})
        assert (result.outcome, result.deleted, result.deletions) == (Outcome.SUCCEEDED, None, ())
    for size in (100, 3 * PART):
        copy(place, tmp_path, size)
    assert set(before) < {one.key for one in place.store.list()}
    with hold_place(place) as held:
        held.confirm()
        assert not held.may_delete
        assert held.number == 1
        assert "deletes is false" in (held.no_deletion or pytest.fail("deletions are allowed")).error
    assert is_refused(lambda: place.store.delete(before[0]))


def test_the_policy_for_servers_allows_reading_only(
    bucket: str, world_in: Callable[..., tuple[World, Place]], allow: Callable[[str, str], None]
) -> None:
    world, _ = world_in(bucket)
    allow(bucket, "servers")
    place = place_of("offsite", world.settings)

    listed = [one.key for one in place.store.list()]
    assert set(world.kept) < set(listed)
    for key in listed:
        with place.store.open(key) as content:
            content.read()
    assert place.store.stat("default/orders/absent") is None
    assert is_refused(lambda: place.store.swap("default/x", b"{}", None))
    assert is_refused(lambda: place.store.delete(listed[0]))
