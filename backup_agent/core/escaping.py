"""Text for a shell, for Cypher and for a terminal: one function for each, used wherever a value becomes part of them.

Names, reasons and program output come from people, from other programs and from storage that others can write to. A
value that is printed as it is runs as a command when the line is pasted, or moves the cursor over the line above it.
"""

import json
import re

_ELLIPSIS = "…"

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001bca0-\U0001bca3\U000e0000-\U000e0fff]"
)
"""Characters without a width that `str.isprintable` takes for printable (Unicode: Default_Ignorable_Code_Point)."""


def shell_word(text: str) -> str:
    r"""Return text as one word of a POSIX shell, always in single quotes. Raise ValueError for a NUL character.

    >>> print(shell_word("orders"), shell_word("it's $(id)"))
    'orders' 'it'\''s $(id)'
    """
    if "\0" in text:
        raise ValueError("no word of a shell can hold a NUL character")
    return "'" + text.replace("'", "'\\''") + "'"


def shell_comment(text: str) -> str:
    r"""Return text as one comment line of a shell: nothing in it can end the comment.

    >>> shell_comment("orders\nid")
    '# orders\\nid'
    """
    return f"# {printable(text)}"


def cypher_name(text: str) -> str:
    r"""Return text as a name in Cypher, always in backticks. Raise ValueError for a backslash, which no database has.

    Neo4j writes administration commands out and parses them again, without escaping a backslash: 2026.09.0 takes
    `\u0060` in a name for the closing backtick, however the first text had escaped it.

    >>> print(cypher_name("orders"), cypher_name("a`b"))
    `orders` `a``b`
    """
    if "\\" in text:
        raise ValueError(f"no name in Cypher may hold a backslash (got {quoted(text)})")
    return "`" + text.replace("`", "``") + "`"


_BACKSLASH = "\\u005C"
"""A backslash in a string. Neo4j 5 and later replace `\\uXXXX` before they parse, and do not look again at what it
stands for; so no backslash that is written this way begins an escape of the value's own."""


def cypher_string(text: str) -> str:
    r"""Return text as a string in Cypher, always in single quotes.

    >>> print(cypher_string("orders"), cypher_string("it's"))
    'orders' 'it\'s'
    """
    return "'" + text.replace("\\", _BACKSLASH * 2).replace("'", "\\'") + "'"


def printable(text: str) -> str:
    r"""Return text for one line of a terminal or a console log: control characters are shown as escapes.

    These are C0 with tab and newline, DEL, C1, line and paragraph separators, what has no width or turns the direction
    of text, and halves of surrogate pairs, which cannot be encoded.

    >>> printable("a\x1b[2Kb\n"), printable("Zoë")
    ('a\\x1b[2Kb\\n', 'Zoë')
    """
    if text.isprintable():
        return _INVISIBLE.sub(_escaped, text)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in _INVISIBLE.sub(_escaped, text))


def printable_lines(text: str) -> str:
    r"""Return text of several lines for a terminal: as `printable`, but its newlines are kept.

    >>> printable_lines("a\nb\r")
    'a\nb\\r'
    """
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    r"""Return a JSON document for a terminal: as `printable_lines`, but with the escapes of JSON.

    >>> printable_json('{"a": "\u202e\x7f"}')
    '{"a": "\\u202e\\u007f"}'
    """
    return "".join(char if char == "\n" or _is_printable(char) else json.dumps(char)[1:-1] for char in document)


def shortened(text: str, longest: int) -> str:
    """Return text of at most `longest` characters: the middle is cut out if it has more.

    >>> shortened("orders", 6), shortened("orders-of-2026", 9)
    ('orders', 'orde…2026')
    """
    if len(text) <= longest:
        return text
    kept = longest - len(_ELLIPSIS)
    return f"{text[: kept - kept // 2]}{_ELLIPSIS}{text[len(text) - kept // 2 :]}"


def quoted(value: object, longest: int = 80) -> str:
    r"""Return a value of unknown origin for an error message: in quotes, printable and cut in the middle.

    >>> quoted("../x\n"), quoted(7)
    ("'../x\\n'", '7')
    """
    if isinstance(value, str):
        # Cut first: a refused value may be very long.
        return "'" + printable(shortened(value, longest)) + "'"
    return shortened(printable(repr(value)), longest)


def _is_printable(char: str) -> bool:
    return char.isprintable() and not _INVISIBLE.fullmatch(char)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
