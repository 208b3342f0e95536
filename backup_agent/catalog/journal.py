"""What the agent is about to put or delete, written down first: it tells a crash's orphan from a stranger's file.

An orphan is a file of an artifact that no record names. Only one that stands in this journal is the agent's own; any
other is reported and left alone.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.reasons import PermanentError
from backup_agent.stores.store import Store


class Doing(StrEnum):
    """What is being done to an artifact."""

    PUBLISHING = "publishing"
    DELETING = "deleting"


class Intent(StoredValue):
    """One artifact at one place, and what is being done to it."""

    key: str
    doing: Doing
    files: tuple[str, ...] = Field(description="keys of its files, in the order of its record")
    since: datetime


class Journal(NoteFolder):
    """The intents at one place."""

    def begin(self, intent: Intent) -> None:
        """Write down what comes next; durably, before it begins."""
        self._write(intent.key, intent.to_json())

    def begin_publishing(self, store: Store, key: str, files: tuple[str, ...], now: datetime) -> None:
        """Write down which files of an artifact are about to be put.

        One that is there already is not named, unless an earlier intent names it: before it is recorded it may be a
        stranger's, who is refused now and must not be deleted later.
        """
        earlier = self._intent(key)
        ours = tuple(file for file in files if (earlier and file in earlier.files) or _is_free(store, file))
        if ours:
            self.begin(Intent(key=key, doing=Doing.PUBLISHING, files=ours, since=now))

    def deletes(self, key: str) -> bool:
        """Tell whether the deletion of an artifact has been begun and is not done."""
        intent = self._intent(key)
        return intent is not None and intent.doing is Doing.DELETING

    def _intent(self, key: str) -> Intent | None:
        """Return an intent; None if there is none that can be read."""
        with suppress(durable.RefusedFileError, ValueError):
            content = self._read(key)
            return None if content is None else Intent.from_json(content)
        return None

    def done(self, key: str) -> None:
        """Strike out an intent."""
        self._remove(key)

    def __iter__(self) -> Iterator[Intent]:
        """Yield what was begun and not done, in the order of the keys. One that cannot be read is left out."""
        yield from filter(None, map(self._intent, self._keys()))


def _is_free(store: Store, key: str) -> bool:
    """Tell whether nothing stands under a key; who may not look there does not know."""
    try:
        return store.stat(key) is None
    except PermanentError:
        return False
