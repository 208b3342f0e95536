"""Definitions of databases: the columns of SHOW DATABASES to request from a server, and how to read them.

A restore needs definitions to create databases again as they were. A separate statement requests them, because the
columns depend on the server's version, and a server that does not know one column refuses the whole statement.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backup_agent.core.artifacts.names import DatabaseName, database_name_or_none
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.capabilities import OLDEST, Version
from backup_agent.core.neo4j.topology import Refusals

SHARDS_SINCE = Version(2025, 12)
"""The first version with columns for shards. They exist in Cypher 25 only (observed on Community 2026.09.0)."""

SINCE: dict[str, Version] = {
    "name": OLDEST,
    "requestedPrimariesCount": OLDEST,
    "requestedSecondariesCount": OLDEST,
    "access": OLDEST,
    "options": OLDEST,
    "aliases": OLDEST,
    "defaultLanguage": Version(2025, 6),
    "graphShards": SHARDS_SINCE,
    "propertyShards": SHARDS_SINCE,
}
"""Column of SHOW DATABASES -> the first version that has it."""

LARGEST = 1500
"""Largest number of characters of one definition as ASCII JSON."""

LARGEST_TOTAL = 4 * 2**20
"""Largest number of characters of all definitions together. 1,500 databases usually have 0.2 MiB."""

_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")
_NOT_KEPT = re.compile(r"seed|existingData|credential|password|secret|token", re.IGNORECASE)
"""Options that are not kept: a restore replaces those of seeding, and the others may contain a secret."""

_MOST_COUNTED = 10_000
"""A larger number of primaries or secondaries is invalid."""


def statement(version: Version | None) -> str:
    """Return the statement that requests all definitions from a server of a version. None counts as 5.26.

    >>> statement(Version(2025, 6))[-65:]
    'requestedSecondariesCount, access, options, aliases, defaultLanguage'
    """
    known = version or OLDEST
    columns = ", ".join(column for column, since in SINCE.items() if since <= known)
    return f"{'CYPHER 25 ' if known >= SHARDS_SINCE else ''}SHOW DATABASES YIELD {columns}"


def definitions(rows: Iterable[Mapping[str, Any]], refusals: Refusals) -> dict[DatabaseName, Definition]:
    """Return the definition of each database in the rows of SHOW DATABASES, from the first row with its name.

    Invalid values and rows with invalid names are left out. A definition that is too large is left out, too, except
    that a sharded database keeps its first shard, by which it is recognised.
    """
    found: dict[DatabaseName, Definition] = {}
    total = 0
    for row in rows:
        name = database_name_or_none(row["name"])
        if name is None or name in found:
            continue
        definition = _definition(name, row, refusals)
        size = len(json.dumps(definition.model_dump()))
        if size > LARGEST or total + size > LARGEST_TOTAL:
            refusals.add("definitions of databases that are too large, left out", name)
            if definition.shards:
                found[name] = Definition(shards=definition.shards[:1])
            continue
        total += size
        found[name] = definition
    return found


def _definition(name: str, row: Mapping[str, Any], refusals: Refusals) -> Definition:
    def valid(column: str, is_valid: Callable[[Any], bool]) -> Any:  # noqa: ANN401  a column's value
        value = row.get(column)
        if value is None or is_valid(value):
            return value
        refusals.add(f"invalid values of {column}, left out of the definition", name)
        return None

    shards = (*(valid("graphShards", _is_list) or ()), *(valid("propertyShards", _is_list) or ()))
    return Definition(
        primaries=valid("requestedPrimariesCount", _is_count),
        secondaries=valid("requestedSecondariesCount", _is_count),
        default_language=valid("defaultLanguage", _is_text),
        access=valid("access", _is_text),
        options=_options(valid("options", _is_map) or {}),
        aliases=tuple(alias for alias in valid("aliases", _is_list) or () if database_name_or_none(alias)),
        # A database that is not sharded is its own graph shard (observed on Community 2026.09.0).
        shards=tuple(shard for shard in shards if database_name_or_none(shard) and shard != name),
    )


def _options(options: Mapping[Any, Any]) -> dict[str, str | int | float | bool]:
    return {
        key: value
        for key, value in options.items()
        if isinstance(key, str) and isinstance(value, str | int | float | bool) and not _NOT_KEPT.search(key)
    }


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= _MOST_COUNTED


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def _is_map(value: object) -> bool:
    return isinstance(value, dict)
