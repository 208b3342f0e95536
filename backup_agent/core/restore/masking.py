"""Mask the passwords in a script of Cypher statements, so that it can be shown."""

import re
from collections.abc import Iterator

MASK = "***"

_MASKED = {quote: f"{quote}{MASK}{quote}" for quote in ("'", '"')}

_TOKEN = re.compile(
    r"""
    (?P<string> '(?:[^'\\]|\\.?)*+'? | "(?:[^"\\]|\\.?)*+"? )  # without its last quote: to the end of the script
    | `[^`]*+`?
    | //[^\n]*+
    | /\*.*?(?:\*/|\Z)
    | ;
    """,
    re.VERBOSE | re.DOTALL,
)
"""Tokens in which a semicolon or a quote does not end a statement or a string, and the semicolon itself."""

_HASH = re.compile(r"\b\d+,[0-9A-Fa-f]{6,},[0-9A-Fa-f]+")
"""An encrypted password as Neo4j writes it: version, hash and salt."""


def masked(script: str) -> str:
    """Mask all strings of each statement that has the word PASSWORD, and all that looks like a password hash.

    >>> print(masked("CREATE USER `o'b` SET ENCRYPTED PASSWORD '1,c0ffee,c0ffee'; GRANT ROLE `clerks` TO `o'b`;"))
    CREATE USER `o'b` SET ENCRYPTED PASSWORD '***'; GRANT ROLE `clerks` TO `o'b`;
    """
    return _HASH.sub(MASK, "".join(map(_masked, _statements(script))))


def _statements(script: str) -> Iterator[str]:
    start = 0
    for token in _TOKEN.finditer(script):
        if token[0] == ";":
            yield script[start : token.end()]
            start = token.end()
    yield script[start:]


def _masked(statement: str) -> str:
    if "password" not in statement.casefold():
        return statement
    return _TOKEN.sub(lambda token: _MASKED[token[0][0]] if token["string"] else token[0], statement)
