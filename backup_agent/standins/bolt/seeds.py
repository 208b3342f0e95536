"""Seeds: the artifacts that a seedURI names are found, fetched and read through, and the full is handed on.

Facts are from Neo4j's manual (seed-from-uri): the URI names one artifact, and a differential is completed from the
folder in which it is. Differentials cannot be applied here, since Neo4j Community cannot apply them and nothing else
can: a seed that ends in a differential has the data of its full only. Guessed: all messages, and that a folder as
URI is refused.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from backup_agent.standins.neo4j_admin import chains
from backup_agent.standins.neo4j_admin.artifacts import BLOCK, SUFFIX, Header, NotAnArtifactError, read_through
from backup_agent.standins.neo4j_admin.versions import Version


class SeedError(Exception):
    """A seed cannot be read or applied. Neo4j writes such an error to debug.log, after the statement has succeeded."""


class Folder(Protocol):
    """The folder of a seed: of a bucket, or of a file system."""

    def names(self) -> Sequence[str]:
        """Return the names of the artifacts."""

    def fetch(self, name: str, target: Path, size: int | None = None) -> None:
        """Copy an artifact, or its first bytes. Raise SeedError if it does not exist."""


Opener = Callable[[str], tuple[Folder, str]]
"""Opens the folder of a URI without its scheme, and returns it with the name of the artifact. Raises SeedError."""


@dataclass(frozen=True)
class Seed:
    """The chain of a seed, in its order: a full, then the differentials. `full` is the file of the full."""

    full: Path
    headers: tuple[Header, ...]
    last_transaction: int


class LocalFolder:
    """A folder of a server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Sequence[str]:
        """Return the names of the artifacts."""
        return sorted(path.name for path in self._path.glob(f"*{SUFFIX}"))

    def fetch(self, name: str, target: Path, size: int | None = None) -> None:
        """Copy an artifact, or its first bytes. Raise SeedError if it does not exist."""
        try:
            with (self._path / name).open("rb") as source, target.open("wb") as copy:
                if size is None:
                    shutil.copyfileobj(source, copy)
                else:
                    copy.write(source.read(size))
        except OSError as error:
            raise SeedError(f"{self._path / name} does not point to a valid location: {error.strerror}") from error


def open_file(location: str) -> tuple[Folder, str]:
    """Open the folder of a `file:` URI."""
    path = Path(unquote(urlsplit(f"file:{location}").path))
    return LocalFolder(path.parent), path.name


def server_opener(seeds: Mapping[str, Path | None]) -> Opener:
    """Return an opener for `server:` URIs. `seeds` has each server's folder of seeds by its id and by its name."""

    def open_server(location: str) -> tuple[Folder, str]:
        server, _, name = location.removeprefix("//").partition("/")
        if (folder := seeds.get(server)) is None:
            raise SeedError(f"server://{server}: no such server, or no server.directories.seeds that can be read")
        return LocalFolder(folder), unquote(name)

    return open_server


def fetch_seed(
    uri: str, openers: Mapping[str, Opener], target: Path, version: Version, until: datetime | int | None
) -> Seed:
    """Copy the chain of a seed into an empty folder and read every file of it to its end. Raise SeedError."""
    scheme, _, location = uri.partition(":")
    if scheme not in openers:
        raise SeedError(f"{uri}: no seed provider can read this scheme")
    folder, name = openers[scheme](location)
    if not name.endswith(SUFFIX):
        raise SeedError(f"Can't open seed file: {uri} is not an artifact")
    chain = _chain(folder, name, target, version)
    for header, path in chain:
        path.unlink()
        folder.fetch(path.name, path)
        try:
            if read_through(path) != header:
                raise SeedError(f"{path.name} was replaced while it was read")
        except NotAnArtifactError as error:
            raise SeedError(str(error)) from error
    return seed_of(chain, until)


def restored_seed(folder: Path, version: Version) -> Seed:
    """Return the chain that `neo4j-admin database restore` has left in a folder. Raise SeedError if it is missing."""
    found, _ = chains.scan(folder)
    if not found:
        raise SeedError("No store found on any of the seeders")
    chain = [(link.header, link.path) for link in chains.latest_chain(found, found[-1], version)]
    return seed_of(chain, None)


def seed_of(chain: Sequence[tuple[Header, Path]], until: datetime | int | None) -> Seed:
    """Return a chain as a seed. Raise SeedError if it does not begin with a full, or its full would have to be cut."""
    (first, full), *_ = chain
    if not first.full:
        raise SeedError(f"{full.name} is not part of a valid backup chain")
    if until is not None and len(chain) == 1:
        raise SeedError(f"{full.name} is a full backup, which can only be fully restored")
    highest = max(header.highest for header, _ in chain)
    return Seed(full, tuple(header for header, _ in chain), min(highest, until - 1) if type(until) is int else highest)


def _chain(folder: Folder, name: str, target: Path, version: Version) -> list[tuple[Header, Path]]:
    """Find the chain of an artifact by the headers in its folder. The paths have the beginnings of the files."""
    names = folder.names()
    if name not in names:
        raise SeedError(f"{name} does not point to a valid location")
    for each in names:
        folder.fetch(each, target / each, BLOCK)
    artifacts, unreadable = chains.scan(target)
    if wrong := dict(unreadable).get(target / name):
        raise SeedError(wrong)
    asked = next(one for one in artifacts if one.path.name == name)
    return [(link.header, link.path) for link in chains.latest_chain(artifacts, asked, version)]
