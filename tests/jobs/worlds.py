"""Places as an agent leaves them after some weeks, written here by hand: records, marks, notes, strangers' files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

NOW = datetime.now(UTC).replace(microsecond=0)
RETENTION = {"last": 1, "max_delete_share": 1}


def name(database: str, days: float) -> str:
    """Return what neo4j-admin calls an artifact that was taken so many days ago."""
    return f"{database}-{NOW - timedelta(days=days):%Y-%m-%dT%H-%M-%S}.backup"


def content(file: str) -> bytes:
    """Return what stands in the file of an artifact."""
    return f"what was in {file.rpartition('/')[2]}\n".encode() * 40


def record(
    key: str, days: float, lowest: int, highest: int, *, parent: str | None = None, parts: int = 0
) -> dict[str, Any]:
    """Return the record of an artifact; without a parent it is a full."""
    set_name, database, first = key.split("/")
    taken = (NOW - timedelta(days=days)).isoformat()
    names = [first, *(f"{first}.{number}" for number in range(1, parts + 1))]
    files = [
        {"name": one, "size": len(content(one)), "sha256": hashlib.sha256(content(one)).hexdigest()} for one in names
    ]
    return {
        "schema": 1,
        "key": key,
        "cluster": "demo",
        "set": set_name,
        "database": database,
        "type": "DIFF" if parent else "FULL",
        "type_reason": "asked",
        "parent": parent,
        "header": {
            "magic": "BZV2",
            "database": database,
            "database_id": str(UUID(int=7)),
            "store_id": "1-2-record-aligned-1.1",
            "taken": taken,
            "lowest": lowest,
            "highest": highest,
            "full": parent is None,
            "compressed": True,
            "recovered": False,
        },
        "files": files,
        "request": "nightly",
        "started": taken,
        "finished": taken,
    }


@dataclass
class World:
    """A volume, and the place that is looked at: the volume itself, or a destination."""

    root: Path
    place: str
    put: Callable[[str, bytes], None]
    """Puts a file there; for one that shall be copied, on the volume."""
    destinations: dict[str, Any] = field(default_factory=dict)
    strangers: dict[str, bytes] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    """Points that stay, by a rule or a hold."""
    going: list[str] = field(default_factory=list)
    young: str = ""
    """An orphan of the agent's own inside its grace period."""

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "cluster": "demo",
            "neo4j": {"uri": "neo4j://127.0.0.1:1"},
            "schedules": {},
            "storage": {"root": str(self.root), "destinations": self.destinations},
            "retention": RETENTION,
        }

    def add(self, key: str, days: float, lowest: int, highest: int, **more: Any) -> str:
        """Put an artifact and its record there."""
        told = record(key, days, lowest, highest, **more)
        folder = key.rpartition("/")[0]
        for file in told["files"]:
            self.put(f"{folder}/{file['name']}", content(file["name"]))
        self.put(f"{key}.json", json.dumps(told, indent=2).encode() + b"\n")
        return key

    def note(self, kind: str, key: str, text: str | dict[str, Any]) -> None:
        """Put a note about the place on the volume."""
        where = self.destinations[self.place] if self.destinations else None
        path = self.root / ".agent" / kind / f"{self.place}@{_digest(where)}" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))

    def began(self, key: str, doing: str, days: float) -> None:
        """Write down that something was begun with an artifact of one file."""
        since = (NOW - timedelta(days=days)).isoformat()
        self.note("journal", key, {"schema": 1, "key": key, "doing": doing, "files": [key], "since": since})

    def age_intents(self, *, days: float) -> None:
        """Let what was begun at the place have been begun so long ago."""
        for path in self.root.glob(f".agent/journal/{self.place}@*/*/*/*"):
            since = (NOW - timedelta(days=days)).isoformat()
            path.write_text(json.dumps({**json.loads(path.read_text()), "since": since}))

    def strange(self, key: str) -> None:
        """Put there what is nobody's business."""
        self.strangers[key] = content(key)
        self.put(key, content(key))


def _digest(destination: dict[str, Any] | None) -> str:
    """Return how a place's folder is told from another's (docs/design.md: copied/<destination>@<where>)."""
    if destination is None:
        return hashlib.sha256(b"local").hexdigest()[:8]
    from backup_agent.settings.model import Settings  # noqa: PLC0415  how an identity is spelled is not what is judged

    settings = {"cluster": "demo", "neo4j": {"uri": "neo4j://x"}, "storage": {"destinations": {"offsite": destination}}}
    identity = Settings.model_validate(settings).storage.destinations["offsite"].identity
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def aged(world: World) -> World:
    """Fill a place: chains of which the older ones go, one held, one damaged, orphans, marks, strangers' files."""
    at = {days: f"default/orders/{name('orders', days)}" for days in (9, 8, 7, 6, 5, 3, 2)}
    world.add(at[9], 9, 1, 10)
    world.add(at[8], 8, 11, 20, parent=at[9])
    world.add(at[7], 7, 21, 30, parent=at[8])
    world.add(at[6], 6, 1, 40)
    world.add(at[5], 5, 41, 50, parent=at[6], parts=2)
    world.add(at[3], 3, 1, 60)
    world.add(at[2], 2, 61, 70, parent=at[3])
    alone = world.add(f"default/neo4j/{name('neo4j', 4)}", 4, 1, 5)
    since = NOW.isoformat()
    hold = {"schema": 1, "key": at[8], "since": since, "reason": "audit", "requested_by": None, "request": "h"}
    world.put(f"{at[5]}.damaged.json", json.dumps({"schema": 1, "key": at[5], "since": since, "found": "x"}).encode())
    world.put(f"{at[5]}.1", b"rotten")
    world.damaged.add(at[5])
    world.kept += [at[8], at[2], alone]
    world.going += [at[7], at[6], at[5]]
    if world.place == "local":
        world.put(f"{at[8]}.hold.json", json.dumps(hold).encode())
        gone = f"test/orders/{name('orders', 20)}"
        world.add(gone, 20, 1, 10)
        world.going += [gone, world.add(f"test/orders/{name('orders', 19)}", 19, 11, 20, parent=gone)]
    else:
        # One is wanted and not there yet, one is there and not wanted any more.
        world.note("holds", at[8], json.dumps(hold))
        world.put(f"{at[7]}.hold.json", json.dumps({**hold, "key": at[7]}).encode())
        world.note("holds", at[7], "released\n")
    for days, doing, since_days in ((12, "publishing", 3), (11, "deleting", 0.1)):
        orphan = f"default/orders/{name('orders', days)}"
        world.put(orphan, b"orphan")
        world.began(orphan, doing, since_days)
        world.going.append(orphan)
    world.young = f"default/orders/{name('orders', 0.1)}"
    world.put(world.young, b"young")
    world.began(world.young, "publishing", 0.1)
    for key in ("default/orders/notes.txt", f"default/orders/{name('orders', 13)}", f"default/x/y/{name('y', 30)}"):
        world.strange(key)
    return world


def owing(world: World) -> World:
    """Fill a volume with what is owed to a destination: a chain, and a full of two files."""
    first, second, third = (f"default/orders/{name('orders', days)}" for days in (3, 2, 1))
    world.add(first, 3, 1, 10)
    world.add(second, 2, 11, 20, parent=first)
    world.add(third, 1, 1, 30, parts=1)
    world.kept += [second, third]
    return world


def chained(world: World) -> World:
    """Fill a volume with one chain of a full and two differentials, of which all are kept."""
    world.kept = [f"default/orders/{name('orders', days)}" for days in (3, 2, 1)]
    first, second, third = world.kept
    world.add(first, 3, 1, 10)
    world.add(second, 2, 11, 20, parent=first)
    world.add(third, 1, 21, 30, parent=second)
    return world


def small(world: World) -> World:
    """Fill a place with little of everything that retention does there."""
    at = {days: f"default/orders/{name('orders', days)}" for days in (6, 5, 4, 2, 1)}
    world.add(at[6], 6, 1, 10)
    world.add(at[5], 5, 11, 20, parent=at[6])
    world.add(at[4], 4, 1, 30)
    world.add(at[2], 2, 1, 60)
    world.add(at[1], 1, 61, 70, parent=at[2])
    world.kept += [at[1], at[4]]
    world.going += [at[5], at[6]]
    hold = {
        "schema": 1,
        "key": at[4],
        "since": NOW.isoformat(),
        "reason": "audit",
        "requested_by": None,
        "request": "h",
    }
    world.put(f"{at[4]}.hold.json", json.dumps(hold).encode())
    orphan = f"default/orders/{name('orders', 12)}"
    world.put(orphan, b"orphan")
    world.began(orphan, "deleting", 0.1)
    world.going.append(orphan)
    if world.place != "local":
        world.put(f"{at[5]}.hold.json", json.dumps({**hold, "key": at[5]}).encode())
        world.note("holds", at[5], "released\n")
        world.note("holds", at[2], json.dumps({**hold, "key": at[2]}))
    # Begun and never carried out: its record stands, and it is kept.
    world.began(at[2], "deleting", 0.1)
    world.strange("default/orders/notes.txt")
    return world
