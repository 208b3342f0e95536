"""The keys of artifacts, and of the records and marks beside them: made and taken apart here, and nowhere else.

A key is `<set>/<database>/<name>`: the path of a file below the storage root, and below the prefix of a destination.
"""

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


class KeyParts(NamedTuple):
    """A key, taken apart."""

    set: SetName
    database: DatabaseName
    name: str


def artifact_key(set_name: SetName, database: DatabaseName, name: str) -> str:
    """Return the key of a file of an artifact, the same at every place."""
    return f"{set_name}/{database}/{name}"


def split_key(key: str) -> KeyParts:
    """Return the parts of a key; raise ValueError if there are not three, or if one is no valid name.

    >>> split_key("default/orders/orders-2026-11-23T02-00-00.backup")
    KeyParts(set='default', database='orders', name='orders-2026-11-23T02-00-00.backup')
    """
    set_name, database, name = key.split("/")
    return KeyParts(*_judged(set_name, database), name)


def database_of(key: str) -> tuple[SetName, DatabaseName]:
    """Return the set and the database of a key; raise ValueError as `split_key`.

    >>> database_of("default/orders/orders-2026-11-23T02-00-00.backup")
    ('default', 'orders')
    """
    set_name, database, _ = split_key(key)
    return set_name, database


def segments(key: str) -> tuple[str, ...]:
    """Return the parts of a key between its slashes. The key may be any text."""
    return tuple(key.split("/"))


def name_of(key: str) -> str:
    """Return the last segment of a key or path.

    >>> name_of("default/orders/orders-2026-11-23T02-00-00.backup"), name_of("orders-2026-11-23T02-00-00.backup")
    ('orders-2026-11-23T02-00-00.backup', 'orders-2026-11-23T02-00-00.backup')
    """
    return segments(key)[-1]


def database_key(set_name: SetName, database: DatabaseName) -> str:
    """Return the name of one database in one set, as status, metrics and log show it.

    >>> database_key(DEFAULT_SET, database_name("orders"))
    'default/orders'
    """
    return f"{set_name}/{database}"


def split_database_key(name: str) -> tuple[SetName, DatabaseName]:
    """Return the set and the database that `database_key` joined."""
    set_name, _, database = name.partition("/")
    return _judged(set_name, database)


@lru_cache(maxsize=1024)
def _judged(set_name: str, database: str) -> tuple[SetName, DatabaseName]:
    # Kept: a plan over a million artifacts asks for each of their keys.
    return name_of_set(set_name), database_name(database)


def database_prefix(set_name: SetName, database: DatabaseName) -> str:
    """Return how the keys of one database in one set begin.

    >>> database_prefix(DEFAULT_SET, database_name("orders"))
    'default/orders/'
    """
    return f"{set_name}/{database}/"


def set_prefix(set_name: SetName) -> str:
    """Return how the keys of one set begin."""
    return f"{set_name}/"


def prefix_of(key: str) -> str:
    """Return `<set>/<database>/` of a key that lies in the folder of a database, else nothing.

    >>> prefix_of("default/orders/orders-2026-11-23T02-00-00.backup"), prefix_of("default/notes.txt")
    ('default/orders/', '')
    """
    # By hand: a listing asks this of each of its keys.
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
    """Return the key of the mark that keeps an artifact from being deleted."""
    return artifact + HOLD_SUFFIX


def damage_key(artifact: str) -> str:
    """Return the key of the mark that says an artifact is damaged."""
    return artifact + DAMAGE_SUFFIX


def is_key(key: str) -> bool:
    """Tell whether a text is a key: the names of a set and of a database, and a third that is not hidden.

    >>> is_key("default/orders/orders.backup"), is_key("default//orders.backup"), is_key("default/.aside/orders")
    (True, False, False)
    """
    parts = segments(key)
    if len(parts) != len(KeyParts._fields) or not parts[-1] or parts[-1].startswith("."):
        return False
    return bool(SET.fullmatch(parts[0]) and DATABASE.fullmatch(parts[1]))


def is_record_key(key: str) -> bool:
    """Tell whether a key names a record, and not an answer, a hold or an unknown file."""
    return is_key(key) and key.endswith(ARTIFACT_SUFFIX + RECORD_SUFFIX)


def artifact_of(key: str) -> str:
    """Return the key of the artifact that a file belongs to by its name: a part's is its manifest's.

    >>> artifact_of("default/orders/orders-2026-11-23T02-00-00.backup.12")
    'default/orders/orders-2026-11-23T02-00-00.backup'
    """
    stem, _, number = key.rpartition(".")
    return stem if number.isdecimal() and number.isascii() and stem.endswith(ARTIFACT_SUFFIX) else key
