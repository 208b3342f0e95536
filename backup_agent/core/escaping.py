"""Escape text for a shell, for Cypher and for a terminal.

Names, reasons and program output come from users, other programs and shared storage. Without escaping, a value could
run as a command when a printed line is pasted into a shell, or overwrite other lines of the terminal.
"""

import json
import re
from collections.abc import Collection, Iterable
from itertools import islice

_ELLIPSIS = "…"
_FEW = 5
"""Largest number of names in a sentence."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]"
)
"""Characters without a width that `str.isprintable` accepts (Unicode: Default_Ignorable_Code_Point)."""


_PLAIN_WORD = re.compile("[A-Za-z0-9._][A-Za-z0-9._-]*")


def shell_word(text: str) -> str:
    r"""Quote text as one word of a POSIX shell, always in single quotes. Raise ValueError if it contains NUL.

    >>> print(shell_word("orders"), shell_word("it's $(id)"))
    'orders' 'it'\''s $(id)'
    """
    if "\0" in text:
        raise ValueError("a word of a shell cannot contain a NUL character")
    return "'" + text.replace("'", "'\\''") + "'"


def short_shell_word(text: str) -> str:
    """Like `shell_word`, but without quotes if text has only letters, digits, `.`, `_` and `-`, and no `-` in front.

    >>> print(short_shell_word("demo-backup-0"), short_shell_word("-n"), short_shell_word("a b"))
    demo-backup-0 '-n' 'a b'
    """
    return text if _PLAIN_WORD.fullmatch(text) else shell_word(text)


def shell_comment(text: str) -> str:
    r"""Return text as a comment line of a shell. Newlines are escaped, so text cannot end the comment.

    >>> shell_comment("orders\nid")
    '# orders\\nid'
    """
    return f"# {printable(text)}"


def cypher_name(text: str) -> str:
    r"""Quote text as a name in Cypher, always in backticks. Raise ValueError if it contains a backslash.

    Neo4j formats administration commands and parses them again without escaping backslashes. Therefore 2026.09.0 reads
    `\u0060` in a name as the closing backtick, even if it is escaped. Names of databases contain no backslash.

    >>> print(cypher_name("orders"), cypher_name("a`b"))
    `orders` `a``b`
    """
    if "\\" in text:
        raise ValueError(f"a name in Cypher must not contain a backslash (got {quoted(text)})")
    return "`" + text.replace("`", "``") + "`"


_BACKSLASH = "\\u005C"
"""A backslash in a Cypher string. Neo4j 5 and later replace `\\uXXXX` before parsing and do not scan the result again,
so a backslash in this form never begins an escape sequence."""


def cypher_string(text: str) -> str:
    r"""Quote text as a string in Cypher, always in single quotes.

    >>> print(cypher_string("orders"), cypher_string("it's"))
    'orders' 'it\'s'
    """
    return "'" + text.replace("\\", _BACKSLASH * 2).replace("'", "\\'") + "'"


def for_slack(text: str) -> str:
    """Return text for a message in Slack, in which it begins no link, no mention and no entity.

    >>> for_slack("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def printable(text: str) -> str:
    r"""Return text for one line of a terminal or console log, with special characters as escape sequences.

    Escaped are control characters (C0 including tab and newline, DEL, C1), line and paragraph separators, characters
    that have no width or change the direction of text, and lone surrogates, which cannot be encoded.

    >>> printable("a\x1b[2Kb\n"), printable("Zoë")
    ('a\\x1b[2Kb\\n', 'Zoë')
    """
    if text.isprintable():
        return _INVISIBLE.sub(_escaped, text)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in _INVISIBLE.sub(_escaped, text))


def printable_lines(text: str) -> str:
    r"""Like `printable`, but for text of several lines: newlines are kept.

    >>> printable_lines("a\nb\r")
    'a\nb\\r'
    """
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    r"""Like `printable_lines`, but for a JSON document: escape sequences are those of JSON.

    >>> printable_json('{"a": "\u202e\x7f"}')
    '{"a": "\\u202e\\u007f"}'
    """
    return "\n".join(line if _is_printable(line) else _escaped_json(line) for line in document.split("\n"))


def _escaped_json(line: str) -> str:
    return "".join(char if _is_printable(char) else json.dumps(char)[1:-1] for char in line)


def shortened(text: str, longest: int) -> str:
    """Shorten text to at most `longest` characters by cutting out its middle.

    >>> shortened("orders", 6), shortened("orders-of-2026", 9)
    ('orders', 'orde…2026')
    """
    if len(text) <= longest:
        return text
    kept = longest - len(_ELLIPSIS)
    return f"{text[: kept - kept // 2]}{_ELLIPSIS}{text[len(text) - kept // 2 :]}"


def quoted(value: object, longest: int = 80) -> str:
    r"""Format an untrusted value for an error message: quoted, printable, and shortened to `longest` characters.

    >>> quoted("../x\n"), quoted(7)
    ("'../x\\n'", '7')
    """
    if isinstance(value, str):
        # Shorten first, since the value may be very long.
        return "'" + printable(shortened(value, longest)) + "'"
    return shortened(printable(repr(value)), longest)


def _is_printable(text: str) -> bool:
    return text.isprintable() and not _INVISIBLE.search(text)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like a misspelt one, to be appended to an error; empty if none is like it.

    >>> did_you_mean("order", ["orders", "web"]), did_you_mean("x", ["orders"])
    ('; did you mean orders?', '')
    """
    from difflib import get_close_matches  # noqa: PLC0415  needed for an error only

    return "".join(f"; did you mean {found}?" for found in get_close_matches(name, sorted(known), n=1))


def first_few(names: Collection[str], total: int | None = None) -> str:
    """Return the first few names as a list in a sentence. Give `total` if `names` does not contain all names.

    >>> first_few(["a", "b"]), first_few("abcdefg"), first_few(["a"], total=6)
    ('a, b', 'a, b, c, d, e, …', 'a, …')
    """
    more = (len(names) if total is None else total) > _FEW
    return ", ".join((*islice(names, _FEW), *([_ELLIPSIS] if more else [])))
