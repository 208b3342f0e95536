"""Small files: written atomically and durably, and read within a limit.

Every write makes a temporary file beside the target, writes, syncs and renames it, and syncs the folder. Without one of
these steps a power failure could leave an empty file under the final name.

Every read refuses anything but a regular file, never waits for a writer, and limits the bytes that it keeps in memory.
Other users may write to the requests folder and to the storage root: a FIFO, a device, a link or a huge file under a
name that the agent reads must not stop the agent.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

UMASK = 0o007
"""The umask of every process of the agent: the group has the rights of the user, and other users have none."""

FILE, SHARED, FOLDER = 0o640, 0o660, 0o2770
"""Modes: FILE of small files, which are replaced as a whole; SHARED of artifacts and locks; FOLDER of folders.

The agent keeps its group when its user changes (Kubernetes' fsGroup). Locks are writable for the group because the next
user must open them for writing. Artifacts are writable for the group because a chain is staged by hard links, and the
kernel lets a user link another user's file only if the user may write to it (fs.protected_hardlinks). New files in a
folder get the folder's group.
"""

TEMPORARY = ".tmp-"
"""The beginning of the names of incomplete files. The agent may remove them at its next start."""

CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""errnos of link(2) if the target is on another file system, if the file system has no hard links (EPERM on vfat and
some network file systems), or if the file has too many links."""

LIMIT = 2**20
"""Default limit for the size of a small file, in bytes."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_LINK = "a symbolic link"
_KINDS = (
    (stat.S_ISLNK, _LINK),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_SECRET = 0o600

_number = count()


class RefusedFileError(OSError):
    """The file exists and is refused: it is not a regular file, or it is too large."""


class TooLargeError(RefusedFileError):
    """The file has more bytes than the limit of its kind."""

    def __init__(self, path: Path | str, limit: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {limit} bytes", str(path))


def read(path: Path, limit: int = LIMIT, *, follow: bool = False) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; raise RefusedFileError or another OSError.

    With `follow` the path may be a symbolic link, like the files of a mounted Secret or ConfigMap.
    """
    descriptor = open_regular(path, follow=follow)
    try:
        return read_open(descriptor, limit, path)
    finally:
        os.close(descriptor)


def read_open(descriptor: int, limit: int, path: Path | str = "") -> bytes:
    """Return the content of an open file from its current position; raise TooLargeError if it exceeds `limit` bytes.

    `path` is used only in the message of the error.
    """
    size = os.fstat(descriptor).st_size
    if size > limit:
        raise TooLargeError(path, limit)
    content = os.read(descriptor, size + 1)
    while len(content) <= limit and (block := os.read(descriptor, limit + 1 - len(content))):
        content += block
    if len(content) > limit:  # the file has grown since fstat
        raise TooLargeError(path, limit)
    return content


def open_regular(
    path: Path | str,
    flags: int = os.O_RDONLY,
    *,
    mode: int = 0o640,
    follow: bool = False,
    folder: int | None = None,
) -> int:
    """Open a regular file and return its descriptor; raise RefusedFileError for anything else, or another OSError.

    A symbolic link is refused unless `follow` is given. This never blocks: a FIFO without a writer is refused too.
    A relative path starts from `folder`, the descriptor of a folder.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, mode, dir_fd=folder)
    except OSError as error:
        # ELOOP: a link. ENXIO: a socket, or a FIFO without a reader. EISDIR: a directory opened for writing.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR) and (kind := _kind(path, folder, follow=follow)):
            raise _refused(path, kind) from None
        raise
    found = os.fstat(descriptor).st_mode
    if stat.S_ISREG(found):
        return descriptor
    os.close(descriptor)
    raise _refused(path, _kind_of_mode(found))


def _kind(path: Path | str, folder: int | None, *, follow: bool) -> str:
    """Return the kind of file at a path; empty if it is a regular file or the kind is unknown."""
    with suppress(OSError):
        found = os.stat(path, dir_fd=folder, follow_symlinks=follow).st_mode
        return "" if stat.S_ISREG(found) else _kind_of_mode(found)
    return ""


def _kind_of_mode(mode: int) -> str:
    return next((word for test, word in _KINDS if test(mode)), "a special file")


def _refused(path: Path | str, kind: str) -> RefusedFileError:
    number = errno.ELOOP if kind == _LINK else errno.EISDIR
    return RefusedFileError(number, f"{kind}, not a regular file", str(path))


def names(folder: Path) -> list[str]:
    """Return the sorted names in a folder; an empty list if it does not exist. Raise OSError if it cannot be read.

    `Path.glob` would show an unreadable folder as empty.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  only names are needed, and a folder may have many entries
    except FileNotFoundError:
        return []


def folders(folder: Path) -> list[str]:
    """Like `names`, for the subfolders of a folder only."""
    return [name for name in names(folder) if (folder / name).is_dir()]


def is_full(error: OSError) -> bool:
    """Return whether an error means that a volume or quota has no space for more bytes or files."""
    return error.errno in _FULL


def write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replace the content of a file atomically, and durably unless `sync` is False. Raise OSError that names `path`."""
    try:
        temporary = _write_beside(path, content, sync=sync)
        try:
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # not the name of the temporary file
    if sync:
        sync_folder(path.parent)


def create(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, atomically and durably. Raise FileExistsError or another OSError."""
    temporary = _write_beside(path, content, sync=True)
    try:
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def append_line(path: Path, line: bytes, *, sync: bool = False) -> None:
    """Append a line, durably if `sync`. If the last line is incomplete, end it first.

    Raise OSError if not all of it was written.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if sync and not end:
        sync_folder(path.parent)


def create_secret(path: Path, content: bytes) -> None:
    """Write a new file, durably, that only its owner may read. Raise FileExistsError or another OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _SECRET)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish(temporary: Path | str, name: Path | str, folder: int | None = None) -> None:
    """Give a finished file its name; raise FileExistsError if the name is taken. The temporary name may remain.

    `rename` would overwrite an existing file, so the name is made by a hard link. If the file system refuses links, the
    name is checked before the rename. Check and rename are not atomic together, but only one agent uses a folder at a
    time (flock). Relative paths start from `folder`, the descriptor of a folder.
    """
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        if exists(name, folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name)) from None
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def exists(name: Path | str, folder: int | None = None) -> bool:
    """Return whether a name exists. A dangling symbolic link exists."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def closed_to_others() -> Iterator[None]:
    """Use UMASK inside the context. A command would otherwise create files with the umask of the person who runs it."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make_folder(folder: Path) -> None:
    """Create a folder, and its parents, for the agent's user and group only. Do not change an existing folder."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(FOLDER)


def share(file: int) -> None:
    """Let only the agent's user and group read and write an open file. Do not change a file of another user."""
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
    """Remove incomplete files that an earlier process of the agent left in a folder. Ignore files of other users."""
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
