"""Artifacts in letters: F a full, D a differential, E an empty one, in the order in which they were taken.

    F1[1-10] D1[11-15]<F1 test/people/D2[16-20]:b/1.2@5.26.31~30

`[1-10]` is the range of append indexes. `<F1` is the recorded parent, `:b` another database id, `/1.2` the end of the
store id, `@5.26.31` the version of neo4j-admin (`@none`: unknown), `~30` the hour after the start. The set and the
database, or the database alone, may come before the name.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from backup_agent.core.artifacts.entries import Entry
from tests.builders import an_entry

START = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
"""A Monday."""

DATABASE_IDS = {"a": "00000000-0000-0000-0000-000000000001", "b": "00000000-0000-0000-0000-000000000002"}

WORD = re.compile(
    r"((?P<set>[\w-]+)/)?((?P<database>\w+)/)?(?P<name>[FDE]\w*)(\[(?P<lowest>\d+)-(?P<highest>\d+)\])?"
    r"(<(?P<parent>\w+))?(:(?P<id>[ab]))?(/(?P<store>\w+\.\d+))?(@(?P<version>[\d.]+|none))?(~(?P<hour>\d+))?"
)


def entries(text: str, every: timedelta = timedelta(hours=1)) -> Iterator[Entry]:
    """Yield the artifacts that a text describes, taken at intervals of `every`, by default an hour."""
    for number, word in enumerate(text.split()):
        part = WORD.fullmatch(word)
        assert part, word
        set_name, database = part["set"] or "default", part["database"] or "orders"
        yield an_entry(
            part["name"],
            set_name=set_name,
            database=database,
            taken=START + (timedelta(hours=int(part["hour"])) if part["hour"] else number * every),
            lowest=int(part["lowest"] or 0),
            highest=int(part["highest"] or 0),
            database_id=DATABASE_IDS[part["id"] or "a"],
            store_id=f"4-5-record-aligned-{part['store'] or '1.1'}",
            parent=part["parent"] and f"{set_name}/{database}/{part['parent']}",
            version=None if part["version"] == "none" else part["version"] or "2026.09.0",
        )


def names(keys: Iterable[str]) -> str:
    """Return the names of keys: the last part, after the database and the set if these are not the usual ones."""
    return " ".join(key.removeprefix("default/").removeprefix("orders/") for key in keys)
