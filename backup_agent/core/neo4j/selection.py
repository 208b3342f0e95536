"""Which databases one request is about, with and without Bolt.

Nothing shrinks in silence: whatever was asked for ends up in `databases` or, with the reason, in `failures`; and a
database that was there before and is not listed now becomes a warning by name. A name can stand in both: one
matched by a glob against a topology that is too old is backed up, and the glob is a failure all the same.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from backup_agent.core.artifacts.names import SYSTEM, DatabaseName, database_name, lowered
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.reasons import Failure, Reason

ROLE_HINT = "the login sees `system` alone: grant its role ACCESS ON DATABASE * (backup_agent/cluster/role.cypher)"


class DiscoverySource(StrEnum):
    """Where the knowledge that a database exists comes from. Stands in the answer."""

    BOLT = "bolt"
    LAST_TOPOLOGY = "last_topology"
    STATIC = "static"


@dataclass(frozen=True)
class Target:
    """One database to back up. `database_id` is SHOW DATABASES' own, None where it is not known."""

    name: DatabaseName
    database_id: str | None
    discovery: DiscoverySource


@dataclass(frozen=True)
class Selection:
    """What a request comes to: the databases to back up, and what of it cannot be had."""

    databases: tuple[Target, ...] = ()
    failures: dict[str, Failure] = field(default_factory=dict)
    """By database name or glob, as asked for in lower case."""
    warnings: tuple[str, ...] = ()
    excluded: dict[DatabaseName, str] = field(default_factory=dict)
    """Database that matches a glob and is not backed up because of its kind -> why."""
    missing: tuple[DatabaseName, ...] = ()
    """Every database known before and not listed now, asked for or not; empty where Bolt did not answer."""


@dataclass(frozen=True)
class Knowledge:
    """What the agent knows when it selects.

    `topology` is what Bolt said just now, None where it did not answer (`bolt_failure` then says why); `last` is
    what it said the time before; `recorded` are the databases that have records, without those forgotten; `static`
    tells whether any backup address is known without Bolt.
    """

    topology: Topology | None
    last: Topology | None = None
    recorded: Collection[DatabaseName] = ()
    static: bool = False
    bolt_failure: Failure | None = None


def select(
    asked: Sequence[str] | None,
    default: Sequence[str],
    knowledge: Knowledge,
    *,
    now: datetime,
    max_topology_age: timedelta,
) -> Selection:
    """Return what `asked` (names, globs, `!` names or globs to leave out; None: `default`) means at this moment."""
    wanted, unwanted = _patterns(asked or default)
    chooser = (
        _WithBolt(knowledge.topology)
        if knowledge.topology is not None
        else _WithoutBolt(knowledge, now, max_topology_age)
    )
    targets: dict[str, Target] = {}
    failures: dict[str, Failure] = {}
    warnings: dict[str, None] = {}
    excluded: dict[DatabaseName, str] = {}
    for pattern in wanted:
        found = chooser.glob(pattern) if is_glob(pattern) else chooser.literal(database_name(pattern))
        kept = [target for target in found.targets if not _matches_any(target.name, unwanted)]
        failed = {
            name: why for name, why in found.failures.items() if name == pattern or not _matches_any(name, unwanted)
        }
        if not kept and not failed:
            failed[pattern] = _all_left_out(pattern, unwanted)
        targets |= {target.name: target for target in kept}
        failures |= failed
        warnings |= dict.fromkeys(found.warnings)
        excluded |= {name: kind.why for name, kind in found.excluded.items() if not _matches_any(name, unwanted)}

    missing = _missing(knowledge)
    warnings |= {
        f"{name} is no longer listed by SHOW DATABASES; forget it if it was dropped for good": None
        for name in missing
        if name not in failures and _matches_any(name, wanted) and not _matches_any(name, unwanted)
    }
    return Selection(tuple(targets.values()), failures, tuple(warnings), excluded, missing)


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern can match more than the name it spells."""
    return "*" in pattern or "?" in pattern


def matches(name: str, pattern: str) -> bool:
    """Tell whether a database name matches a name or glob (`*`, `?`), in whatever case either is written.

    By `fnmatch`, whose expressions do not backtrack: one of 126 stars would else hold the agent for ever.

    >>> matches("Orders-2024.q1", "orders*"), matches("orders", "ord?r")
    (True, False)
    """
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


@dataclass(frozen=True)
class _Found:
    """What one pattern comes to."""

    targets: tuple[Target, ...] = ()
    failures: dict[str, Failure] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    excluded: Mapping[DatabaseName, ExcludedKind] = field(default_factory=dict)


class _WithBolt:
    """Bolt answered: what it lists is what exists."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._databases = {lowered(name): copies for name, copies in topology.databases().items()}

    def literal(self, name: DatabaseName) -> _Found:
        refused = _refused(name, self._topology)
        if refused is not None:
            return _Found(failures={name: refused})
        if name not in self._databases:
            return _Found(failures={name: self._not_there(f"no database {name} is listed by SHOW DATABASES")})
        return self._judged([name])

    def glob(self, pattern: str) -> _Found:
        names, excluded = _matching(pattern, self._databases, self._topology)
        if names:
            return replace(self._judged(names), excluded=excluded)
        return _Found(failures={pattern: self._not_there(_nothing_matches(pattern, excluded, self._topology))})

    def _judged(self, names: Iterable[DatabaseName]) -> _Found:
        targets: list[Target] = []
        failures: dict[str, Failure] = {}
        for name in names:
            copies = self._databases[name]
            if any(copy.serves for copy in copies):
                database_id = next((copy.database_id for copy in copies if copy.database_id is not None), None)
                targets.append(Target(name, database_id, DiscoverySource.BOLT))
                continue
            where = ", ".join(f"{copy.address or copy.server_id or 'a server'}: {copy.status}" for copy in copies)
            failures[name] = Failure(
                Reason.SOURCE_UNREACHABLE,
                f"{name} has no online copy ({where})",
                f'start it (START DATABASE), repair the copies, or leave it out with "!{name}" in databases',
            )
        return _Found(tuple(targets), failures)

    def _not_there(self, error: str) -> Failure:
        alone = set(self._databases) <= {SYSTEM}
        return Failure(Reason.NO_SUCH_DATABASE, error, ROLE_HINT if alone else "")


class _WithoutBolt:
    """Bolt is silent: names are taken as they are, globs are matched against the last topology."""

    def __init__(self, knowledge: Knowledge, now: datetime, max_topology_age: timedelta) -> None:
        self._last = knowledge.last
        self._static = knowledge.static
        self._databases = (
            {lowered(name): copies for name, copies in knowledge.last.databases().items()} if knowledge.last else {}
        )
        self._age = now - knowledge.last.seen if knowledge.last else timedelta()
        self._max_age = max_topology_age
        cause = knowledge.bolt_failure
        self._silence = f"Bolt did not answer ({cause.error})" if cause else "Bolt did not answer"
        self._hint = cause.hint if cause else ""

    def literal(self, name: DatabaseName) -> _Found:
        if self._last is None:
            if self._static:
                return _Found((Target(name, None, DiscoverySource.STATIC),))
            error = f"{self._silence}, it never did before, and neo4j.servers names no server to ask for {name}"
            return _Found(failures={name: Failure(Reason.SOURCE_UNREACHABLE, error, self._hint)})
        refused = _refused(name, self._last)
        if refused is not None:
            return _Found(failures={name: refused})
        if name in self._databases:
            return _Found((self._remembered(name),))
        return _Found((Target(name, None, DiscoverySource.STATIC),))

    def glob(self, pattern: str) -> _Found:
        if self._last is None:
            error = f"{self._silence} and never did before, so nothing tells what {pattern} matches"
            return _Found(failures={pattern: Failure(Reason.SOURCE_UNREACHABLE, error, self._hint)})
        seen = f"the topology seen {self._last.seen:%Y-%m-%dT%H:%M:%SZ}"
        names, excluded = _matching(pattern, self._databases, self._last)
        if not names:
            error = f"{self._silence}; in {seen}, {_nothing_matches(pattern, excluded, self._last)}"
            return _Found(failures={pattern: Failure(Reason.NO_SUCH_DATABASE, error, self._hint)})
        targets = tuple(self._remembered(name) for name in names)
        if self._age > self._max_age:
            error = f"{self._silence}; {pattern} was matched against {seen}, older than neo4j.max_topology_age"
            return _Found(targets, {pattern: Failure(Reason.DISCOVERY_STALE, error, self._hint)}, excluded=excluded)
        return _Found(targets, warnings=(f"{self._silence}; {pattern} was matched against {seen}",), excluded=excluded)

    def _remembered(self, name: DatabaseName) -> Target:
        database_id = next((copy.database_id for copy in self._databases[name] if copy.database_id is not None), None)
        return Target(name, database_id, DiscoverySource.LAST_TOPOLOGY)


def _patterns(asked: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into what is wanted and what is not, each in lower case and once. Exclusions alone mean all but those."""
    lowered = tuple(dict.fromkeys(pattern.lower() for pattern in asked))
    wanted = tuple(pattern for pattern in lowered if not pattern.startswith("!"))
    return wanted or ("*",), tuple(pattern[1:] for pattern in lowered if pattern.startswith("!"))


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def _refused(name: DatabaseName, topology: Topology) -> Failure | None:
    """Say why a name that exists is nothing to back up, or None."""
    aliases = {lowered(alias): target for alias, target in topology.aliases.items()}
    if name in aliases:
        target = aliases[name]
        meant = f"ask for {target} instead" if target else "ask for the database it stands for"
        return Failure(Reason.INVALID_REQUEST, f"{name} is an alias, not a database", meant)
    excluded = {lowered(name): kind for name, kind in topology.excluded().items()}
    return excluded[name].refusal(name) if name in excluded else None


def _matching(
    pattern: str, databases: Iterable[DatabaseName], topology: Topology
) -> tuple[list[DatabaseName], dict[DatabaseName, ExcludedKind]]:
    """Return the databases that match a glob: those to back up, and the excluded ones with their kinds."""
    kinds = {lowered(name): kind for name, kind in topology.excluded().items()}
    matching = [name for name in databases if matches(name, pattern)]
    return [name for name in matching if name not in kinds], {name: kinds[name] for name in matching if name in kinds}


def _nothing_matches(pattern: str, excluded: Mapping[DatabaseName, ExcludedKind], topology: Topology) -> str:
    others = [f"{kind} database {name}" for name, kind in excluded.items()]
    others += [f"alias {alias}" for alias in sorted(topology.aliases) if matches(alias, pattern)]
    return f"{pattern} matches no database" + (f" (only {', '.join(others)})" if others else "")


def _all_left_out(pattern: str, unwanted: Iterable[str]) -> Failure:
    exclusions = ", ".join(f"!{exclusion}" for exclusion in unwanted)
    return Failure(Reason.NO_SUCH_DATABASE, f"whatever {pattern} means is left out by {exclusions}")


def _missing(knowledge: Knowledge) -> tuple[DatabaseName, ...]:
    """Name what was known before and is not listed now. Without Bolt nothing is listed, so nothing is missing."""
    if knowledge.topology is None:
        return ()
    known = {lowered(name) for name in knowledge.recorded}
    known |= {lowered(name) for name in knowledge.topology.following(knowledge.last).missing}
    return tuple(sorted(known - {lowered(copy.database) for copy in knowledge.topology.copies}))
