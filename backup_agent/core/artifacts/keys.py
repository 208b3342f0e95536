"""The keys of artifacts, records and marks. No other module builds or splits keys.

A key is `<set>/<database>/<name>`: the path of a file below the storage root, and below the prefix of a destination.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from backup_agent.core.artifacts.names import (
    DATABASE,
    SET,
    DatabaseName,
    SetName,
    database_name,
    name_of_set,
)

ARTIFACT_SUFFIX = ".backup"
RECORD_SUFFIX = ".json"
HOLD_SUFFIX = ".hold.json"
DAMAGE_SUFFIX = ".damaged.json"
EVIDENCE_SUFFIX = ".drilled.json"
AUDIT = "audit/"
"""The prefix of the segments of the audit log at a destination."""
SEAL_SUFFIX = ".sealed.json"
_AUDIT_KEY = re.compile(r"audit/\d{12}-\d{12}(?:\.[0-9a-f]{8})?\.jsonl(?:\.sealed\.json)?", re.ASCII)


class KeyParts(NamedTuple):
    """The parts of a key."""

    set: SetName
    database: DatabaseName
    name: str


def artifact_key(set_name: SetName, database: DatabaseName, name: str) -> str:
    """Return the key of a file of an artifact. It is the same at every place."""
    return f"{set_name}/{database}/{name}"


def split_key(key: str) -> KeyParts:
    """Return the parts of a key. Raise ValueError if there are not three parts, or if a name is invalid.

    >>> split_key("default/orders/orders-2026-11-23T02-00-00.backup")
    KeyParts(set='default', database='orders', name='orders-2026-11-23T02-00-00.backup')
    """
    set_name, database, name = key.split("/")
    return KeyParts(*_judged(set_name, database), name)


def database_of(key: str) -> tuple[SetName, DatabaseName]:
    """Return the set and the database of a key. Raise ValueError like `split_key`.

    >>> database_of("default/orders/orders-2026-11-23T02-00-00.backup")
    ('default', 'orders')
    """
    set_name, database, _ = split_key(key)
    return set_name, database


def segments(key: str) -> tuple[str, ...]:
    """Split any text at its slashes."""
    return tuple(key.split("/"))


def name_of(key: str) -> str:
    """Return the last segment of a key or path.

    >>> name_of("default/orders/orders-2026-11-23T02-00-00.backup"), name_of("orders-2026-11-23T02-00-00.backup")
    ('orders-2026-11-23T02-00-00.backup', 'orders-2026-11-23T02-00-00.backup')
    """
    return segments(key)[-1]


def database_key(set_name: SetName, database: DatabaseName) -> str:
    """Return `<set>/<database>`, the name of a database in a set in status, metrics and log.

    >>> database_key(DEFAULT_SET, database_name("orders"))
    'default/orders'
    """
    return f"{set_name}/{database}"


def split_database_key(name: str) -> tuple[SetName, DatabaseName]:
    """Return the set and the database of a text that `database_key` has returned."""
    set_name, _, database = name.partition("/")
    return _judged(set_name, database)


@lru_cache(maxsize=1024)
def _judged(set_name: str, database: str) -> tuple[SetName, DatabaseName]:
    # Cached, because a plan over a million artifacts splits each of their keys.
    return name_of_set(set_name), database_name(database)


def database_prefix(set_name: SetName, database: DatabaseName) -> str:
    """Return the prefix of the keys of one database in one set.

    >>> database_prefix(DEFAULT_SET, database_name("orders"))
    'default/orders/'
    """
    return f"{set_name}/{database}/"


def set_prefix(set_name: SetName) -> str:
    """Return the prefix of the keys of one set."""
    return f"{set_name}/"


def prefix_of(key: str) -> str:
    """Return the prefix `<set>/<database>/` of a key in the folder of a database, else an empty string.

    >>> prefix_of("default/orders/orders-2026-11-23T02-00-00.backup"), prefix_of("default/notes.txt")
    ('default/orders/', '')
    """
    # Faster than `split`: this function is called for each key of a listing.
    prefix = key[: key.find("/", key.find("/") + 1) + 1]
    return prefix if _is_database_prefix(prefix) else ""


@lru_cache(maxsize=1024)
def _is_database_prefix(prefix: str) -> bool:
    set_name, _, database = prefix.removesuffix("/").partition("/")
    return bool(SET.fullmatch(set_name) and DATABASE.fullmatch(database))


def record_key(artifact: str) -> str:
    """Return the key of the record of an artifact.

    >>> record_key("default/orders/orders-2026-11-23T02-00-00.backup")
    'default/orders/orders-2026-11-23T02-00-00.backup.json'
    """
    return artifact + RECORD_SUFFIX


def hold_key(artifact: str) -> str:
    """Return the key of the hold on an artifact."""
    return artifact + HOLD_SUFFIX


def damage_key(artifact: str) -> str:
    """Return the key of the damage mark of an artifact."""
    return artifact + DAMAGE_SUFFIX


def evidence_key(artifact: str) -> str:
    """Return the key of the evidence of an artifact's last drill."""
    return artifact + EVIDENCE_SUFFIX


def is_key(key: str) -> bool:
    """Return whether a text is a key: the names of a set and of a database, and a name that is not hidden.

    >>> is_key("default/orders/orders.backup"), is_key("default//orders.backup"), is_key("default/.aside/orders")
    (True, False, False)
    """
    parts = segments(key)
    if len(parts) != len(KeyParts._fields) or not parts[-1] or parts[-1].startswith("."):
        return False
    return bool(SET.fullmatch(parts[0]) and DATABASE.fullmatch(parts[1]))


def is_record_key(key: str) -> bool:
    """Return whether a key is that of a record."""
    return is_key(key) and key.endswith(ARTIFACT_SUFFIX + RECORD_SUFFIX)


def artifact_of(key: str) -> str:
    """Return the key of the artifact to which a file belongs: for a part of a split artifact, its manifest's key.

    >>> artifact_of("default/orders/orders-2026-11-23T02-00-00.backup.12")
    'default/orders/orders-2026-11-23T02-00-00.backup'
    """
    stem, _, number = key.rpartition(".")
    return stem if number.isdecimal() and number.isascii() and stem.endswith(ARTIFACT_SUFFIX) else key


def is_audit_key(key: str) -> bool:
    """Return whether a key at a destination is that of a segment of the audit log, or of its seal.

    >>> is_audit_key("audit/000000000001-000000000130.jsonl"), is_audit_key("audit/orders/orders.backup")
    (True, False)
    """
    return bool(_AUDIT_KEY.fullmatch(key))
