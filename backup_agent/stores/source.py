"""The file that is to be stored: opened once, and refused if it has changed since it was read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import PermanentError, Reason


@contextmanager
def open_source(source: Path, file: ArtifactFile) -> Iterator[int]:
    """Open `source` for reading and yield its descriptor.

    Raise PermanentError if it cannot be read, is not a regular file, or has another size than `file`.
    """
    try:
        descriptor = durable.open_regular(source)
    except OSError as error:
        raise PermanentError(
            Reason.NO_ARTIFACT,
            f"cannot read {source}: {error.strerror}",
            "find out whether the file was moved or deleted",
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise source_changed(source, "it is no longer a regular file")
        size = found.st_size
        if size != file.size:
            raise source_changed(source, f"{file.size} bytes were read, but the file now has {size}")
        yield descriptor
    finally:
        os.close(descriptor)


def source_changed(source: Path, found: str) -> PermanentError:
    """Return the error for a source that has changed since it was read."""
    return PermanentError(
        Reason.CHECKSUM_MISMATCH,
        f"{source} has changed since it was read: {found}",
        "check the health of the volume; take the backup again",
    )
