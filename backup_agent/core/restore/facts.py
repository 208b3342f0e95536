"""The facts from which the plan of a restore is made."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from backup_agent.core.artifacts.names import DatabaseName, PlaceName
from backup_agent.core.artifacts.records import Definition, Record
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import shell_word
from backup_agent.core.restore.machines import Machine, Server
from backup_agent.core.restore.moments import Moment, in_utc
from backup_agent.core.restore.ways import Way


@dataclass(frozen=True)
class Source:
    """The artifacts to restore, the place that has them, and where the last one is cut."""

    chain: tuple[Record, ...]
    """A full, then the differentials in the order in which they are applied."""
    place: PlaceName
    proven: bool = True
    """Whether the agent recognises every record of the chain."""
    uri: str = ""
    """Prefix of the URI of each artifact for the servers; empty if they cannot read the place."""
    server_needs: tuple[str, ...] = ()
    """What each server needs to read the URI."""
    moment: Moment | None = None
    """The moment that a person named."""
    until: datetime | None = None
    before_tx: int | None = None
    lacking_since: datetime | None = None
    """Time after which wanted transactions may be missing, because no artifact has them."""
    by_cut: bool = False
    """Whether the last artifact continues two fulls, so that only the cut says from which one it is restored."""
    history: str | None = None
    """The history that a person named."""
    remarks: tuple[str, ...] = ()
    """What a person should know of the choice of these artifacts."""

    @property
    def last(self) -> Record:
        """The artifact whose restore applies all others."""
        return self.chain[-1]

    @property
    def fetched(self) -> str:
        """The arguments of `fetch` that name these artifacts, quoted for a shell."""
        place = f"--from {shell_word(self.place)}"
        if not self.by_cut:
            return f"{shell_word(self.last.key)} {place}"
        history = f"--history {shell_word(self.history)} " if self.history else ""
        cut = (
            f"--at {shell_word(f'{self.until:%Y-%m-%dT%H:%M:%SZ}')}" if self.until else f"--before-tx {self.before_tx}"
        )
        return f"{shell_word(self.last.database)} --set {shell_word(self.last.set)} {history}{cut} {place}"

    @property
    def definition(self) -> Definition | None:
        """The newest definition of the database in the records."""
        return next((one.definition for one in reversed(self.chain) if one.definition is not None), None)

    @property
    def point(self) -> str:
        """The state that is restored, in words."""
        if self.moment is not None:
            return f"every transaction before {self.moment}"
        if self.before_tx is not None:
            return f"every transaction before number {self.before_tx}"
        return f"the state at about {in_utc(self.last.header.taken)}"


@dataclass(frozen=True)
class Known:
    """What is known of the servers on which the database is restored."""

    version: Version
    agent: Machine
    servers: tuple[Server, ...] = ()
    cluster: bool = True
    """Whether there is more than one server."""
    databases: Collection[DatabaseName] = ()
    """Names of the existing databases and aliases, if known."""
    aliases: tuple[DatabaseName, ...] = ()
    """The present aliases of the database."""
    seen: datetime | None = None
    """When databases and aliases were read; None if they are unknown."""


@dataclass(frozen=True)
class Wanted:
    """What a person wants of the restore."""

    replace: bool = False
    """Replace the existing database."""
    name: str | None = None
    """Name of the restored database; None: a free name, `NAME-restored`."""
    way: Way | None = None
