"""Repairing the modes of files on a volume at start, so that only the agent's user and group can use them.

The mode of a folder is changed after the modes of its files. Therefore the files in a folder with a correct mode are
not checked, and the next start continues an interrupted repair.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backup_agent.durable import FOLDER, SHARED
from backup_agent.jobs.staging import ASIDE

OTHERS = 0o007
WRITE_BY_OTHERS = 0o002
_PERMISSIONS = 0o7777
_GROUP = 0o070
_GROUP_READS_AND_WRITES = 0o060
_ARTIFACT = re.compile(r".+\.backup(\.\d+)?|.+\.aside")
_NOT_OURS = frozenset({"lost+found"})
"""Folders of the file system itself."""


@dataclass
class Repaired:
    """The result of repairing the modes below a folder."""

    changed: int = 0
    """Number of repaired files and folders: other users could use them, or the agent's group could not."""
    left: int = 0
    """Number of files and folders that the agent cannot repair, because they belong to another user."""
    example: str = ""

    def tell(self) -> str:
        """Return what an administrator must do, or an empty string if all modes are right."""
        if not self.left:
            return ""
        return (
            f"{self.left} files and folders belong to another user and could not be repaired, such as {self.example}: "
            "as root, chmod -R o-rwx,g+rwX the volume"
        )


def repair(top: Path) -> Repaired:
    """Remove all rights of other users below a folder, and let the group use folders and artifacts."""
    found = Repaired()
    _repair(top, found, top=True)
    return found


def _repair(folder: Path, found: Repaired, *, top: bool = False) -> None:
    try:
        mode = folder.lstat().st_mode & _PERMISSIONS
        entries = [entry for entry in os.scandir(folder) if not entry.is_symlink() and entry.name not in _NOT_OURS]
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        _count_left(folder, found)
        return
    correct = mode & OTHERS == 0 and mode & _GROUP == _GROUP
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _repair(Path(entry.path), found)
        elif not correct and entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):
                _repair_file(entry, found)
    # In Kubernetes the root of a mount belongs to root. Others may list it, but cannot read the files in it.
    report = mode & WRITE_BY_OTHERS != 0 if top else not correct
    _change(folder, mode, mode & ~OTHERS | FOLDER, found, wrong=not correct, report=report)


def _repair_file(entry: "os.DirEntry[str]", found: Repaired) -> None:
    mode = entry.stat(follow_symlinks=False).st_mode & _PERMISSIONS
    shared = _ARTIFACT.fullmatch(entry.name) or Path(entry.path).parent.name == ASIDE
    wanted = mode & ~OTHERS | (SHARED if shared else 0)
    if wanted != mode:
        wrong = bool(mode & OTHERS) or mode & _GROUP_READS_AND_WRITES != _GROUP_READS_AND_WRITES
        _change(Path(entry.path), mode, wanted, found, wrong=wrong, report=wrong)


def _change(path: Path, mode: int, wanted: int, found: Repaired, *, wrong: bool, report: bool) -> None:
    if mode == wanted:
        return
    try:
        path.chmod(wanted)
        found.changed += wrong
    except PermissionError:
        if report:
            _count_left(path, found)


def _count_left(path: Path, found: Repaired) -> None:
    found.left += 1
    found.example = found.example or str(path)
