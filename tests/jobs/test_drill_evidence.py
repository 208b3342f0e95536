"""Evidence of drills at a destination, which is a real bucket.

A pass writes the evidence of the agent's own drills there. It also reads evidence that drills without the agent wrote.
Other programs with the same credentials can write such evidence too. Unsigned evidence only alerts: it proves nothing,
and marks no artifact as damaged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import drill_notes, evidence, reported_drills
from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.catalog.evidence import NotedDrill
from backup_agent.catalog.pending_evidence import pending_at
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.record_notes import digest_of
from backup_agent.core.artifacts.keys import damage_key
from backup_agent.core.artifacts.names import DEFAULT_SET, VOLUME, DatabaseName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.lines import AuditKind
from backup_agent.core.drill.evidence import DatabaseDrills, Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.jobs.prune import prune
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import a_record, an_event_writer, settings_with
from tests.catalog.places import FilledPlace
from tests.components.seaweedfs import ADMIN, SeaweedFS

NOW = datetime.now(UTC).replace(microsecond=0)
PASSED, FAILED = DrillOutcome.PASSED, DrillOutcome.ARTIFACT_FAILED


@dataclass
class World:
    """A destination with two fulls of a database, and keys: of drills, of the agent, of a stranger."""

    root: Path
    storage: dict[str, Any]
    records: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        (self.root / "local").mkdir(parents=True)
        self.trusted = key_file.create(self.root / "job.pem")
        self.agents = key_file.create(self.root / "agent.pem")
        key_file.create(self.root / "stranger.pem")
        now = datetime.now(UTC)
        self.records = tuple(
            FilledPlace(self.place()).add(a_record(hour, finished=now - timedelta(hours=2 - number)))
            for number, hour in enumerate((0, 24))
        )

    def settings(self, key: str | None = None, **more: Any) -> Any:
        signing = {"signing": {"key_file": str(self.root / f"{key}.pem")}} if key is not None else {}
        storage = {"root": str(self.root / "local"), "destinations": {"offsite": self.storage}}
        return settings_with(schedules={}, storage=storage, **{**signing, **more})

    def place(self, **more: Any) -> Place:
        settings = {"drill": {"trusted": [self.trusted]}, "signing": {"key_file": str(self.root / "agent.pem")}}
        return place_of("offsite", self.settings(**{**settings, **more}))

    def done(self, outcome: DrillOutcome = PASSED, number: int = 1, **fields: Any) -> Evidence:
        """Return the evidence of a drill of an artifact."""
        record = self.records[number]
        facts = {
            "key": record.key,
            "since": NOW - timedelta(minutes=5),
            "started": NOW - timedelta(minutes=6),
            "place": "offsite",
            "level": Level.CHECK,
            "reached": Level.CHECK if outcome is PASSED else None,
            "outcome": outcome,
            "reason": None if outcome is PASSED else Reason.BAD_ARTIFACT,
            "error": None if outcome is PASSED else "refused \x1b[31m",
            "restore_seconds": 12.5,
            "size": record.size,
            "chain": {record.key: digest_of(record.to_json())},
            "proven": True,
        }
        return Evidence.model_validate({**facts, **fields})

    def report(self, done: Evidence, key: str | None = "job") -> None:
        """Write evidence as a drill without the agent does, signed by a key."""
        reported_drills.write(self.place(), Keyring(self.settings(key)), done)

    def put(self, content: bytes, number: int = 1) -> None:
        """Write an object under the key of an artifact's evidence."""
        name = reported_drills.reported_key(self.records[number].key)
        self.place().store.delete(name)
        self.place().store.create(name, content)

    def prune(self, **more: Any) -> list[dict[str, Any]]:
        """Make a pass of retention, which reads the evidence. Return its events about evidence."""
        events: list[dict[str, Any]] = []
        prune(PruneTask(run="p", place="offsite", settings={}), self.place(**more), an_event_writer(events))
        warned = "evidence of a drill not read or written"
        return [one for one in events if one["event"] in ("drilled", "drill_marked") or one.get("text") == warned]

    @property
    def drills(self) -> DatabaseDrills:
        return drill_notes.of_database(self.place(), DEFAULT_SET, DatabaseName("orders"))

    @property
    def marked(self) -> bool:
        return self.place().store.stat(damage_key(self.records[1].key)) is not None

    @property
    def noted(self) -> NotedDrill | None:
        return reported_drills.last_drill(self.place(), self.records[1].key)


@pytest.fixture(name="world")
def _world(tmp_path: Path, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> World:
    ADMIN.use(monkeypatch)
    return World(tmp_path, {"type": "s3", **seaweedfs.place(tmp_path.name)})


def test_signed_evidence_counts_like_a_drill_of_the_agent_and_is_read_once(world: World) -> None:
    world.report(world.done())
    [event] = world.prune()

    assert (event["reported"], event["marked"]) == ("signed", False)
    assert world.drills.proven(Level.CHECK) == NOW - timedelta(minutes=5)
    assert (world.drills.restore_seconds, world.drills.claimed) == (12.5, None)
    assert str(world.noted) == f"passed check {NOW - timedelta(minutes=5):%Y-%m-%d}"
    log = AuditSource.of_place(place_of(VOLUME, world.settings()))
    [line] = [one for one in log.lines() if one.kind == AuditKind.DRILLED]
    assert (line.facts["evidence"], line.facts["key"]) == ("signed", world.trusted)
    assert world.prune() == []
    world.report(world.done(since=NOW))
    assert [one["reported"] for one in world.prune()] == ["signed"]


def test_evidence_of_the_agents_own_drill_is_written_and_the_damaged_artifact_is_marked(world: World) -> None:
    place = world.place()
    pending_at(place).add(world.done(FAILED))
    pending_at(place).add(world.done(key=world.records[0].key.replace("orders-2026", "orders-2020")))
    [event] = world.prune()

    assert (event["event"], event["key"], event["drills"]["marked"] is not None) == (
        "drill_marked",
        world.records[1].key,
        True,
    )
    assert evidence.read(place, Keyring(place.settings), world.records[1].key) is not None
    assert world.marked
    assert world.drills.marked is not None
    assert list(pending_at(place)) == []
    log = AuditSource.of_place(place_of(VOLUME, world.settings()))
    assert [one.key for one in log.lines() if one.kind == AuditKind.DAMAGED] == [world.records[1].key]
    assert world.prune() == []


def test_noted_evidence_is_kept_if_a_later_drill_proves_less(world: World) -> None:
    notes = pending_at(world.place())
    for done in (world.done(), world.done(level=Level.READ), world.done(DrillOutcome.NOT_DONE)):
        notes.add(done)

    assert [(one.level, one.outcome) for one in notes] == [(Level.CHECK, PASSED)]


@pytest.mark.parametrize("key", [None, "stranger"], ids=["not signed", "signed by a stranger"])
def test_a_claim_alerts_but_proves_and_marks_nothing(world: World, key: str | None) -> None:
    world.report(world.done(FAILED), key)
    [event] = world.prune()

    assert (event["reported"], event["marked"], event["evidence"]["error"]) == ("claimed", False, None)
    assert world.drills.failed == world.drills.claimed is not None
    assert not world.marked
    assert str(world.noted).endswith(", not signed")
    world.report(world.done(since=NOW), key)
    world.prune()
    assert (world.drills.failed, world.drills.passed) == (None, {})


@pytest.mark.parametrize(
    ("key", "more", "marked"),
    [
        pytest.param("job", {}, True, id="a key of drill.trusted"),
        pytest.param("agent", {}, False, id="the agent's own key"),
        pytest.param("job", {"drill": {}}, False, id="a key that is not trusted any more"),
    ],
)
def test_only_a_key_for_drills_marks_a_damaged_artifact(
    world: World, key: str, more: dict[str, Any], marked: bool
) -> None:
    world.report(world.done(FAILED), key)
    [event] = world.prune(**more)

    assert (event["marked"], world.marked) == (marked, marked)
    assert (world.drills.marked is not None) == marked
    assert world.drills.failed is not None


def test_the_only_point_of_a_database_is_not_marked(world: World) -> None:
    FilledPlace(world.place()).remove(world.records[0])
    world.report(world.done(FAILED))

    assert [one["marked"] for one in world.prune()] == [False]
    assert not world.marked


def test_signed_evidence_about_other_records_than_the_agents_is_a_claim(world: World) -> None:
    world.report(world.done(FAILED, chain={world.records[1].key: 64 * "0"}))

    assert [one["reported"] for one in world.prune()] == ["claimed"]
    assert not world.marked


def test_evidence_with_a_time_in_the_future_counts_as_of_now(world: World) -> None:
    world.report(world.done(FAILED, since=NOW + timedelta(days=400)), None)
    world.prune()
    world.report(world.done(since=datetime.now(UTC) + timedelta(minutes=5)))  # NOW may be half an hour ago
    world.prune()

    assert world.drills.failed is None


def as_of(world: World, **fields: Any) -> bytes:
    return Keyring(world.settings("job")).sign(world.done(FAILED, **fields)).to_json()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(lambda _: b"{", "Invalid JSON", id="malformed"),
        pytest.param(lambda _: bytes(2**20 + 1), "is larger than 1048576 bytes", id="oversized"),
        pytest.param(
            lambda world: as_of(world, number=0), "it is the evidence of default/orders", id="of another artifact"
        ),
        pytest.param(lambda world: as_of(world, place="onsite"), "at onsite", id="of another place"),
    ],
)
def test_an_object_that_is_not_valid_evidence_causes_one_warning(
    world: World, content: Callable[[World], bytes], fault: str
) -> None:
    world.put(content(world))
    [event] = world.prune()

    assert fault in event["because"]
    assert world.prune() == []
    assert (world.drills.last, world.drills.claimed, world.noted, world.marked) == (None, None, None, False)
    world.report(world.done())
    assert [one["reported"] for one in world.prune()] == ["signed"]


def test_evidence_is_deleted_with_its_artifact(world: World) -> None:
    world.report(world.done(number=0))
    world.prune()
    kept = reported_drills.listed(world.place().store)
    world.storage["retention"] = {"last": 1, "max_delete_share": 1}
    world.prune()

    assert (list(kept), reported_drills.listed(world.place().store)) == ([world.records[0].key], {})
    assert not reported_drills.notes_at(world.place()).has(world.records[0].key)
