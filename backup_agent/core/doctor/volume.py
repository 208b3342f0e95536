"""Judge what was seen of the volume and of the requests folder."""

from dataclasses import dataclass

from backup_agent.core.doctor.checks import Check, CheckFinding, fail, ok, unknown, warn
from backup_agent.core.quantities import size
from backup_agent.core.reasons import HINTS, Reason

WITH_LINKS = frozenset(
    {"bcachefs", "btrfs", "ceph", "ext3", "ext4", "f2fs", "nfs", "nfs4", "overlay", "tmpfs", "xfs", "zfs"}
)
"""Types of file systems that are known to have hard links."""

REMOTE = frozenset({"9p", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "virtiofs"})
"""Types of file systems that other machines can change without an event of inotify on this one."""

LITTLE_SHARE = 0.1
"""Free share of a volume below which room is a warning if no FULL is known."""


@dataclass(frozen=True)
class FolderFacts:
    """What was seen of a folder that the agent writes to."""

    path: str
    fault: str | None = None
    """Why it cannot be used; None if it can, or if it does not exist yet and can be made."""
    own_disk: bool = False
    """Whether it is on the container's own disk although a volume is demanded."""
    kind: str = ""
    """The type of its file system; empty if it is not known."""
    mode: int | None = None
    """Permission bits; None if it does not exist."""
    foreign: bool = False
    """Whether it belongs to another user."""


def judge_volume(folder: FolderFacts) -> CheckFinding:
    """Judge the storage root."""
    if folder.fault is not None:
        return fail(
            Check.VOLUME,
            f"{folder.path}: {folder.fault}",
            "check storage.root, the volume's claim and volumeMounts, and fsGroup: the agent's user must write there",
        )
    if folder.own_disk:
        return fail(
            Check.VOLUME,
            f"{folder.path} is on the container's own disk, so backups are lost with the container",
            "mount a volume there, or set storage.require_volume: never to keep backups on this disk knowingly",
        )
    kind = folder.kind or "file system not known"
    state = "can be written" if folder.mode is not None else "does not exist yet, and can be made"
    return ok(Check.VOLUME, f"{folder.path} {state} ({kind})")


@dataclass(frozen=True)
class RoomFacts:
    """Space of the volume in bytes and files, and what the next FULL needs."""

    free: int
    size: int
    need: int | None
    """Bytes for the largest FULL, staged and recovered; None if no FULL is recorded."""
    largest: str = ""
    """`<set>/<database>` of that FULL."""
    free_files: int = 0
    files: int = 0


def judge_room(room: RoomFacts) -> CheckFinding:
    """Judge the free space. A FULL is staged before it is stored, and an older one is deleted only afterwards."""
    text = f"{size(room.free)} of {size(room.size)} are free"
    if room.files and not room.free_files:
        return fail(Check.ROOM, f"{text}, and no inode is free", HINTS[Reason.DISK_FULL])
    if room.need is None:
        if room.free < room.size * LITTLE_SHARE:
            return warn(Check.ROOM, f"{text}, and no FULL is recorded yet", HINTS[Reason.DISK_FULL])
        return ok(Check.ROOM, f"{text}; what a FULL needs is known after the first one")
    text = f"{text}, and the next FULL of {room.largest} needs about {size(room.need)}"
    if room.free < room.need:
        return fail(Check.ROOM, text, HINTS[Reason.DISK_FULL])
    if room.free < 2 * room.need:
        return warn(Check.ROOM, text, HINTS[Reason.DISK_FULL])
    return ok(Check.ROOM, text)


def judge_hard_links(folder: FolderFacts, *, tested: bool | None) -> CheckFinding:
    """Judge whether the volume has hard links: `tested`, or by the type of its file system if that is None."""
    if tested or (tested is None and folder.kind in WITH_LINKS):
        return ok(Check.HARD_LINKS, "hard links work" if tested else f"{folder.kind} has hard links")
    if tested is None:
        return unknown(
            Check.HARD_LINKS,
            f"it is not known whether {folder.kind or 'the file system'} has hard links",
            "`backup-agent doctor --write` tries it; the agent has tried it at its start",
        )
    return warn(
        Check.HARD_LINKS,
        f"{folder.path} refuses hard links, so neo4j-admin writes into the folder of the database itself",
        "use a volume with hard links (ext4, xfs, nfs): a killed backup then never leaves files among the artifacts",
    )


def judge_modes(folder: FolderFacts) -> CheckFinding:
    """Judge owner and mode of the storage root."""
    if folder.mode is None:
        return unknown(Check.MODES, f"{folder.path} does not exist yet")
    if folder.mode & 0o002:
        return warn(
            Check.MODES,
            f"every user may write in {folder.path} (mode {folder.mode:o})",
            f"chmod o-rwx {folder.path}: artifacts contain the whole data of the databases",
        )
    owner = "another user, and the agent's group may write" if folder.foreign else "the agent's user"
    return ok(Check.MODES, f"{folder.path} belongs to {owner} (mode {folder.mode:o})")


def judge_requests_folder(folder: FolderFacts, *, watch_fault: str | None) -> CheckFinding:
    """Judge the requests folder. `watch_fault` says why inotify cannot watch it, or is None."""
    if folder.fault is not None:
        return fail(
            Check.REQUESTS_FOLDER,
            f"{folder.path}: {folder.fault}",
            "check requests.folder and its volumeMount: the agent's user must write there",
        )
    if watch_fault is not None:
        return warn(
            Check.REQUESTS_FOLDER,
            f"{folder.path} cannot be watched, so it is listed every 5 seconds: {watch_fault}",
            "raise fs.inotify.max_user_instances and max_user_watches on the node",
        )
    if folder.own_disk:
        return warn(
            Check.REQUESTS_FOLDER,
            f"{folder.path} is on the container's own disk, so requests and answers are lost with the container",
            "mount a volume there",
        )
    if folder.kind in REMOTE:
        seen = f"requests that other machines drop are seen within 5 seconds, since {folder.kind} reports no events"
        return ok(Check.REQUESTS_FOLDER, f"{folder.path} can be written; {seen}")
    return ok(Check.REQUESTS_FOLDER, f"{folder.path} can be written and watched")
