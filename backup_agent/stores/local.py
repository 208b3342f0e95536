"""A store on a mounted volume: files below one root. A complete file gets its name by a hard link.

Only `swap` and `replace_artifact` rename a file over another. Symbolic links below the root are not followed. The root
is never created: if the volume is not mounted, nothing may be written into the empty folder at its mount point. A crash
leaves at most a temporary file (`durable.TEMPORARY`), which listings omit.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.keys import segments
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.durable import CANNOT_LINK, FILE, FOLDER, SHARED, TEMPORARY, open_regular, share
from backup_agent.stores.keys import is_listed, other_content, parts_of
from backup_agent.stores.source import open_source, source_changed
from backup_agent.stores.store import (
    ConflictError,
    ObjectTooLargeError,
    Permit,
    Progress,
    StoredObject,
    VersionedObject,
)

_BLOCK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LARGEST_COMPARED = 16 * 1024 * 1024
"""Largest size in bytes of an object that `swap` compares by its content."""
_SWAP_LOCK = ".swap-lock"
"""Lock file, held while `swap` compares and replaces a file: a rename cannot be conditional. It is never removed."""

_LINK_IN_THE_WAY = "remove it: below a storage root are folders and files only, no symbolic links"

_FAULTS: dict[int, tuple[type[BackupError], Reason, str]] = {
    errno.ENOENT: (PermanentError, Reason.NOT_FOUND, ""),
    errno.ENOSPC: (PermanentError, Reason.DISK_FULL, ""),
    errno.EDQUOT: (PermanentError, Reason.DISK_FULL, "raise the volume's quota, or keep less"),
    errno.EFBIG: (PermanentError, Reason.FILE_TOO_LARGE, ""),
    errno.EACCES: (PermanentError, Reason.STORAGE_AUTH, "check owner and mode of the volume (fsGroup)"),
    errno.EPERM: (PermanentError, Reason.STORAGE_AUTH, "check owner, mode and attributes of the volume (fsGroup)"),
    errno.EROFS: (
        PermanentError,
        Reason.STORAGE_AUTH,
        "the volume is mounted read-only: its file system may be damaged",
    ),
    errno.ELOOP: (PermanentError, Reason.STORAGE_UNREACHABLE, _LINK_IN_THE_WAY),
    errno.ENOTDIR: (
        PermanentError,
        Reason.STORAGE_UNREACHABLE,
        _LINK_IN_THE_WAY,
    ),  # a symbolic link that is opened with O_DIRECTORY
    errno.EISDIR: (PermanentError, Reason.STORAGE_UNREACHABLE, "it is not a regular file: move it away"),
    errno.EIO: (TransientError, Reason.STORAGE_UNREACHABLE, "check the health of the volume and the kernel's log"),
    errno.ESTALE: (TransientError, Reason.STORAGE_UNREACHABLE, "the NFS mount is stale: start the pod again"),
    errno.EMFILE: (TransientError, Reason.INTERNAL, "too many open files"),
}


class LocalStore:
    """Stores files below `root`, which must exist."""

    conditional_writes = True
    concurrent_reads = 1
    keeps_versions = False

    def __init__(self, root: Path, name: str = "local") -> None:
        self.name = name
        self._root = root

    def now(self) -> None:
        """Return None: a volume has no clock of its own."""

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        """Store a file: as a hard link if `source` is on the same file system, else as a copy; see `Store`.

        A link copies no bytes, so only the size is compared; a copy is hashed as it is written.
        """
        with self._at(key, "store", create=True) as (folder, name), open_source(source, file) as descriptor:
            try:
                self._put(folder, name, source, descriptor, file, progress)
            except FileExistsError:
                self._must_hold(key, folder, name, descriptor, file)
                progress(file.size)
            os.fsync(folder)
        return StoredObject(key, file.size)

    def replace_artifact(
        self, key: str, source: Path, file: ArtifactFile, progress: Progress, permit: Permit
    ) -> StoredObject:
        """Store a file under a key whether or not the key exists: as a hard link to `source`, or as a copy.

        The content of the replaced file is not changed: its other hard links, such as those of `catalog adopt`, keep
        the old content.
        """
        with (
            self._at(key, "replace", create=True) as (folder, name),
            open_source(source, file) as descriptor,
            _second_name(folder, source, descriptor, file, progress) as temporary,
        ):
            permit()
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return StoredObject(key, file.size)

    def create(self, key: str, content: bytes) -> None:
        """Store a small object that must not exist yet."""
        with self._at(key, "store", create=True) as (folder, name):
            try:
                with _temporary(folder) as (temporary, descriptor):
                    _write(descriptor, content)
                    os.fsync(descriptor)
                    durable.publish(temporary, name, folder)
            except FileExistsError:
                with _open_file(folder, name) as existing:
                    if existing.read(len(content) + 1) != content:
                        raise other_content(self._where(key)) from None
                    os.fsync(existing.fileno())
            os.fsync(folder)

    def look(self, key: str, limit: int) -> VersionedObject | None:
        """Return a small object with its version, or None if it does not exist."""
        try:
            content = self.read(key, limit)
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                return None
            raise
        return VersionedObject(content, _version(content))

    def swap(self, key: str, content: bytes, version: str | None) -> str:
        """Replace a small object if it still has `version`; return its new version."""
        with self._at(key, "replace", create=True) as (folder, name), _locked(folder):
            if not _holds(folder, name, content) and _version_at(folder, name) != version:
                raise ConflictError(self._where(key))
            with _temporary(folder) as (temporary, descriptor):
                _write(descriptor, content)
                os.fsync(descriptor)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return _version(content)

    def read(self, key: str, limit: int) -> bytes:
        """Return the content of a small object."""
        with self._at(key, "read") as (folder, name), _open_file(folder, name) as file:
            try:
                return durable.read_open(file.fileno(), limit)
            except durable.TooLargeError:
                raise ObjectTooLargeError(self._where(key), limit, _version_of(file)) from None

    def open(self, key: str, start: int = 0) -> BufferedIOBase:
        """Return an artifact's file for reading from byte `start`."""
        with self._at(key, "open") as (folder, name):
            file = _open_file(folder, name)
            file.seek(start)
            return file

    def stat(self, key: str) -> StoredObject | None:
        """Return the object under a key, or None if it does not exist."""
        try:
            with self._at(key, "look at") as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except PermanentError as error:
            if error.failure.reason is Reason.NOT_FOUND:
                return None
            raise
        return StoredObject(key, found.st_size) if modes.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix, in order. Links and special files are not listed."""
        # Walk only the folder up to the last slash of the prefix. The rest of the prefix is the beginning of names.
        start = "/".join(segments(prefix)[:-1])
        if not start or is_listed(start):
            yield from self._below(start, prefix)

    def versions(self, folder: str, most: int) -> dict[str, str]:
        """Return the keys below a folder of the agent's own with their versions, at most `most` of them."""
        found: dict[str, str] = {}
        for stored in islice(self._below(folder.removesuffix("/"), folder), most):
            with suppress(PermanentError), self._at(stored.key, "read") as (parent, name):  # deleted meanwhile
                found[stored.key] = _version_at(parent, name) or ""
        return found

    def _below(self, start: str, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below the folder `start` whose keys begin with a prefix, in order."""
        try:
            with self._classified("list", prefix):
                if not start:
                    yield from self._walk(self._open_root(), "", prefix)
                else:
                    with self._at(start, "list") as (parent, name):
                        yield from self._walk(_open_folder(parent, name, create=False), start + "/", prefix)
        except PermanentError as error:
            # Nothing is listed if the folder does not exist, or is a file or a symbolic link.
            if error.failure.reason is not Reason.NOT_FOUND and not isinstance(error.__cause__, NotADirectoryError):
                raise

    def delete(self, key: str) -> bool:
        """Remove a key. A key that does not exist is not an error. Return True, since no old version is kept."""
        try:
            with self._at(key, "delete") as (folder, name):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except PermanentError as error:
            if error.failure.reason is not Reason.NOT_FOUND:
                raise
        return True

    def _put(
        self, folder: int, name: str, source: Path, descriptor: int, file: ArtifactFile, progress: Progress
    ) -> None:
        """Link or copy the source to `name`; raise FileExistsError if `name` exists."""
        share(descriptor)
        os.fsync(descriptor)  # neo4j-admin does not sync the files that it writes
        try:
            os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in CANNOT_LINK:
                raise
        else:
            progress(file.size)
            return
        if durable.exists(name, folder):  # checked before many GiB are copied
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        with _temporary(folder, SHARED) as (temporary, target):
            _must_be(source, file, _copy(descriptor, target, progress))
            os.fsync(target)
            durable.publish(temporary, name, folder)

    def _must_hold(self, key: str, folder: int, name: str, source: int, file: ArtifactFile) -> None:
        """Raise PermanentError unless the file `name` has the content of the source; make it durable."""
        with _open_file(folder, name) as existing:
            found, ours = os.fstat(existing.fileno()), os.fstat(source)
            linked = (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
            same = linked or (
                found.st_size == file.size and hashlib.file_digest(existing, "sha256").hexdigest() == file.sha256
            )
            if not same:
                raise other_content(self._where(key))
            os.fsync(existing.fileno())

    def _walk(self, folder: int, above: str, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below an open folder, then close it. `above` is its key with a slash (the root: empty)."""
        try:
            # Folders are sorted by their names with a slash, so that whole keys come in order: a-b, a/b, a0.
            names = sorted(
                entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in os.scandir(folder)
                if is_listed(entry.name) and not entry.is_symlink()
            )
            for name in names:
                key = above + name
                with suppress(FileNotFoundError):  # deleted meanwhile
                    if not key.startswith(prefix):
                        continue
                    if name.endswith("/"):
                        yield from self._walk(_open_folder(folder, name[:-1], create=False), key, prefix)
                    elif modes.S_ISREG((found := os.stat(name, dir_fd=folder, follow_symlinks=False)).st_mode):
                        yield StoredObject(key, found.st_size)
        finally:
            os.close(folder)

    @contextmanager
    def _at(self, key: str, verb: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder of a key, without following symbolic links; yield its descriptor and the file's name."""
        *folders, name = parts_of(key)
        with self._classified(verb, key):
            descriptor = self._open_root()
            try:
                for folder in folders:
                    below = _open_folder(descriptor, folder, create=create)
                    os.close(descriptor)
                    descriptor = below
                yield descriptor, name
            finally:
                os.close(descriptor)

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            raise PermanentError(
                Reason.STORAGE_UNREACHABLE,
                f"{self.name}: the folder {self._root} does not exist",
                "check that the volume is mounted there (storage.root); the agent does not create it",
            ) from None

    @contextmanager
    def _classified(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # An errno that is not in the table counts as permanent.
            kind, reason, hint = _FAULTS.get(error.errno or 0, (PermanentError, Reason.INTERNAL, ""))
            raise kind(
                reason, f"{self.name}: cannot {verb} {self._root / key}: {error.strerror or error}", hint
            ) from error

    def _where(self, key: str) -> str:
        return f"{self.name}: {self._root / key}"


def _open_folder(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # created by another thread meanwhile
        os.mkdir(name, FOLDER & 0o777, dir_fd=parent)
    os.fsync(parent)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _open_file(folder: int, name: str) -> BufferedIOBase:
    return os.fdopen(open_regular(name, folder=folder), "rb")


def _holds(folder: int, name: str, content: bytes) -> bool:
    """Return whether a file exists and has this content."""
    try:
        with _open_file(folder, name) as file:
            return file.read(len(content) + 1) == content
    except FileNotFoundError:
        return False


def _version_at(folder: int, name: str) -> str | None:
    """Return the version of a small file; None if it does not exist."""
    try:
        with _open_file(folder, name) as file:
            return _version_of(file)
    except FileNotFoundError:
        return None


def _version_of(file: BufferedIOBase) -> str:
    """Return the version: the SHA-256 of the content, or for a large file its inode, size and modification time."""
    facts = os.fstat(file.fileno())
    if facts.st_size > _LARGEST_COMPARED:
        return f"{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}"
    file.seek(0)
    return _version(file.read(_LARGEST_COMPARED + 1))


@contextmanager
def _locked(folder: int) -> Iterator[None]:
    """Hold the lock that keeps other processes and threads from a `swap` in a folder."""
    descriptor = open_regular(_SWAP_LOCK, os.O_RDWR | os.O_CREAT, mode=SHARED, folder=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(folder: int, mode: int = FILE) -> Iterator[tuple[str, int]]:
    """Create a temporary file in a folder, and yield its name and descriptor. Always remove that name at the end."""
    name = f"{TEMPORARY}{secrets.token_hex(8)}"
    descriptor = os.open(name, _CREATE, mode, dir_fd=folder)
    try:
        yield name, descriptor
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


@contextmanager
def _second_name(folder: int, source: Path, descriptor: int, file: ArtifactFile, progress: Progress) -> Iterator[str]:
    """Link or copy a file to a temporary name in a folder, and yield the name. Remove the name at the end.

    All bytes have been compared with `file` and are durable when the name is yielded.
    """
    name = f"{TEMPORARY}{secrets.token_hex(8)}"
    share(descriptor)
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        with _temporary(folder, SHARED) as (copy, target):
            _must_be(source, file, _copy(descriptor, target, progress))
            os.fsync(target)
            yield copy
        return
    try:
        linked, opened = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(descriptor)
        if (linked.st_dev, linked.st_ino) != (opened.st_dev, opened.st_ino):
            raise source_changed(source, "another file has its name now")
        _must_be(source, file, _copy(descriptor, None, progress))
        os.fsync(descriptor)
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _must_be(source: Path, file: ArtifactFile, sha256: str) -> None:
    if sha256 != file.sha256:
        raise source_changed(source, f"SHA-256 {file.sha256} was read, it has {sha256}")


def _copy(source: int, target: int | None, progress: Progress) -> str:
    """Copy all bytes, or only read them if there is no target; return their SHA-256."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    offset = 0
    while count := os.preadv(source, [buffer], offset):
        digest.update(buffer[:count])
        if target is not None:
            _write(target, buffer[:count])
        offset += count
        progress(count)
    return digest.hexdigest()


def _write(descriptor: int, content: bytes | memoryview) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
