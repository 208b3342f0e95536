"""Parser for the few supported statements. Whitespace, case and a final semicolon do not matter.

Any other statement raises `Unknown`, which the server answers with a syntax error. The supported forms are:

    [CYPHER 5 | 25] before any of these
    SHOW DATABASES | DATABASE name | SERVERS | SETTINGS ["a", 'b' | $names] | ALIASES FOR DATABASE    [tail]
    SHOW USERS | [ALL] PRIVILEGES AS COMMANDS                                                        [tail]
    CALL procedure()                                                                                 [tail]
    RETURN 1 [AS x], datetime() [AS now], ...
    tail: [YIELD * | column [AS name], ...] [WHERE condition [AND ...]] [RETURN * | column [AS name], ...]
    condition: column = value | column CONTAINS value

`commands` has the statements that change the cluster.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | `(?P<quoted>[^`]+)`
    | (?P<number>-?\d+\b)
    | \$(?P<parameter>\w+)
    | (?P<word>[^\W\d]\w*(?:\.\w+)*)
    | (?P<mark>[(),*={}:\[\]])
    )\s*""",
    re.VERBOSE,
)


Item = TypeVar("Item")


class Unknown(Exception):  # noqa: N818  sent to the client as a syntax error
    """The text is not one of the supported statements."""


@dataclass(frozen=True)
class Token:
    """One word, literal or punctuation mark."""

    kind: str
    text: str


@dataclass(frozen=True)
class Condition:
    """One comparison after WHERE."""

    column: str
    value: Any
    contains: bool = False
    """Whether the column has to contain the value; else it has to equal it."""

    def holds(self, found: Any) -> bool:  # noqa: ANN401  any value of a row
        """Tell whether a value of the column fulfils the condition."""
        return self.value in found if self.contains and found is not None else bool(found == self.value)


@dataclass(frozen=True)
class Tail:
    """The selection from a table. `columns` pairs columns with their aliases; None stands for the default columns."""

    columns: tuple[tuple[str, str], ...] | None = None
    everything: bool = False
    where: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A parsed statement. `subject` is a keyword such as DATABASES, or the name of a procedure."""

    verb: str
    subject: str = ""
    names: tuple[str, ...] = ()
    tail: Tail = Tail()
    items: tuple[tuple[Any, str], ...] = field(default=())
    """Values or functions of a bare RETURN, each with the name of its column."""
    language: int = 5
    """The requested version of Cypher. The default is that of `system`, 5."""

    @property
    def title(self) -> str:
        """The first words of the statement, as used in error messages."""
        return f"{self.verb} {self.subject}{' FOR DATABASE' if self.subject == 'ALIASES' else ''}"


def parse(text: str, parameters: Mapping[str, Any]) -> Statement:
    """Parse a statement. Raise Unknown if it is not one of the supported ones."""
    words, language = begun(text, parameters)
    if words.take("SHOW"):
        statement = _show(words)
    elif words.take("CALL"):
        procedure = words.name()
        words.need("(")
        words.need(")")
        statement = Statement("CALL", procedure, tail=_tail(words))
    elif words.take("RETURN"):
        statement = Statement("RETURN", items=_items(words))
    else:
        raise Unknown(text)
    words.end()
    return replace(statement, language=language)


def begun(text: str, parameters: Mapping[str, Any]) -> "tuple[Words, int]":
    """Return the tokens of a statement, and its version of Cypher. Raise Unknown if a character begins no token."""
    words = Words(_tokens(text), parameters)
    return words, int(words.value()) if words.take("CYPHER") else 5


class Words:
    """The tokens that were not parsed yet."""

    def __init__(self, tokens: list[Token], parameters: Mapping[str, Any]) -> None:
        self.tokens = tokens
        self.parameters = parameters

    def take(self, *texts: str) -> bool:
        """Remove these words and return True if they come next."""
        ahead = self.tokens[: len(texts)]
        if len(ahead) < len(texts) or any(
            token.kind not in ("word", "mark") or token.text.upper() != text
            for token, text in zip(ahead, texts, strict=True)
        ):
            return False
        del self.tokens[: len(texts)]
        return True

    def need(self, text: str) -> None:
        """Remove a word. Raise Unknown if another comes next."""
        if not self.take(text):
            raise Unknown(f"{text} expected")

    def name(self) -> str:
        """Remove and return a name, quoted or not."""
        if not self.tokens or self.tokens[0].kind not in ("word", "quoted"):
            raise Unknown("a name expected")
        return self.tokens.pop(0).text

    def value(self) -> Any:  # noqa: ANN401  any literal or parameter
        """Remove a literal, a list, a map, `datetime('...')` or a parameter and return its value."""
        if self.take("{"):
            return dict(self._many("}", self._entry))
        if self.take("["):
            return self._many("]", self.value)
        if self.take("DATETIME", "("):
            return self._datetime()
        token = self.tokens.pop(0) if self.tokens else Token("end", "")
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if token.kind == "number":
            return int(token.text)
        if token.kind == "parameter" and token.text in self.parameters:
            return self.parameters[token.text]
        if token.kind == "word" and token.text.upper() in LITERALS:
            return LITERALS[token.text.upper()]
        raise Unknown("a value expected")

    def _many(self, end: str, item: Callable[[], Item]) -> list[Item]:
        found: list[Item] = []
        while not self.take(end):
            if found:
                self.need(",")
            found.append(item())
        return found

    def _entry(self) -> tuple[str, Any]:
        key = self.name()
        self.need(":")
        return key, self.value()

    def _datetime(self) -> datetime:
        text = str(self.value())
        self.need(")")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise Unknown(f"Text cannot be parsed to a DateTime: {text}") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def arguments(self) -> list[Any]:
        """Remove the arguments of a procedure with their parentheses, and return their values."""
        self.need("(")
        return self._many(")", self.value)

    def at(self, *kinds: str) -> bool:
        """Tell whether a token of one of these kinds comes next."""
        return bool(self.tokens) and self.tokens[0].kind in kinds

    def at_tail(self) -> bool:
        """Tell whether the tail or the end of the statement comes next."""
        return not self.tokens or (self.at("word") and self.tokens[0].text.upper() in ("YIELD", "WHERE", "RETURN"))

    def end(self) -> None:
        """Raise Unknown if tokens are left."""
        if self.tokens:
            raise Unknown(f"unexpected {self.tokens[0].text}")


LITERALS = {"TRUE": True, "FALSE": False, "NULL": None}


def _tokens(text: str) -> list[Token]:
    tokens = []
    at = 0
    text = text.strip().removesuffix(";")
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise Unknown(text)
        tokens.append(Token(str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return tokens


def _show(words: Words) -> Statement:
    for which in ("DEFAULT", "HOME"):
        if words.take(which, "DATABASE"):
            return Statement("SHOW", f"{which} DATABASE", tail=_tail(words))
    if words.take("DATABASES") or words.take("DATABASE"):
        names = () if words.at_tail() else (database_name(words),)
        return Statement("SHOW", "DATABASES", names, _tail(words))
    if words.take("SERVERS") or words.take("SERVER"):
        return Statement("SHOW", "SERVERS", tail=_tail(words))
    if words.take("SETTINGS") or words.take("SETTING"):
        return Statement("SHOW", "SETTINGS", _setting_names(words), _tail(words))
    if words.take("USERS"):
        return Statement("SHOW", "USERS", tail=_tail(words))
    if words.take("ALL", "PRIVILEGES", "AS", "COMMANDS") or words.take("PRIVILEGES", "AS", "COMMANDS"):
        return Statement("SHOW", "PRIVILEGES AS COMMANDS", tail=_tail(words))
    if words.take("ALIASES") or words.take("ALIAS"):
        names = () if words.take("FOR") else (database_name(words),)
        if names:
            words.need("FOR")
        if not (words.take("DATABASE") or words.take("DATABASES")):
            raise Unknown("DATABASE expected")
        return Statement("SHOW", "ALIASES", names, _tail(words))
    raise Unknown("unknown SHOW command")


def database_name(words: Words) -> str:
    """Remove the name of a database, and return it in lower case, as Neo4j stores it."""
    return str(words.value() if words.at("parameter") else words.name()).lower()


def _setting_names(words: Words) -> tuple[str, ...]:
    names: list[str] = []
    while not words.at_tail():
        value = words.value()
        names.extend(value if isinstance(value, list) else [str(value)])
        if not words.take(","):
            break
    return tuple(names)


def _tail(words: Words) -> Tail:
    columns: tuple[tuple[str, str], ...] | None = None
    everything = False
    if words.take("YIELD"):
        everything = words.take("*")
        columns = None if everything else _columns(words)
    where = []
    if words.take("WHERE"):
        where.append(_condition(words))
        while words.take("AND"):
            where.append(_condition(words))
    if (everything or columns) and words.take("RETURN") and not words.take("*"):
        returned = _columns(words)
        if columns is None:
            columns, everything = returned, False
        else:
            yielded = {alias: column for column, alias in columns}
            if any(name not in yielded for name, _ in returned):
                raise Unknown("RETURN names a column that was not yielded")
            columns = tuple((yielded[name], alias) for name, alias in returned)
    return Tail(columns, everything, tuple(where))


def _columns(words: Words) -> tuple[tuple[str, str], ...]:
    columns = []
    while True:
        column = words.name()
        columns.append((column, words.name() if words.take("AS") else column))
        if not words.take(","):
            return tuple(columns)


def _condition(words: Words) -> Condition:
    column = words.name()
    contains = words.take("CONTAINS")
    if not contains:
        words.need("=")
    return Condition(column, words.value(), contains)


def _items(words: Words) -> tuple[tuple[Any, str], ...]:
    items: list[tuple[Any, str]] = []
    while True:
        written = words.tokens[0].text if words.tokens else ""
        if words.take("DATETIME", "(", ")") or words.take("DATETIME.REALTIME", "(", ")"):
            value, written = DATETIME, f"{written}()"
        else:
            value = words.value()
        items.append((value, words.name() if words.take("AS") else written))
        if not words.take(","):
            return tuple(items)


DATETIME = object()
"""Stands in a bare RETURN for the server's time at which the statement runs."""
