"""The names of sets, requests and artifacts, and the keys they make below a storage root.

A database name may hold dots and dashes (`sales-2024.q1`), so an artifact's name is always read from the right.
"""

import re
from datetime import UTC, datetime

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# A set is a folder beside the file that says whose the root is.
SET = re.compile(r"(?!owner\.json\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DATABASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
DATABASE_GLOB = re.compile(r"!?[A-Za-z0-9.*?-]{1,64}")
ARTIFACT = re.compile(r"(?P<database>.+)-(?P<stamp>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.backup")

RECORD_SUFFIX = ".json"
HOLD_SUFFIX = ".hold.json"
DAMAGE_SUFFIX = ".damaged.json"


def artifact_name(database: str, taken: datetime) -> str:
    """Return the file name of an artifact, as neo4j-admin writes it when TZ=UTC (manual: online-backup).

    >>> artifact_name("orders", datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    'orders-2026-11-23T02-00-00.backup'
    """
    return f"{database}-{taken.astimezone(UTC):%Y-%m-%dT%H-%M-%S}.backup"


def artifact_key(set_name: str, database: str, name: str) -> str:
    """Return an artifact's key: its path below a storage root, the same on the volume and in S3."""
    return f"{set_name}/{database}/{name}"


def record_key(artifact: str) -> str:
    """Return the key of the record that stands beside an artifact.

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


def is_record_key(key: str) -> bool:
    """Tell whether a key names a record (and not an answer, a hold or a stranger's file)."""
    parts = key.split("/")
    return (
        len(parts) == 3  # noqa: PLR2004  <set>/<database>/<record>
        and key.endswith(".backup" + RECORD_SUFFIX)
        and not any(part.startswith(".") for part in parts)
    )
