"""How a person names an artifact or a restore point."""

import hashlib
import re
from dataclasses import dataclass

from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX
from backup_agent.core.artifacts.names import ARTIFACT, DatabaseName, database_name
from backup_agent.core.escaping import quoted
from backup_agent.core.restore.moments import Moment, parse_moment

LATEST = "latest"
FORMS = (
    "DATABASE, DATABASE@latest, 'DATABASE@2026-11-28 02:30 Europe/Berlin', or the key, path, file name or id of an "
    "artifact in `backup-agent list`"
)

_ID = re.compile(r"[0-9a-f]{6,64}")
_SHOWN = 8


@dataclass(frozen=True)
class AskedArtifact:
    """One artifact, by its key, path, file name or id."""

    text: str

    def names(self, key: str) -> bool:
        """Return whether the text names the artifact with this key.

        >>> key = "default/orders/orders-2026-11-23T02-00-00.backup"
        >>> texts = (key, "/backups/" + key + ".json", "orders-2026-11-23T02-00-00", artifact_id(key), "orders")
        >>> [AskedArtifact(text).names(key) for text in texts]
        [True, True, True, True, False]
        """
        text = self.text.removesuffix(RECORD_SUFFIX).removesuffix(ARTIFACT_SUFFIX) + ARTIFACT_SUFFIX
        return text == key or text.endswith(f"/{key}") or key.endswith(f"/{text}") or self._is_id_of(key)

    def _is_id_of(self, key: str) -> bool:
        return bool(_ID.fullmatch(self.text)) and _digest(key).startswith(self.text)


@dataclass(frozen=True)
class AskedDatabase:
    """A restore point of a database: the newest one, or that of a moment."""

    database: DatabaseName
    moment: Moment | None = None
    """None: the newest restore point."""

    @property
    def artifact(self) -> AskedArtifact | None:
        """The artifact that has this name as its id, for a place without such a database, or None if it is no id."""
        name = str(self.database)
        return AskedArtifact(name) if self.moment is None and _ID.fullmatch(name) else None


def parse_asked(text: str) -> AskedDatabase | AskedArtifact:
    """Parse the name of an artifact or of a restore point. Raise ValueError with the possible forms.

    >>> parse_asked("orders@latest") == parse_asked("orders") == AskedDatabase(database_name("orders"))
    True
    >>> parse_asked("orders-2026-11-23T02-00-00")
    AskedArtifact(text='orders-2026-11-23T02-00-00')
    """
    name, at, point = text.partition("@")
    if at:
        return AskedDatabase(_database(name, text), None if point == LATEST else parse_moment(point))
    stem = text.removesuffix(RECORD_SUFFIX).removesuffix(ARTIFACT_SUFFIX)
    if "/" in text or stem != text or ARTIFACT.fullmatch(stem + ARTIFACT_SUFFIX):
        return AskedArtifact(text)
    return AskedDatabase(_database(text, text))


def artifact_id(key: str) -> str:
    """Return the id of an artifact that is shown: the first eight hexadecimal digits of the SHA-256 of its key.

    >>> artifact_id("default/orders/orders-2026-11-23T02-00-00.backup")
    'bb93539e'
    """
    return _digest(key)[:_SHOWN]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _database(name: str, text: str) -> DatabaseName:
    try:
        return database_name(name)
    except ValueError:
        raise ValueError(f"{quoted(text)} names neither a database nor an artifact: write {FORMS}") from None
