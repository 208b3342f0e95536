"""The run's own folder, `<root>/.staging/<run>/`. It keeps unfinished artifacts out of the chains' folders.

    .conf/             NEO4J_CONF of this run
    .temp/             --temp-path, which must be empty
    <set>/<database>/  --to-path: hard links to the live chain (none for a FULL), and the files that neo4j-admin adds

The folder is on the same file system as the chains, so that an artifact is published by a hard link. If the file system
has no hard links, `in_place` is true and `--to-path` is the chain's own folder.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from backup_agent.core.artifacts.keys import RECORD_SUFFIX
from backup_agent.core.artifacts.names import ARTIFACT, PART, DatabaseName, SetName
from backup_agent.core.artifacts.records import Record

STAGING = ".staging"
ASIDE = ".aside"


@dataclass(frozen=True)
class RunFolder:
    """A run's own folder."""

    root: Path
    run: str

    @property
    def folder(self) -> Path:
        """The path of the folder."""
        return self.root / STAGING / self.run

    def remove(self) -> None:
        """Remove the folder and its contents."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Staging(RunFolder):
    """The folders of one run for a database."""

    set_name: SetName
    database: DatabaseName
    in_place: bool = False
    _there: set[str] = field(default_factory=set)

    @property
    def conf(self) -> Path:
        """NEO4J_CONF."""
        return self.folder / ".conf"

    @property
    def temp(self) -> Path:
        """--temp-path."""
        return self.folder / ".temp"

    @property
    def target(self) -> Path:
        """--to-path."""
        return self.chain if self.in_place else self.folder / self.set_name / self.database

    @property
    def chain(self) -> Path:
        """The folder with the chains of this database."""
        return self.root / self.set_name / self.database

    def prepare(self, parents: Iterable[Record]) -> None:
        """Create empty folders, with links to the artifacts that a differential may continue."""
        self.remove()
        for folder in (self.conf, self.temp, self.target, self.chain):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.in_place:
            for record in parents:
                for file in record.files:
                    (self.target / file.name).hardlink_to(self.chain / file.name)
        self._there.clear()
        self._there.update(_names(self.target))

    def new(self) -> tuple[Path, ...]:
        """Return the artifacts written since `prepare`. A split artifact is represented by its manifest."""
        return tuple(
            self.target / name
            for name in sorted(_names(self.target) - self._there)
            if name.endswith(".backup") and (self.target / name).is_file()
        )

    def size(self) -> tuple[int, int]:
        """Return the size of the run's files in bytes, without links to parents, and a number that any write changes.

        The second number distinguishes recovery, which rewrites pages in place, from a hang.
        """
        total = changed = 0
        for folder in (self.temp, self.target):
            for parent, _, names in os.walk(folder):
                there = self._there if parent == str(self.target) else frozenset()
                for name in names:
                    if name not in there:
                        try:
                            facts = os.lstat(f"{parent}/{name}")
                        except FileNotFoundError:
                            continue
                        total += facts.st_size
                        changed += facts.st_mtime_ns
        return total, total + changed

    def set_aside(self, now: datetime, *, but: Path | None = None) -> tuple[str, ...]:
        """Move the new files of this run to `<root>/.aside/`, except the artifact `but`. Return the new names."""
        passed = () if but is None else (but, *parts(but))
        return set_aside(self.root, self.run, (path for path in self._new_files() if path not in passed), now)

    def discard(self) -> tuple[str, ...]:
        """Remove the new files of this run. Return their names."""
        new = self._new_files()
        for path in new:
            if path.is_dir() and not path.is_symlink():  # neo4j-admin keeps a folder of a failed backup
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        return tuple(path.name for path in new)

    def _new_files(self) -> tuple[Path, ...]:
        return tuple(self.target / name for name in sorted(_names(self.target) - self._there))


def set_aside(root: Path, run: str, paths: Iterable[Path], now: datetime) -> tuple[str, ...]:
    """Move files to `<root>/.aside/` under names that end neither in `.backup` nor in `.json`. Return the names."""
    moved: list[str] = []
    for path in paths:
        (root / ASIDE).mkdir(exist_ok=True)
        target = root / ASIDE / f"{now:%Y-%m-%dT%H-%M-%S}+{run[-80:]}+{path.name[-120:]}.aside"
        path.rename(target)
        moved.append(target.name)
    return tuple(moved)


def left(root: Path) -> Iterator[str]:
    """Yield the names of the runs that have a staging folder."""
    folder = root / STAGING
    if folder.exists():
        yield from sorted(_names(folder))


def found(folder: Path, chain: Path) -> tuple[Path, ...]:
    """Return the artifacts in a folder that have no record in their chain's folder."""
    recorded = {name.removesuffix(".json") for name in _names(chain) if name.endswith(".backup.json")}
    return tuple(
        folder / name
        for name in sorted(_names(folder) - recorded)
        if name.endswith(".backup") and (folder / name).is_file()
    )


def left_since(chain: Path, since: datetime) -> tuple[Path, ...]:
    """Return the unrecorded artifacts and parts in a chain's folder with a time at or after `since` in their names."""
    names, stamp = _names(chain), f"{since:%Y-%m-%dT%H-%M-%S}"
    left: list[Path] = []
    for name in sorted(names):
        part = PART.fullmatch(name)
        artifact = part["manifest"] if part else name
        named = ARTIFACT.fullmatch(artifact)
        ours = named is not None and named["database"] == chain.name and named["stamp"] >= stamp
        if ours and artifact + RECORD_SUFFIX not in names:
            left.append(chain / name)
    return tuple(left)


def parts(manifest: Path) -> tuple[Path, ...]:
    """Return the numbered parts beside a manifest, in order. An artifact of one file has none."""
    numbered: list[tuple[int, Path]] = []
    for name in _names(manifest.parent):
        match = PART.fullmatch(name)
        if match and match["manifest"] == manifest.name:
            numbered.append((int(match["number"]), manifest.parent / name))
    return tuple(path for _, path in sorted(numbered))


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)} if folder.exists() else set()
