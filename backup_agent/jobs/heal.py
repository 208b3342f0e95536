"""Writing an artifact again where it is damaged or missing, from another place whose bytes prove right.

The order is what makes it safe: the good bytes are proven before anything is replaced, the lease is asked right before
that, and the damage mark goes last, after what now stands there was read again. A crash between any two leaves the mark
and the good copy. The record is not touched: the bytes are those it names.
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
from backup_agent.jobs.reread import OnBytes, WrongError, contents, is_bad_block, reread, wrong_file
from backup_agent.jobs.staging import Staging


class _NoGoodCopyError(Exception):
    """A place has no good bytes, or none that can be had now."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


class Healing:
    """Heals artifacts of one place from all others, one at a time."""

    def __init__(self, place: Place, others: tuple[Place, ...], on_bytes: OnBytes) -> None:
        """No other place is opened before it is needed."""
        self._place = place.name
        self._store = place.store
        self._others = others
        self._root = place.root
        # The same name each time: what a killed pass has left there is found by the next.
        self._staging = Staging(self._root, f"heal-{place.name}", "", "")
        self._on_bytes = on_bytes

    def heal(self, record: Record, held: Held) -> tuple[str, ...]:
        """Write again the files of an artifact that are not as recorded, then take its mark away; return from where.

        Raise BackupError, `checksum_mismatch` where no place has good bytes: the mark stays, and what was there.
        """
        if held.no_deletion is not None:  # who replaces deletes
            raise PermanentError(held.no_deletion.reason, held.no_deletion.error, held.no_deletion.hint)
        self._staging.remove()
        wrong = [file for file in record.files if self._is_wrong(record, file)]
        used = {self._heal_file(record, file, held): None for file in wrong}
        if still := reread(self._store, record, self._on_bytes):
            raise PermanentError(
                Reason.CHECKSUM_MISMATCH,
                f"{self._place}: {record.key} was written again, and still: {still.found}",
                "what is stored there is altered: look at the health of the place",
            )
        held.confirm()
        self._store.delete(damage_key(record.key))
        return tuple(used)

    def _is_wrong(self, record: Record, file: ArtifactFile) -> bool:
        """Tell whether a file is to be replaced: on a bad block it is, as nobody will ever read it there."""
        try:
            return wrong_file(self._store, record, file, self._on_bytes) is not None
        except BackupError as error:
            if not is_bad_block(error):
                raise
            return True

    def _heal_file(self, record: Record, file: ArtifactFile, held: Held) -> str:
        """Replace one file; return the place that its bytes came from."""
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
        """Give a file on the volume whose bytes are as recorded; raise _NoGoodCopyError where the place has none."""
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
        except WrongError as error:
            found = Failure(Reason.CHECKSUM_MISMATCH, f"{other.name}: {error.wrong.found}")
            raise _NoGoodCopyError(found) from error
        except BackupError as error:
            raise _NoGoodCopyError(error.failure) from error

    def _fetch(self, content: Iterable[bytes], file: ArtifactFile) -> Path:
        """Write a file onto the volume; raise PermanentError where it has no room for it."""
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
        """Return the error for a file that no place has; where one could not be asked, for that place's reason."""
        passing = next((one for one in refused if one.reason is not Reason.CHECKSUM_MISMATCH), None)
        found = "; ".join(one.error for one in refused) or "no other place is in the settings"
        return PermanentError(
            passing.reason if passing else Reason.CHECKSUM_MISMATCH,
            f"{self._place}: {key} has no good copy elsewhere: {found}",
            passing.advice if passing else "take a FULL; the damage mark stays, and nothing was replaced",
        )
