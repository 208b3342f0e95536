"""Reads the memory limit of the container. The memory of the JVM and the parts in flight are calculated from it.

In most pods /sys/fs/cgroup/memory.max is the limit. Without a cgroup namespace, on cgroup v1, or if only a parent (the
pod) is limited, the limit is the lowest limit of the group and its parents.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")

# cgroup v1 writes "no limit" as the largest multiple of the page size in 63 bits. No machine has half of this memory.
_UNLIMITED = 1 << 60


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the memory limit in bytes, or None if memory is not limited or the limit cannot be read."""
    limits = [limit for file in _files(root) if (limit := _read(file)) is not None]
    return min(limits, default=None)


def _files(root: Path) -> Iterator[Path]:
    """Yield the files that may contain a limit of this process."""
    mounts = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        # hierarchy:controllers:path (cgroups(7)); v2 has hierarchy 0 and no controllers.
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            folder, name = mounts, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = mounts / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be that of the host while the container's group is mounted at the root: try both.
        for part in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield folder / str(part).lstrip("/") / name


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _read(file: Path) -> int | None:
    word = next(iter(_lines(file)), "").strip()
    if not word.isdecimal():  # "max", or an absent file
        return None
    limit = int(word)
    return limit if 0 < limit < _UNLIMITED else None
