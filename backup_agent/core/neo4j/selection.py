"""Select the databases of one request, with and without Bolt.

Nothing is dropped silently: each requested name or glob adds to `databases` or, with a reason, to `failures`. There is
a warning for a database that was listed before and is not now. If a glob is matched against a topology that is too
old, the matching databases are backed up, and the glob is a failure as well.
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

ROLE_HINT = "the account sees only `system`: grant its role ACCESS ON DATABASE * (backup_agent/cluster/role.cypher)"


class DiscoverySource(StrEnum):
    """How the agent knows of a database. Part of the answer."""

    BOLT = "bolt"
    LAST_TOPOLOGY = "last_topology"
    STATIC = "static"


@dataclass(frozen=True)
class Target:
    """One database to back up. `database_id` is that of SHOW DATABASES, or None if it is unknown."""

    name: DatabaseName
    database_id: str | None
    discovery: DiscoverySource


@dataclass(frozen=True)
class Selection:
    """The databases to back up for a request, and the names and globs that cannot be backed up."""

    databases: tuple[Target, ...] = ()
    failures: dict[str, Failure] = field(default_factory=dict)
    """Requested name or glob, in lower case -> failure."""
    warnings: tuple[str, ...] = ()
    excluded: dict[DatabaseName, str] = field(default_factory=dict)
    """Database that matches a glob but is not backed up because of its kind -> reason."""
    missing: tuple[DatabaseName, ...] = ()
    """All databases known before and not listed now, requested or not. Empty if Bolt did not answer."""


@dataclass(frozen=True)
class Knowledge:
    """The facts from which databases are selected.

    `topology` is the answer of Bolt, or None if Bolt did not answer; then `bolt_failure` says why. `last` is the
    previous topology. `recorded` are the databases with records, except forgotten ones. `static` tells whether the
    settings have a backup address.
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
    """Return the databases that `asked` (or else `default`) selects: names, globs, and exclusions with `!`."""
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
            failed[pattern] = _all_excluded(pattern, unwanted)
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
    """Return whether a pattern has wildcards."""
    return "*" in pattern or "?" in pattern


def matches(name: str, pattern: str) -> bool:
    """Return whether a database name matches a name or glob (`*`, `?`), ignoring case.

    Uses `fnmatch`, which does not backtrack. Otherwise a glob of 126 stars would block the agent forever.

    >>> matches("Orders-2024.q1", "orders*"), matches("orders", "ord?r")
    (True, False)
    """
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


@dataclass(frozen=True)
class _Found:
    """The databases and failures of one pattern."""

    targets: tuple[Target, ...] = ()
    failures: dict[str, Failure] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    excluded: Mapping[DatabaseName, ExcludedKind] = field(default_factory=dict)


class _WithBolt:
    """Selection if Bolt answered: only listed databases exist."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._databases = {lowered(name): copies for name, copies in topology.databases().items()}

    def literal(self, name: DatabaseName) -> _Found:
        refused = _refused(name, self._topology)
        if refused is not None:
            return _Found(failures={name: refused})
        if name not in self._databases:
            return _Found(failures={name: self._not_found(f"SHOW DATABASES lists no database {name}")})
        return self._judged([name])

    def glob(self, pattern: str) -> _Found:
        names, excluded = _matching(pattern, self._databases, self._topology)
        if names:
            return replace(self._judged(names), excluded=excluded)
        return _Found(failures={pattern: self._not_found(_nothing_matches(pattern, excluded, self._topology))})

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
                f'start it (START DATABASE), repair the copies, or exclude it by "!{name}" in databases',
            )
        return _Found(tuple(targets), failures)

    def _not_found(self, error: str) -> Failure:
        only_system = set(self._databases) <= {SYSTEM}
        return Failure(Reason.NO_SUCH_DATABASE, error, ROLE_HINT if only_system else "")


class _WithoutBolt:
    """Selection if Bolt did not answer: names are not checked, and globs are matched against the last topology."""

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
            error = f"{self._silence} and never has, and neo4j.servers has no server for a backup of {name}"
            return _Found(failures={name: Failure(Reason.SOURCE_UNREACHABLE, error, self._hint)})
        refused = _refused(name, self._last)
        if refused is not None:
            return _Found(failures={name: refused})
        if name in self._databases:
            return _Found((self._remembered(name),))
        return _Found((Target(name, None, DiscoverySource.STATIC),))

    def glob(self, pattern: str) -> _Found:
        if self._last is None:
            error = f"{self._silence} and never has, so the databases that {pattern} matches are unknown"
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
    """Return the patterns and the exclusions, in lower case and without duplicates. Without a pattern, `*` is used."""
    lowered = tuple(dict.fromkeys(pattern.lower() for pattern in asked))
    wanted = tuple(pattern for pattern in lowered if not pattern.startswith("!"))
    return wanted or ("*",), tuple(pattern[1:] for pattern in lowered if pattern.startswith("!"))


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def _refused(name: DatabaseName, topology: Topology) -> Failure | None:
    """Return why an existing name cannot be backed up (an alias, or an excluded kind), or None."""
    aliases = {lowered(alias): target for alias, target in topology.aliases.items()}
    if name in aliases:
        target = aliases[name]
        hint = f"request {target} instead" if target else "request the database that it refers to"
        return Failure(Reason.INVALID_REQUEST, f"{name} is an alias, not a database", hint)
    excluded = {lowered(name): kind for name, kind in topology.excluded().items()}
    return excluded[name].refusal(name) if name in excluded else None


def _matching(
    pattern: str, databases: Iterable[DatabaseName], topology: Topology
) -> tuple[list[DatabaseName], dict[DatabaseName, ExcludedKind]]:
    """Return the databases that match a glob: those to back up, and excluded ones with their kinds."""
    kinds = {lowered(name): kind for name, kind in topology.excluded().items()}
    matching = [name for name in databases if matches(name, pattern)]
    return [name for name in matching if name not in kinds], {name: kinds[name] for name in matching if name in kinds}


def _nothing_matches(pattern: str, excluded: Mapping[DatabaseName, ExcludedKind], topology: Topology) -> str:
    others = [f"{kind} database {name}" for name, kind in excluded.items()]
    others += [f"alias {alias}" for alias in sorted(topology.aliases) if matches(alias, pattern)]
    return f"{pattern} matches no database" + (f" (only {', '.join(others)})" if others else "")


def _all_excluded(pattern: str, unwanted: Iterable[str]) -> Failure:
    exclusions = ", ".join(f"!{exclusion}" for exclusion in unwanted)
    return Failure(Reason.NO_SUCH_DATABASE, f"every database that {pattern} matches is excluded by {exclusions}")


def _missing(knowledge: Knowledge) -> tuple[DatabaseName, ...]:
    """Return the databases known before and not listed now. Without an answer of Bolt, return no databases."""
    if knowledge.topology is None:
        return ()
    known = {lowered(name) for name in knowledge.recorded}
    known |= {lowered(name) for name in knowledge.topology.following(knowledge.last).missing}
    return tuple(sorted(known - {lowered(copy.database) for copy in knowledge.topology.copies}))
