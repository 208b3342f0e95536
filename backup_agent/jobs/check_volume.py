"""The child process of the doctor that looks at the volume and the requests folder. It writes only if told to."""

import ctypes
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from backup_agent import durable, processes
from backup_agent.catalog.contents import by_database
from backup_agent.catalog.drill_cycles import drill_cycles
from backup_agent.catalog.mounts import MOUNTS, Require, is_own_disk, mount_of, parse
from backup_agent.catalog.place import place_of
from backup_agent.catalog.space import allows_hard_links, space
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.doctor.checks import Check, CheckFinding, unknown
from backup_agent.core.doctor.drills import judge_drill_cycles
from backup_agent.core.doctor.volume import (
    FolderFacts,
    RoomFacts,
    judge_hard_links,
    judge_modes,
    judge_requests_folder,
    judge_room,
    judge_volume,
)
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.events import ChecksEnded, CheckTold
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.jobs.event_writer import EventWriter, begin
from backup_agent.settings.model import Settings

INOTIFY = Path("/proc/sys/fs/inotify")

IN_CREATE = 0x100
"""inotify(7): files that are created."""

LIMITS = {errno.EMFILE: ("max_user_instances", "instance"), errno.ENOSPC: ("max_user_watches", "watch")}
"""Error of inotify -> the limit that is reached, and what it limits."""

STAGED = 2
"""A FULL takes about this many times its size while it is taken: its store is staged before the artifact is made."""


def check(task: CheckTask, settings: Settings, writer: EventWriter) -> None:
    """Report the findings about the volume and the requests folder."""
    for finding in findings(settings, write=task.write):
        writer.tell(CheckTold(finding=finding))
    writer.tell(ChecksEnded())


def findings(settings: Settings, *, write: bool) -> Iterator[CheckFinding]:
    """Yield the finding of each check."""
    storage, requests = settings.storage, settings.requests
    folder = look_at(storage.root, storage.require_volume)
    usable = folder.fault is None and folder.mode is not None
    yield judge_volume(folder)
    yield _room(settings)
    yield judge_hard_links(folder, tested=allows_hard_links(storage.root) if write and usable else None)
    yield judge_modes(folder)
    watched = next(one for one in (requests.folder, *requests.folder.parents) if one.exists())
    yield judge_requests_folder(look_at(requests.folder, storage.require_volume), watch_fault=watch_fault(watched))
    yield judge_drill_cycles(tuple(drill_cycles(settings, datetime.now(UTC))))


def look_at(folder: Path, require: Require) -> FolderFacts:
    """Return the facts of a folder."""
    mounts = parse(MOUNTS.read_text(errors="surrogateescape"))
    kind, own_disk = mount_of(folder, mounts).kind, is_own_disk(folder, require, os.environ)
    try:
        facts = folder.stat()
    except FileNotFoundError:
        above = next(one for one in folder.parents if one.exists())
        fault = None if os.access(above, os.W_OK | os.X_OK) else f"it does not exist, and {above} cannot be written"
        return FolderFacts(str(folder), fault, own_disk, kind)
    except OSError as error:
        return FolderFacts(str(folder), error.strerror, own_disk, kind)
    if not folder.is_dir():
        fault = "it is not a folder"
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        fault = f"this process (user {os.geteuid()}) may not write there, it belongs to user {facts.st_uid}"
    else:
        fault = None
    return FolderFacts(
        str(folder), fault, own_disk, kind, mode=facts.st_mode & 0o7777, foreign=facts.st_uid != os.geteuid()
    )


def _room(settings: Settings) -> CheckFinding:
    """Judge the space, also if the records cannot be read: then the need is not known."""
    root = settings.storage.root
    try:
        found = space(next(one for one in (root, *root.parents) if one.exists()))
        largest = max(largest_fulls(settings), key=lambda one: one.size, default=None)
    except OSError as error:
        return unknown(Check.ROOM, f"{root}: {error.strerror}")
    except BackupError as error:
        return unknown(Check.ROOM, error.failure.error, error.failure.advice)
    return judge_room(
        RoomFacts(
            free=found.free,
            size=found.size,
            need=None if largest is None else STAGED * largest.size * settings.limits.parallel,
            largest="" if largest is None else database_key(largest.set, largest.database),
            free_files=found.free_files,
            files=found.files,
        )
    )


def largest_fulls(settings: Settings) -> Iterator[Entry]:
    """Yield the newest FULL of each database. One database is in memory at a time, and the index is not written."""
    if not settings.storage.root.is_dir():
        return
    for contents in by_database(place_of(VOLUME, settings), writes=False):
        fulls = [entry for entry in contents.entries.values() if entry.full]
        if fulls:
            yield max(fulls, key=lambda entry: entry.finished)


def watch_fault(folder: Path) -> str | None:
    """Return why one more process cannot watch a folder, or None: what the agent needs of inotify is tried.

    The limits count all processes of this user on the node, also those of other pods, so they cannot be computed here.
    """
    try:
        _watch(folder)
    except OSError as error:
        limit = LIMITS.get(error.errno or 0)
        if limit is None:
            return f"inotify: {error.strerror}"
        key, what = limit
        return f"no {what} is free for this user on this node: fs.inotify.{key} is {_limit(key)}"
    return None


def _watch(folder: Path) -> None:
    """Begin and end a watch of a folder. Raise OSError if that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _limit(key: str) -> str:
    try:
        return str(int(durable.read(INOTIFY / key)))
    except (OSError, ValueError):
        return "not readable"


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    check(*begin(CheckTask))


if __name__ == "__main__":
    main()
    processes.leave()
