"""Fetch a component once, and keep it in a folder outside the source tree.

A folder in the cache is complete: it is filled under another name, under a lock, and then renamed. Parallel workers wait
for the one that fetches.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class MissingComponentError(Exception):
    """A component is not on this machine and cannot be fetched. The text says what to do."""

    @classmethod
    def package(cls, program: str, package: str) -> "MissingComponentError":
        """Return the error for a missing program, with the system package that contains it."""
        return cls(f"{program} is absent: apt-get install -y --no-install-recommends {package}")


def cache_folder() -> Path:
    """Return the folder of components: $NEO4J_BACKUP_AGENT_CACHE, or below the user's cache folder."""
    chosen = os.environ.get("NEO4J_BACKUP_AGENT_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neo4j-backup-agent"


def cached(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the cached folder of this name. If it does not exist, let `fetch` fill it first."""
    target = cache_folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f".{name}.lock")):
        if not target.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
            try:
                fetch(unfinished)
                unfinished.chmod(0o755)  # mkdtemp gave it to its owner only
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
