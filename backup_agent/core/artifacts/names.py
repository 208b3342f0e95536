"""The names of sets, databases, requests and artifacts.

A database name may contain dots and dashes (`sales-2024.q1`), so an artifact's name is always parsed from the right.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NewType

from backup_agent.core.escaping import quoted

# Three disjoint forms of ids: those in request files, those of a schedule's runs (`nightly@20261123T010000Z`), and
# those of commands (`cli@20261123T010000000000Z-17`; the request file has the same name).
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
COMMAND_ID = re.compile(r"cli@\d{8}T\d{12}Z-\d{1,10}")
ANY_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
# A set is a folder beside owner.json and cannot have that name.
SET = re.compile(r"(?!owner\.json\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")
"""A superset of Neo4j's rule (3 to 63 characters, a letter first), because names of shards have suffixes."""
PLACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
DATABASE_GLOB = re.compile(r"!?(?:(?=[^*?]*[*?])[A-Za-z0-9.*?-]{1,128}|[A-Za-z0-9][A-Za-z0-9.-]{0,127})")
"""A glob, or the name of a database. A leading `!` excludes the databases that match."""
ARTIFACT = re.compile(r"(?P<database>.+)-(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2})\.backup")
PART = re.compile(r"(?P<manifest>.+\.backup)\.(?P<number>[0-9]{1,9})")
"""The name of a file of a split artifact, beside its manifest."""

STAMP = "%Y-%m-%dT%H-%M-%S"
LOCAL_TIME = timedelta(hours=26)
"""Largest difference between the time in an artifact's name and that in its header, which is UTC. The name has
the client's local time, up to 14 hours from UTC, and neo4j-admin may choose it hours before it writes the header."""


class Checked:
    """Pydantic's AfterValidator without pydantic, which is imported only when a model has a field of the type.

    Most of the time of `backup-agent status` would be the import of pydantic, and it has no model.
    """

    def __init__(self, check: Callable[[str], str]) -> None:
        self._check = check

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401  pydantic's protocol
        from pydantic import AfterValidator  # noqa: PLC0415  loaded by then

        return AfterValidator(self._check).__get_pydantic_core_schema__(source, handler)


def _database(text: str) -> str:
    if not DATABASE.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the name of a database")
    return text


DatabaseName = NewType("DatabaseName", Annotated[str, Checked(_database)])
"""The name of a database, which matches DATABASE. A field of this type is checked when its model is validated."""


def database_name(text: str) -> DatabaseName:
    """Return a text as the name of a database. Raise ValueError if it is invalid.

    >>> database_name("sales-2024.q1")
    'sales-2024.q1'
    """
    return DatabaseName(_database(text))


def database_glob(text: str) -> str:
    """Return a text as a name or glob of databases, or `!` and one of these. Raise ValueError if it is neither.

    >>> database_glob("orders*"), database_glob("!web")
    ('orders*', '!web')
    """
    if not DATABASE_GLOB.fullmatch(text):
        raise ValueError('a database name, a glob such as "orders*", or "!" and one of these')
    return text


def database_name_or_none(value: object) -> DatabaseName | None:
    """Return a value as the name of a database, or None if it is invalid or not a string."""
    return DatabaseName(value) if isinstance(value, str) and DATABASE.fullmatch(value) else None


def lowered(name: DatabaseName) -> DatabaseName:
    """Return the name in lower case, as Neo4j stores names."""
    return DatabaseName(name.lower())


SYSTEM = DatabaseName("system")
"""Every cluster's database of users, privileges and the list of all other databases."""


def _set(text: str) -> str:
    if not SET.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the name of a set")
    return text


SetName = NewType("SetName", Annotated[str, Checked(_set)])
"""The name of a set, which matches SET. A field of this type is checked when its model is validated."""


def name_of_set(text: str) -> SetName:
    """Return a text as the name of a set. Raise ValueError if it is invalid.

    >>> name_of_set("before-release")
    'before-release'
    """
    return SetName(_set(text))


def set_name_or_none(text: str) -> SetName | None:
    """Return a text as the name of a set, or None if it is invalid."""
    return SetName(text) if SET.fullmatch(text) else None


DEFAULT_SET = SetName("default")

BEFORE_RESTORE = SetName("before-restore")
"""The reserved set with the state of a database before a restore replaced it. It belongs to no chain and no rule."""


def _place(text: str) -> str:
    if not PLACE.fullmatch(text):
        raise ValueError(
            "a name of at most 31 lower-case letters, digits, '_' and '-', beginning with a letter or digit"
        )
    return text


PlaceName = NewType("PlaceName", Annotated[str, Checked(_place)])
"""The name of a place: of the volume, or of a destination in the settings."""

VOLUME = PlaceName("local")
"""The name of the volume. No destination can have this name."""


def _request(text: str) -> str:
    if not ANY_REQUEST_ID.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not the id of a request")
    return text


RequestId = NewType("RequestId", Annotated[str, Checked(_request)])
"""The id of a request, which matches ANY_REQUEST_ID. Ledger entries, answers and runs are named after it."""


def command_id(now: datetime, process: int) -> str:
    """Return a new id for the request of a command. It is also the name of the request file.

    >>> command_id(datetime(2026, 11, 23, 1, 0, tzinfo=UTC), 17)
    'cli@20261123T010000000000Z-17'
    """
    return f"cli@{now.astimezone(UTC):%Y%m%dT%H%M%S%f}Z-{process}"


def artifact_name(database: DatabaseName, taken: datetime) -> str:
    """Return the file name of an artifact, as neo4j-admin writes it when TZ=UTC (manual: online-backup).

    >>> artifact_name(database_name("orders"), datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    'orders-2026-11-23T02-00-00.backup'
    """
    return f"{database}-{taken.astimezone(UTC):{STAMP}}.backup"


def misnamed(name: str, database: DatabaseName, taken: datetime) -> str | None:
    """Return what is wrong with the file name of an artifact, or None. `taken` is the time in the artifact's header.

    >>> orders, taken = database_name("orders"), datetime(2026, 11, 23, 2, tzinfo=UTC)
    >>> misnamed("orders-2026-11-23T02-00-00.backup", orders, taken)
    >>> misnamed("orders-2026-11-23T02-00-00$(id).backup", orders, taken)
    "'orders-2026-11-23T02-00-00$(id).backup' is not <database>-<yyyy-mm-ddThh-mm-ss>.backup of 'orders'"
    """
    named = ARTIFACT.fullmatch(name)
    stamp = _moment(named["stamp"]) if named and named["database"].lower() == database.lower() else None
    if stamp is None:
        return f"{quoted(name)} is not <database>-<yyyy-mm-ddThh-mm-ss>.backup of {quoted(database)}"
    if abs(stamp - taken) > LOCAL_TIME:
        return (
            f"{quoted(name)} differs from the time in the header of the artifact, {taken.astimezone(UTC):{STAMP}} UTC"
        )
    return None


def time_of_artifact(name: str) -> datetime | None:
    """Return the time in the file name of an artifact, read as UTC, or None if the name has no time.

    >>> time_of_artifact("orders-2026-11-23T02-00-00.backup")
    datetime.datetime(2026, 11, 23, 2, 0, tzinfo=datetime.timezone.utc)
    """
    named = ARTIFACT.fullmatch(name)
    return _moment(named["stamp"]) if named else None


def _moment(stamp: str) -> datetime | None:
    """Return the time of a stamp, read as UTC, or None if there is no such date."""
    day, _, time = stamp.partition("T")
    try:
        return datetime.fromisoformat(f"{day}T{time.replace('-', ':')}+00:00")
    except ValueError:
        return None
