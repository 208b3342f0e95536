"""A program that is not the agent, and may write to its bucket and to the folders of databases on its volume.

It forges records, artifacts and marks, and writes objects that are too large to be read. It reads no note and has no
key. It writes no mark beside a genuine artifact on the volume: there every mark is believed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from tests.artifact import writer
from tests.artifact.writer import Written
from tests.components.seaweedfs import BUCKET

OVERSIZED = 300 * 10**6
"""Bytes of an object that is too large for a record or a mark."""

MARKS = (".hold.json", ".damaged.json")

FOLDERS = ("default/orders", "default/neo4j", "other/orders")


@cache
def bomb() -> bytes:
    """Return an artifact of 3 MB that unpacks to 96 GiB."""
    head = b"zstd" + writer.header(Written()) + writer.counts()
    return writer.repeated(head, 96 << 30)


def record_bytes(record: dict[str, Any]) -> bytes:
    """Return a record as the agent writes it."""
    return json.dumps(record, indent=2).encode() + b"\n"


class Hand:
    """Where the program writes: the volume, or the bucket."""

    def __init__(
        self,
        place: str,
        put: Callable[[str, bytes], None],
        put_zeros: Callable[[str], None],
        delete: Callable[[str], None],
    ) -> None:
        self.place = place
        self.put = put
        self.put_zeros = put_zeros
        """Writes OVERSIZED zeros."""
        self.planted: dict[str, bytes | None] = {}
        """Key -> what was written under a key that the agent does not use; None if it is too large to compare."""
        self.replaced: dict[str, tuple[bytes, bytes]] = {}
        """Key of a genuine object -> its genuine content, and what is there instead."""
        self._delete = delete

    def plant(self, key: str, content: bytes) -> None:
        """Write an object under a key that the agent does not use."""
        self.planted[key] = content
        self.put(key, content)

    def plant_oversized(self, key: str) -> None:
        """Write OVERSIZED bytes under a key that the agent does not use."""
        self.planted[key] = None
        self.put_zeros(key)

    def remove(self, key: str) -> None:
        """Delete an object that `plant` has written."""
        del self.planted[key]
        self._delete(key)


def on_volume(root: Path) -> Hand:
    """Return the hand that writes to the volume."""

    def put(key: str, content: bytes) -> None:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)

    def put_zeros(key: str) -> None:
        put(key, b"")
        with (root / key).open("r+b") as file:
            file.truncate(OVERSIZED)

    return Hand("local", put, put_zeros, lambda key: (root / key).unlink())


def in_bucket(client: Any, prefix: str) -> Hand:
    """Return the hand that writes below a prefix of the bucket."""

    def put(key: str, content: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=content)

    def delete(key: str) -> None:
        client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{key}")

    return Hand("offsite", put, lambda key: put(key, bytes(OVERSIZED)), delete)


class Forger:
    """The program, at work beside one agent."""

    def __init__(self, random: Random, root: Path, client: Any, prefix: str) -> None:
        self._random = random
        self.hands = {hand.place: hand for hand in (on_volume(root), in_bucket(client, prefix))}
        self.squatted: list[str] = []
        """Keys in the bucket of genuine artifacts that have no copy there, with forged content."""
        self.number = 0
        """Number of objects written."""

    def begin(self) -> None:
        """Write one of each kind of object to each place, before the agent has written anything."""
        for hand in self.hands.values():
            for forge in (*PLANTS, oversized_record):
                self._forge(forge, hand, {})

    def plant(self, genuine: dict[str, dict[str, bytes]]) -> None:
        """Write one object of any kind to one of the places.

        `genuine` has place -> artifact -> its record, for all artifacts that were seen there.
        """
        hand = self._random.choice(tuple(self.hands.values()))
        own = genuine[hand.place]
        forge = self._random.choice((*PLANTS, *(BESIDE if own and hand.place != "local" else ())))
        with suppress(FileNotFoundError, ClientError):  # the agent has just removed the folder, or the server is busy
            self._forge(forge, hand, own)

    def _forge(self, forge: "Forge", hand: Hand, genuine: dict[str, bytes]) -> None:
        for key, content in forge(self._random, genuine):
            self.number += 1
            if content is None:
                hand.plant_oversized(key)
            else:
                hand.plant(key, content)

    def replace(self, place: str, files: dict[str, bytes]) -> None:
        """Replace the record and the artifact of one genuine artifact at a place. `files` are its genuine files.

        Call this only while the agent is dead: otherwise it might have deleted the artifact meanwhile.
        """
        hand = self.hands[place]
        keys = [key for key in files if key.endswith(".backup") and f"{key}.json" in files]
        if not keys or hand.replaced:
            return
        key = self._random.choice(sorted(keys)[-4:])
        for changed, content in _replacement(self._random, key, files):
            hand.replaced[changed] = (files[changed], content)
            hand.put(changed, content)
            self.number += 1

    def put_back(self, place: str, files: dict[str, bytes]) -> None:
        """Write what was replaced at a place as it was before, if it is there still."""
        hand = self.hands[place]
        for key, (genuine, forged) in hand.replaced.items():
            if files.get(key) == forged:
                hand.put(key, genuine)
        hand.replaced.clear()

    def squat(self, here: dict[str, bytes], there: dict[str, bytes]) -> None:
        """Write a record and an artifact to the bucket under a key that the volume has and the bucket does not.

        `here` and `there` are the files of both places. Call this only while the agent is dead.
        """
        keys = [key for key in here if key.endswith(".backup") and f"{key}.json" in here]
        for key in sorted(keys)[-4:]:
            if not self.squatted and key not in there and f"{key}.json" not in there:
                record = json.loads(here[f"{key}.json"])
                record["files"][0] |= {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest(), "parts": []}
                for one, content in ((key, b"x"), (f"{key}.json", record_bytes(record))):
                    self.hands["offsite"].plant(one, content)
                    self.squatted.append(one)
                    self.number += 1

    def move_out(self) -> None:
        """Delete what `squat` has written."""
        for key in self.squatted:
            self.hands["offsite"].remove(key)
        self.squatted.clear()

    def without_forged(self, place: str, files: dict[str, bytes]) -> dict[str, bytes]:
        """Return the files at a place without what the program wrote, and with what it replaced."""
        hand = self.hands[place]
        found = {key: content for key, content in files.items() if key not in hand.planted}
        for key, (genuine, forged) in hand.replaced.items():
            if files.get(key) == forged:
                found[key] = genuine
        return found

    def faults(self, place: str, files: dict[str, bytes]) -> Iterator[str]:
        """Yield each forged object that the agent has changed or deleted. Marks are deleted with their artifact."""
        for key, content in self.hands[place].planted.items():
            if key.endswith(MARKS):
                continue
            if key not in files:
                yield f"{key}: forged, and deleted"
            elif content is not None and files[key] != content:
                yield f"{key}: forged, and changed"


Genuine = dict[str, bytes]
"""Artifact -> its genuine record."""

Forge = Callable[[Random, Genuine], Iterator[tuple[str, bytes | None]]]
"""Yields keys with contents, of which None stands for OVERSIZED zeros."""


def _forged_record(random: Random, artifact: bytes, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Return the key of an artifact that does not exist, and a valid record of it."""
    folder = random.choice(FOLDERS)
    set_name, database = folder.split("/")
    day = random.choice((timedelta(), timedelta(days=30), timedelta(days=-100)))
    taken = datetime.now(UTC).replace(microsecond=0) + day + timedelta(minutes=random.randrange(5, 20_000))
    name = f"{database}-{taken:%Y-%m-%dT%H-%M-%S}.backup"
    full = changes.pop("full", True)
    header = {
        "magic": "BZV2",
        "database": database,
        "database_id": "00000000-0000-0000-0000-000000000007",
        "store_id": "1-2-record-aligned-1.1",
        "taken": f"{taken:%Y-%m-%dT%H:%M:%SZ}",
        "lowest": 1 if full else 1000,
        "highest": 2000,
        "full": full,
        "compressed": True,
        "recovered": full,
    }
    record = {
        "schema": 1,
        "key": f"{folder}/{name}",
        "cluster": "demo",
        "set": set_name,
        "database": database,
        "type": "FULL" if full else "DIFF",
        "type_reason": "asked" if full else "chain_continues",
        "header": header,
        "files": [{"name": name, "size": len(artifact), "sha256": hashlib.sha256(artifact).hexdigest()}],
        "request": "k-00000",
        "started": header["taken"],
        "finished": header["taken"],
        "fencing": 10**6,
    }
    return f"{folder}/{name}", {**record, **changes}


def junk(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield an artifact of one byte with a valid record."""
    key, record = _forged_record(random, b"x")
    yield key, b"x"
    yield f"{key}.json", record_bytes(record)


def of_another_cluster(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a valid artifact and record that another cluster's agent might have written."""
    content = writer.artifact()
    key, record = _forged_record(random, content, cluster="another")
    yield key, content
    yield f"{key}.json", record_bytes(record)


def packed_bomb(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a few megabytes that unpack to many gigabytes, with a valid record."""
    key, record = _forged_record(random, bomb())
    yield key, bomb()
    yield f"{key}.json", record_bytes(record)


def no_record(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a record that cannot be parsed, and one that names another artifact."""
    key, record = _forged_record(random, b"x")
    yield f"{key}.json", b"{"
    other, _record = _forged_record(random, b"x")
    yield f"{other}.json", record_bytes(record)


def without_record(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a file that is named like an artifact, with marks."""
    key, _record = _forged_record(random, b"x")
    yield key, b"x"
    yield f"{key}.hold.json", b"{"
    yield f"{key}.damaged.json", b"{"


def foreign(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield files with names that the agent never uses."""
    yield f"{random.choice(FOLDERS)}/notes-{random.randrange(10**6)}.txt", b"notes"
    yield f"notes-{random.randrange(10**6)}.txt", b"notes"


def child_of_a_point(random: Random, genuine: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield the valid record of a differential whose parent is a genuine artifact, or does not exist."""
    key, record = _forged_record(random, b"x", full=False)
    folder = key.rpartition("/")[0]
    parents = sorted(parent for parent in genuine if parent.startswith(f"{folder}/"))
    record["parent"] = random.choice(parents or [key])
    yield key, b"x"
    yield f"{key}.json", record_bytes(record)


def oversized_record(random: Random, _: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a record that is far too large, beside an artifact."""
    key, _record = _forged_record(random, b"x")
    yield key, b"x"
    yield f"{key}.json", None


def damage_mark(random: Random, genuine: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a damage mark of a genuine artifact: valid, unreadable or too large."""
    key = random.choice(sorted(genuine)[-6:])
    mark = {"schema": 1, "key": key, "since": "2026-01-01T00:00:00Z", "found": "forged"}
    yield f"{key}.damaged.json", random.choice((record_bytes(mark), b"{", bytes(2 * 2**20)))


def hold_mark(random: Random, genuine: Genuine) -> Iterator[tuple[str, bytes | None]]:
    """Yield a hold on a genuine artifact: without an end, ended, unreadable or too large."""
    key = random.choice(sorted(genuine)[-6:])
    mark = {"schema": 1, "key": key, "since": "2026-01-01T00:00:00Z", "reason": "forged", "request": "forged"}
    ended = {**mark, "until": "2026-01-02T00:00:00Z"}
    yield f"{key}.hold.json", random.choice((record_bytes(mark), record_bytes(ended), b"{", bytes(2 * 2**20)))


PLANTS: tuple[Forge, ...] = (
    junk,
    of_another_cluster,
    packed_bomb,
    no_record,
    without_record,
    foreign,
    child_of_a_point,
)
"""Under keys that the agent does not use."""

BESIDE: tuple[Forge, ...] = (damage_mark, hold_mark)
"""Beside genuine artifacts."""


def _replacement(random: Random, key: str, files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield keys with contents that replace an artifact and its record, or the record alone."""
    record = json.loads(files[f"{key}.json"])
    content = random.choice((files[key][:-8] + bytes(8), bomb()))
    record["files"][0] |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "parts": []}
    if random.random() < 0.7 and len(record["files"]) == 1:
        yield key, content
    yield f"{key}.json", record_bytes(record)
