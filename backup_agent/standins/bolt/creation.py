"""What CREATE DATABASE and recreateDatabase accept, by version: options, seed providers, topology.

From Neo4j's manual (create-databases, seed-from-uri, recreate-database) and from the messages in Neo4j Community's jars
("Could not create database with unrecognised option(s): ..."). Guessed: that a seed provider that is not listed is
noticed only when the seed is read, the texts for too few servers and for an invalid name, and all messages of
recreateDatabase.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backup_agent.standins.bolt.commands import RECREATE_IN_CLUSTER, CreateDatabase, RecreateDatabase
from backup_agent.standins.bolt.faults import Failure, Refused
from backup_agent.standins.bolt.seeds import SeedError
from backup_agent.standins.bolt.statements import PROVIDERS, Asked, no_procedure, settings_of
from backup_agent.standins.cluster import Copy

YearMonth = tuple[int, int]
NAME = re.compile(r"(?!system)[a-z][a-z0-9.-]{2,62}")

CREATE_OPTIONS: Mapping[str, tuple[YearMonth, tuple[int, ...]]] = {
    "existingData": ((5, 0), (5, 25)),
    "existingDataSeedInstance": ((5, 0), (5,)),
    "existingDataSeedServer": ((5, 25), (5, 25)),
    "seedConfig": ((5, 0), (5, 25)),
    "seedCredentials": ((5, 0), (5,)),
    "seedRestoreUntil": ((2025, 1), (5, 25)),
    "seedSourceDatabase": ((2025, 6), (25,)),
    "seedURI": ((5, 0), (5, 25)),
    "storeFormat": ((5, 0), (5, 25)),
    "txLogEnrichment": ((5, 13), (5, 25)),
}
"""Option of CREATE DATABASE -> the first version that has it, and the versions of Cypher that have it."""
RECREATE_OPTIONS: Mapping[str, YearMonth] = {
    "seedingServers": (5, 24),
    "seedURI": (5, 24),
    "primaries": (5, 24),
    "secondaries": (5, 24),
    "clearData": (2025, 2),
    "storeFormat": (2025, 4),
}
RECREATE_SINCE = {RECREATE_IN_CLUSTER: (5, 24)}
RENAMED: YearMonth = (2025, 4)
"""First version with `dbms.recreateDatabase`; the old name stays as a deprecated one."""
REPLACE_WITH_SEED: YearMonth = (2025, 1)
SEED_PROVIDERS = {
    "s3": ("CloudSeedProvider", "S3SeedProvider"),
    "server": ("ServerSeedProvider",),
    "file": ("FileSeedProvider",),
}
"""Scheme of a seedURI -> seed providers that read it."""
CUTTING = ("CloudSeedProvider", "FileSeedProvider")
"""Seed providers that can cut a seed with seedRestoreUntil."""


def check_create(asked: Asked, command: CreateDatabase, language: int) -> None:
    """Raise Refused if the name or the options of CREATE DATABASE are not allowed on this version."""
    if not NAME.fullmatch(command.name):
        raise _invalid(
            f"Database name '{command.name}' is not valid: 3 to 63 ascii letters, digits, dots and dashes, a letter "
            "first, and not beginning with 'system'"
        )
    options = {key.lower(): value for key, value in command.options.items()}
    known = [
        name for name, (since, languages) in CREATE_OPTIONS.items() if asked.version >= since and language in languages
    ]
    _need_known(command.options, known, "create database")
    seeded = "seeduri" in options or "existingdataseedserver" in options
    if seeded and language == 5 and str(options.get("existingdata", "")).lower() != "use":  # noqa: PLR2004  Cypher 5
        raise _invalid("Could not create database: a seed needs the option existingData: 'use'")
    if seeded and command.replaces and (asked.version < REPLACE_WITH_SEED or "existingdataseedserver" in options):
        raise _invalid("CREATE OR REPLACE DATABASE cannot have a seed")


def check_recreate(asked: Asked, command: RecreateDatabase) -> None:
    """Raise Refused if this version does not have the procedure, or not with these options."""
    if asked.version < RECREATE_SINCE.get(command.procedure, RENAMED):
        raise Refused(no_procedure(command.procedure))
    options = {key.lower(): value for key, value in command.options.items()}
    known = [name for name, since in RECREATE_OPTIONS.items() if asked.version >= since]
    _need_known(command.options, known, "recreate database")
    seeders = options.get("seedingservers")
    if ("seeduri" in options) == bool(seeders):
        if seeders is None:
            raise _invalid("Either seedingServers or seedURI has to be given")
        if seeders:
            raise _invalid("seedURI and seedingServers exclude each other")
    if "secondaries" in options and "primaries" not in options:
        raise _invalid("secondaries cannot be given without primaries")


def option(options: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  any literal
    """Return an option, whose name ignores case; None if it was not given."""
    return next((value for key, value in options.items() if key.lower() == name.lower()), None)


def check_provider(asked: Asked, uri: str, *, cut: bool) -> None:
    """Raise SeedError if no listed seed provider reads this URI, or can cut it."""
    listed = [name.strip() for name in settings_of(asked)[PROVIDERS][0].split(",")]
    scheme = uri.partition(":")[0]
    readers = [name for name in SEED_PROVIDERS.get(scheme, ()) if name in listed]
    if not readers:
        raise SeedError(f"{uri}: none of the seed providers {', '.join(listed)} supports the scheme '{scheme}'")
    if cut and not set(readers) & set(CUTTING):
        raise SeedError(f"{uri}: {readers[0]} does not support seedRestoreUntil")


def placed(asked: Asked, name: str, primaries: int | None, secondaries: int, first: str | None = None) -> list[Copy]:
    """Return new copies of a database, starting, on servers that are up. `first` is the server that has the store."""
    settings = settings_of(asked)
    if primaries is None:
        primaries = int(settings["initial.dbms.default_primaries_count"][0])
        secondaries = int(settings["initial.dbms.default_secondaries_count"][0])
    up = sorted((one.name for one in asked.cluster.servers if one.up), key=lambda one: one != first)
    if primaries < 1:
        raise _invalid("Number of primaries must be at least 1")
    if len(up) < primaries + secondaries:
        raise _invalid(
            f"Could not create database '{name}'. Desired number of primaries: {primaries}, of secondaries: "
            f"{secondaries}, number of available servers: {len(up)}"
        )
    roles = ["primary"] * primaries + ["secondary"] * secondaries
    return [
        Copy(server, role, writer=place == 0, status="starting")
        for place, (server, role) in enumerate(zip(up, roles, strict=False))
    ]


def _need_known(options: Iterable[str], known: list[str], operation: str) -> None:
    lowered = {name.lower() for name in known}
    unknown = [f"'{name}'" for name in options if name.lower() not in lowered]
    if unknown:
        expected = ", ".join(f"'{name}'" for name in known)
        raise _invalid(f"Could not {operation} with unrecognised option(s): {', '.join(unknown)}. Expected {expected}.")


def _invalid(message: str) -> Refused:
    return Refused(Failure("Neo.ClientError.Statement.ArgumentError", message, "22N04"))
