"""Replacing damaged or missing files of an artifact with another place's copy, after that copy was found undamaged.

The order makes this safe: the copy is read before anything is replaced, the lease is checked right before the
replacement, and the damage mark is removed last, after the new file was read back. A crash between two steps leaves the
mark and the good copy. The record does not change, because the new files have the recorded checksums.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.place import Place
from backup_agent.catalog.space import space
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import artifact_key, damage_key
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.jobs.reread import MismatchError, OnBytes, contents, file_mismatch, is_bad_block, reread
from backup_agent.jobs.staging import RunFolder


class _NoGoodCopyError(Exception):
    """A place has no undamaged copy, or cannot be read now."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


class Healing:
    """Heals artifacts of one place from all other places, one at a time."""

    def __init__(self, place: Place, others: tuple[Place, ...], on_bytes: OnBytes) -> None:
        """Open none of the stores in `others` yet."""
        self._place = place.name
        self._store = place.store
        self._volume = place.is_volume
        self._damage_notes = place.damage_notes
        self._others = others
        self._root = place.root
        # The same name each time, so that the next pass removes what a killed pass has left.
        self._staging = RunFolder(self._root, f"heal-{place.name}")
        self._on_bytes = on_bytes

    def heal(self, record: Record, held: Held) -> tuple[str, ...]:
        """Replace the damaged files of an artifact, then remove its damage mark.

        Return the places whose copies were used. Raise BackupError (`checksum_mismatch`) if no place has an undamaged
        copy: the mark and the old files stay.
        """
        if held.no_deletion is not None:  # a replacement deletes the old file
            raise PermanentError(held.no_deletion.reason, held.no_deletion.error, held.no_deletion.hint)
        self._staging.remove()
        wrong = [file for file in record.files if self._is_wrong(record, file)]
        used = {self._heal_file(record, file, held): None for file in wrong}
        if still := reread(self._store, record, self._on_bytes):
            raise PermanentError(
                Reason.CHECKSUM_MISMATCH,
                f"{self._place}: {record.key} was written again and is damaged again: {still.found}",
                "the place does not store what is written: check its health",
            )
        held.confirm()
        self._store.delete(damage_key(record.key))
        if not self._volume:  # another program may put the mark back
            self._damage_notes.note(record.key, damaged=False)
        return tuple(used)

    def _is_wrong(self, record: Record, file: ArtifactFile) -> bool:
        """Return whether a file is damaged.

        A file on a bad block counts as damaged, because it can never be read again.
        """
        try:
            return file_mismatch(self._store, record, file, self._on_bytes) is not None
        except BackupError as error:
            if not is_bad_block(error):
                raise
            return True

    def _heal_file(self, record: Record, file: ArtifactFile, held: Held) -> str:
        """Replace one file. Return the name of the place whose copy was used."""
        key = artifact_key(record.set, record.database, file.name)
        refused: list[Failure] = []
        for other in self._others:
            try:
                with self._proven(other, record, file) as path:
                    self._store.replace_artifact(key, path, file, self._on_bytes, held.confirm)
            except _NoGoodCopyError as error:
                refused.append(error.failure)
            else:
                return other.name
        raise self._hopeless(key, refused)

    @contextmanager
    def _proven(self, other: Place, record: Record, file: ArtifactFile) -> Iterator[Path]:
        """Yield the path of an undamaged copy on the volume. Raise _NoGoodCopyError if `other` has none."""
        try:
            yield self._prove(other, record, file)
        finally:
            self._staging.remove()

    def _prove(self, other: Place, record: Record, file: ArtifactFile) -> Path:
        try:
            with closing(contents(other.store, record, file, self._on_bytes)) as content:
                if not other.is_volume:
                    return self._fetch(content, file)
                for _ in content:
                    pass
            return self._root / artifact_key(record.set, record.database, file.name)
        except MismatchError as error:
            found = Failure(Reason.CHECKSUM_MISMATCH, f"{other.name}: {error.mismatch.found}")
            raise _NoGoodCopyError(found) from error
        except BackupError as error:
            raise _NoGoodCopyError(error.failure) from error

    def _fetch(self, content: Iterable[bytes], file: ArtifactFile) -> Path:
        """Write a file to the volume. Raise PermanentError if there is no room for it."""
        path = self._staging.folder / file.name
        try:
            free = space(self._root).free
            if free < file.size:
                text = f"{self._root}: {free} bytes free, {file.size} needed to fetch {file.name}"
                raise PermanentError(Reason.DISK_FULL, text)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as target:
                for chunk in content:
                    target.write(chunk)
        except OSError as error:
            reason = Reason.DISK_FULL if durable.is_full(error) else Reason.STORAGE_UNREACHABLE
            raise PermanentError(reason, f"{path}: {error.strerror}") from error
        return path

    def _hopeless(self, key: str, refused: list[Failure]) -> PermanentError:
        """Return the error for a file without an undamaged copy. A place that could not be read gives the reason."""
        passing = next((one for one in refused if one.reason is not Reason.CHECKSUM_MISMATCH), None)
        found = "; ".join(one.error for one in refused) or "no other place is in the settings"
        return PermanentError(
            passing.reason if passing else Reason.CHECKSUM_MISMATCH,
            f"{self._place}: {key} has no undamaged copy elsewhere: {found}",
            passing.advice if passing else "take a FULL; the damage mark stays, and nothing was replaced",
        )
