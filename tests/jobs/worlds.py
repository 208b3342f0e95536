"""Builders of places as an agent leaves them after some weeks: records, marks, notes, and files of other programs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.keys import damage_key, hold_key, record_key
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.names import DatabaseName, artifact_name
from backup_agent.settings.model import Settings
from tests.builders import a_header, a_record, content, settings_tree

NOW = datetime.now(UTC).replace(microsecond=0)
RETENTION = {"last": 1, "max_delete_share": 1}


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def key(days: float, database: str = "orders", set_name: str = "default") -> str:
    """Return the key of an artifact that was taken `days` days ago."""
    return f"{set_name}/{database}/{artifact_name(DatabaseName(database), ago(days))}"


@dataclass
class World:
    """A volume, and the place under test, which is the volume itself or a destination."""

    root: Path
    place: str = "local"
    destinations: dict[str, Any] = field(default_factory=dict)
    elsewhere: Callable[[str, bytes], None] | None = None
    """Puts a file at the place. By default files are put on the volume."""
    strangers: dict[str, bytes] = field(default_factory=dict)
    """Files of other programs, with their content."""
    damaged: set[str] = field(default_factory=set)
    """Artifacts with a damage mark."""
    kept: list[str] = field(default_factory=list)
    """Restore points that retention keeps, by a rule or a hold."""
    going: list[str] = field(default_factory=list)
    """Artifacts that retention deletes."""
    young: str = ""
    """An orphan of the agent whose grace period has not ended."""

    @property
    def tree(self) -> dict[str, Any]:
        """The settings, as a task carries them."""
        storage = {"root": str(self.root), "destinations": self.destinations}
        return settings_tree(schedules={}, storage=storage, retention=RETENTION)

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(self.tree)

    def put(self, key: str, data: bytes) -> None:
        """Write a file at the place under test."""
        if self.elsewhere is not None:
            self.elsewhere(key, data)
            return
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def add(
        self, days: float, lowest: int, highest: int, *, parent: str | None = None, parts: int = 0, **which: Any
    ) -> str:
        """Put an artifact of these append indexes, and its record, at the place. Without a parent it is a full."""
        database = which.get("database", "orders")
        header = a_header(
            full=parent is None, database=database, taken=ago(days), lowest=lowest, highest=highest, recovered=False
        )
        record = a_record(header=header, parent=parent, parts=parts, finished=header.taken, **which)
        for file in record.files:
            self.put(f"{record.set}/{record.database}/{file.name}", content(file.name))
        self.put(record_key(record.key), record.to_json())
        there = "local" if self.elsewhere is None else self.place
        place_of(there, self.settings).record_notes.add(record.key, record.to_json())
        return record.key

    def hold(self, key: str) -> None:
        """Write a hold beside an artifact. At a destination also write the note, without which the hold does not count."""
        self.put(hold_key(key), a_hold(key))
        if self.place != "local":
            self.note("holds", key, a_hold(key))

    def damage(self, key: str, file: str) -> None:
        """Change a file of an artifact, and mark the artifact as damaged."""
        self.put(damage_key(key), Damage(key=key, since=NOW, found="x").to_json())
        place_of(self.place, self.settings).damage_notes.note(key, damaged=True)
        self.put(file, b"rotten")
        self.damaged.add(key)

    def note(self, kind: str, key: str, data: bytes) -> None:
        """Write a note of a kind about the place. Notes are on the volume."""
        path = place_of(self.place, self.settings).folder(kind) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def begin(self, key: str, doing: Doing, days: float) -> None:
        """Write the intent to publish or delete an artifact of one file."""
        self.note("journal", key, Intent(key=key, doing=doing, files=(key,), since=ago(days)).to_json())

    def age_intents(self, *, days: float) -> None:
        """Make every intent for the place `days` days old."""
        for path in self.root.glob(f".agent/journal/{self.place}@*/*/*/*"):
            begun = Intent.from_json(path.read_bytes())
            path.write_bytes(begun.model_copy(update={"since": ago(days)}).to_json())

    def orphan(self, days: float, doing: Doing, begun: float) -> str:
        """Put an artifact without a record at the place, with an intent that is `begun` days old."""
        self.put(key(days), b"orphan")
        self.begin(key(days), doing, begun)
        return key(days)

    def strange(self, key: str) -> None:
        """Put a file of another program at the place."""
        self.strangers[key] = content(key)
        self.put(key, content(key))

    @contextmanager
    def without(self, *keys: str) -> Iterator[None]:
        """Remove artifacts and their records from the volume within the block."""
        taken = {path: path.read_bytes() for key in keys for path in self.root.glob(f"{key}*")}
        for path in taken:
            path.unlink()
        yield
        for path, data in taken.items():
            path.write_bytes(data)

    def remove(self, key: str) -> None:
        """Remove an artifact and its record from the volume."""
        for path in self.root.glob(f"{key}*"):
            path.unlink()


def a_hold(key: str) -> bytes:
    return Hold(key=key, since=NOW, reason="audit", request="h").to_json()


def aged(world: World) -> World:
    """Fill a place with chains (old ones, a held one, a damaged one), orphans, marks and files of other programs."""
    first = world.add(9, 1, 10)
    held = world.add(8, 11, 20, parent=first)
    behind = world.add(7, 21, 30, parent=held)
    full = world.add(6, 1, 40)
    damaged = world.add(5, 41, 50, parent=full, parts=2)
    newest = world.add(2, 61, 70, parent=world.add(3, 1, 60))
    alone = world.add(4, 1, 5, database="neo4j")
    world.damage(damaged, f"{damaged}.1")
    world.kept += [held, newest, alone]
    world.going += [behind, full, damaged]
    if world.place == "local":
        world.hold(held)
        gone = world.add(20, 1, 10, set_name="test")
        world.going += [gone, world.add(19, 11, 20, parent=gone, set_name="test")]
    else:
        # One hold is wanted and not written yet, one is written and no longer wanted.
        world.note("holds", held, a_hold(held))
        world.hold(behind)
        world.note("holds", behind, b"released\n")
    world.going += [world.orphan(12, Doing.PUBLISHING, 3), world.orphan(11, Doing.DELETING, 0.1)]
    world.young = world.orphan(0.1, Doing.PUBLISHING, 0.1)
    for strange in ("default/orders/notes.txt", key(13), f"default/x/y/{artifact_name(DatabaseName('y'), ago(30))}"):
        world.strange(strange)
    return world


def owing(world: World) -> World:
    """Fill a volume with artifacts whose copies are missing: a chain, and a full of two files."""
    world.kept = [world.add(2, 11, 20, parent=world.add(3, 1, 10)), world.add(1, 1, 30, parts=1)]
    return world


def chained(world: World) -> World:
    """Fill a volume with a chain of a full and two differentials, all kept."""
    full = world.add(3, 1, 10)
    first = world.add(2, 11, 20, parent=full)
    world.kept = [full, first, world.add(1, 21, 30, parent=first)]
    return world


def small(world: World) -> World:
    """Fill a place with as few files as possible for each kind of deletion."""
    full = world.add(6, 1, 10)
    differential = world.add(5, 11, 20, parent=full)
    held = world.add(4, 1, 30)
    base = world.add(2, 1, 60)
    newest = world.add(1, 61, 70, parent=base)
    world.kept += [newest, held]
    world.going += [differential, full]
    world.hold(held)
    world.going.append(world.orphan(12, Doing.DELETING, 0.1))
    if world.place != "local":
        world.hold(differential)
        world.note("holds", differential, b"released\n")
        world.note("holds", base, a_hold(base))
    # A deletion that was never carried out: the record exists, and the artifact is kept.
    world.begin(base, Doing.DELETING, 0.1)
    world.strange("default/orders/notes.txt")
    return world
