"""Small files that are there whole or not at all, also after a crash.

Every write is: temp beside the target, write, fsync, rename, fsync the folder. Leave one step out and a power cut can
show an empty file under the final name.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

UMASK = 0o007
"""Of every process of the agent: its group may do what it may, and other users nothing."""

FILE, SHARED, FOLDER = 0o640, 0o660, 0o2770
"""Modes: of a file that is replaced and never changed; of artifacts and locks; of folders.

The group is what the agent keeps when its user changes (Kubernetes' fsGroup). Writable for the group are files that a
later user must open for writing, and artifacts: the kernel lets a user hard-link another user's file only if that user
may write it (fs.protected_hardlinks), and a chain is staged by links. A folder's group goes on to what is made in it.
"""

TEMPORARY = ".tmp-"
"""What the name of a file under way begins with. The next life of the agent may remove them."""

CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""Another file system, or one that has no hard links (EPERM on vfat and some network ones), or too many of them."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_number = count()


def is_full(error: OSError) -> bool:
    """Tell whether a volume, or the quota on it, takes no more bytes or no more files."""
    return error.errno in _FULL


def write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replace a file by new content, atomically; durably too unless `sync` is off. Raise OSError."""
    temporary = _write_beside(path, content, sync=sync)
    try:
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, atomically and durably. Raise FileExistsError or another OSError.

    `rename` would overwrite, so the name is made by a link. Where links are refused, a look comes before the rename.
    """
    temporary = _write_beside(path, content, sync=True)
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def closed_to_others() -> Iterator[None]:
    """Make files and folders for the agent's user and group alone: for a process whose umask is a person's."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make_folder(folder: Path) -> None:
    """Make a folder for the agent's user and group alone, with its parents; leave one that exists as it is."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(FOLDER)


def share(file: int) -> None:
    """Let the agent's group, and nobody else, read and write an open file. A file of another user is left as it is."""
    with suppress(PermissionError):
        if os.fstat(file).st_mode & 0o777 != SHARED:
            os.fchmod(file, SHARED)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what an earlier life left half written in a folder. What may not be removed is not of that."""
    for entry in os.scandir(folder):
        if entry.name.startswith(TEMPORARY):
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                Path(entry.path).unlink()


def _open_file(path: str, flags: int) -> int:
    return os.open(path, flags, FILE)


def _write_beside(path: Path, content: bytes, *, sync: bool) -> Path:
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{next(_number)}"
    try:
        with open(temporary, "xb", opener=_open_file) as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
