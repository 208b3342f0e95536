"""Fetch a component once, and keep it in a folder outside the tree.

A folder that stands in the cache is whole: it is made beside its place under a lock and renamed. Parallel workers wait for
the one that fetches.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class MissingComponentError(Exception):
    """A component is not on this machine and cannot be fetched; the text says what to do."""

    @classmethod
    def package(cls, program: str, package: str) -> "MissingComponentError":
        """Name the system package that brings a program."""
        return cls(f"{program} is absent: apt-get install -y --no-install-recommends {package}")


def cache_folder() -> Path:
    """Return where components are kept: $NEO4J_BACKUP_AGENT_CACHE, else the user's cache folder."""
    chosen = os.environ.get("NEO4J_BACKUP_AGENT_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neo4j-backup-agent"


def cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the cached folder of that name; where there is none, let `fetch` fill an empty one first."""
    target = cache_folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f".{name}.lock")):
        if not target.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
            try:
                fetch(unfinished)
                unfinished.chmod(0o755)  # mkdtemp made it private
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
