"""Parser for the statements that change the simulated cluster: those by which a restore removes and creates things.

[CYPHER 5 | 25] before any of these
CREATE [OR REPLACE] DATABASE name [IF NOT EXISTS] [[SET] TOPOLOGY n PRIMARIES [m SECONDARIES]] [OPTIONS map] [wait]
DROP DATABASE name [IF EXISTS] [RESTRICT | CASCADE ALIASES] [wait]
START | STOP DATABASE name [wait]
ALTER DATABASE name SET ACCESS READ ONLY | READ WRITE, DEFAULT LANGUAGE CYPHER n, OPTION name value
CREATE ALIAS name [IF NOT EXISTS] FOR DATABASE name
DROP ALIAS name [IF EXISTS] FOR DATABASE
ALTER USER name SET HOME DATABASE name
GRANT ... | DENY ...                                    kept as text
CALL dbms.recreateDatabase(name, map), dbms.cluster.recreateDatabase(name, map)
CALL dbms.cluster.statusCheck([name, ...], milliseconds)
wait: NOWAIT | WAIT [n [SECONDS]]
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backup_agent.standins.bolt.grammar import Unknown, Words, begun, database_name


@dataclass(frozen=True)
class CreateDatabase:
    """CREATE DATABASE. Without TOPOLOGY `primaries` is None."""

    name: str
    replaces: bool = False
    if_not_exists: bool = False
    primaries: int | None = None
    secondaries: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    waits: bool = False


@dataclass(frozen=True)
class DropDatabase:
    """DROP DATABASE. With `cascade` it drops the aliases too."""

    name: str
    if_exists: bool = False
    cascade: bool = False


@dataclass(frozen=True)
class SwitchDatabase:
    """START DATABASE or STOP DATABASE."""

    name: str
    starts: bool
    waits: bool = False


@dataclass(frozen=True)
class AlterDatabase:
    """ALTER DATABASE. `changes` are fields of `cluster.Database`, and `options` are added to its options."""

    name: str
    changes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CreateAlias:
    """CREATE ALIAS."""

    name: str
    target: str
    if_not_exists: bool = False


@dataclass(frozen=True)
class DropAlias:
    """DROP ALIAS."""

    name: str
    if_exists: bool = False


@dataclass(frozen=True)
class SetHome:
    """ALTER USER ... SET HOME DATABASE."""

    user: str
    database: str


@dataclass(frozen=True)
class Privilege:
    """GRANT, DENY, CREATE USER or CREATE ROLE: the text, with parameters replaced by names."""

    text: str


@dataclass(frozen=True)
class RecreateDatabase:
    """A call of `dbms.recreateDatabase` or `dbms.cluster.recreateDatabase`."""

    procedure: str
    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class CheckStatus:
    """A call of `dbms.cluster.statusCheck`. Without names it is for all databases."""

    procedure: str
    names: tuple[str, ...]


Command = (
    CreateDatabase
    | DropDatabase
    | SwitchDatabase
    | AlterDatabase
    | CreateAlias
    | DropAlias
    | SetHome
    | Privilege
    | RecreateDatabase
    | CheckStatus
)


@dataclass(frozen=True)
class Requested:
    """A command, its first words for error messages, and its version of Cypher."""

    command: Command
    title: str
    language: int


def parse_command(text: str, parameters: Mapping[str, Any]) -> Requested | None:
    """Parse a statement that changes the cluster; None if it is another one. Raise Unknown if it is cut or misspelt."""
    try:
        words, language = begun(text, parameters)
    except Unknown:
        return None
    for first, parse in FORMS.items():
        if words.take(*first):
            command = parse(words, _filled(text.strip().removesuffix(";"), parameters))
            words.end()
            return Requested(command, " ".join(first), language)
    return None


def _filled(text: str, parameters: Mapping[str, Any]) -> str:
    return re.sub(r"\$(\w+)", lambda found: f"`{parameters.get(found[1], found[0])}`", text)


def _create(words: Words, _text: str, *, replaces: bool = False) -> CreateDatabase:
    name, absent = database_name(words), words.take("IF", "NOT", "EXISTS")
    topology = _topology(words)
    options = words.value() if words.take("OPTIONS") else {}
    if not isinstance(options, dict):
        raise Unknown("a map expected")
    primaries, secondaries = topology or (None, 0)
    return CreateDatabase(name, replaces, absent, primaries, secondaries, options, _waits(words))


def _create_or_replace(words: Words, text: str) -> CreateDatabase:
    return _create(words, text, replaces=True)


def _topology(words: Words) -> tuple[int, int] | None:
    words.take("SET")
    if not words.take("TOPOLOGY"):
        return None
    primaries, secondaries = int(words.value()), 0
    if not (words.take("PRIMARIES") or words.take("PRIMARY")):
        raise Unknown("PRIMARIES expected")
    if words.at("number"):
        secondaries = int(words.value())
        if not (words.take("SECONDARIES") or words.take("SECONDARY")):
            raise Unknown("SECONDARIES expected")
    return primaries, secondaries


def _drop(words: Words, _text: str) -> DropDatabase:
    name, exists = database_name(words), words.take("IF", "EXISTS")
    cascade = words.take("CASCADE", "ALIASES") or words.take("CASCADE", "ALIAS")
    if not cascade:
        words.take("RESTRICT")
    _waits(words)
    return DropDatabase(name, exists, cascade)


def _start(words: Words, _text: str) -> SwitchDatabase:
    return SwitchDatabase(database_name(words), starts=True, waits=_waits(words))


def _stop(words: Words, _text: str) -> SwitchDatabase:
    return SwitchDatabase(database_name(words), starts=False, waits=_waits(words))


def _waits(words: Words) -> bool:
    if words.take("NOWAIT") or not words.take("WAIT"):
        return False
    if words.at("number"):
        words.value()
        for unit in ("SECONDS", "SECOND", "SEC"):
            words.take(unit)
    return True


def _alter(words: Words, _text: str) -> AlterDatabase:
    name = database_name(words)
    words.need("SET")
    if words.take("ACCESS", "READ"):
        access = "read-only" if words.take("ONLY") else "read-write"
        if access == "read-write":
            words.need("WRITE")
        return AlterDatabase(name, {"access": access})
    if words.take("DEFAULT", "LANGUAGE", "CYPHER"):
        return AlterDatabase(name, {"default_language": f"CYPHER {words.value()}"})
    words.need("OPTION")
    option = words.name()
    return AlterDatabase(name, options={option: str(words.value())})


def _create_alias(words: Words, _text: str) -> CreateAlias:
    name, absent = database_name(words), words.take("IF", "NOT", "EXISTS")
    words.need("FOR")
    words.need("DATABASE")
    return CreateAlias(name, database_name(words), absent)


def _drop_alias(words: Words, _text: str) -> DropAlias:
    name, exists = database_name(words), words.take("IF", "EXISTS")
    words.need("FOR")
    words.need("DATABASE")
    return DropAlias(name, exists)


def _set_home(words: Words, _text: str) -> SetHome:
    user = words.name()
    for word in ("SET", "HOME", "DATABASE"):
        words.need(word)
    return SetHome(user, database_name(words))


def _privilege(words: Words, text: str) -> Privilege:
    words.tokens.clear()
    return Privilege(" ".join(text.split()))


def _recreate(procedure: str) -> Callable[[Words, str], RecreateDatabase]:
    def parse(words: Words, _text: str) -> RecreateDatabase:
        arguments = words.arguments()
        match arguments:
            case [str(name), dict(options)]:
                return RecreateDatabase(procedure, name.lower(), options)
        raise Unknown(f"{procedure} has a name and a map as arguments")

    return parse


def _check_status(words: Words, _text: str) -> CheckStatus:
    arguments = words.arguments()
    match arguments:
        case [[*names]] | [[*names], int()]:
            return CheckStatus("dbms.cluster.statusCheck", tuple(str(name).lower() for name in names))
    raise Unknown("dbms.cluster.statusCheck has a list of names and a number as arguments")


RECREATE, RECREATE_IN_CLUSTER = "dbms.recreateDatabase", "dbms.cluster.recreateDatabase"
FORMS: Mapping[tuple[str, ...], Callable[[Words, str], Command]] = {
    ("CREATE", "OR", "REPLACE", "DATABASE"): _create_or_replace,
    ("CREATE", "DATABASE"): _create,
    ("DROP", "DATABASE"): _drop,
    ("START", "DATABASE"): _start,
    ("STOP", "DATABASE"): _stop,
    ("ALTER", "DATABASE"): _alter,
    ("CREATE", "ALIAS"): _create_alias,
    ("DROP", "ALIAS"): _drop_alias,
    ("ALTER", "USER"): _set_home,
    ("CREATE", "USER"): _privilege,
    ("CREATE", "ROLE"): _privilege,
    ("GRANT",): _privilege,
    ("DENY",): _privilege,
    ("CALL", RECREATE.upper()): _recreate(RECREATE),
    ("CALL", RECREATE_IN_CLUSTER.upper()): _recreate(RECREATE_IN_CLUSTER),
    ("CALL", "DBMS.CLUSTER.STATUSCHECK"): _check_status,
}
"""First words of a statement -> parser of the rest."""
