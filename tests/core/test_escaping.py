"""Escaped text keeps its value in a shell, in Cypher and on a terminal, and has no other effect."""

import doctest
import json
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.core import escaping
from backup_agent.core.escaping import cypher_name, cypher_string, printable, printable_json, printable_lines, quoted
from tests.core.hostile import NAMES, TEXTS
from tests.examples import examples

PIECES = ["\x1b[2K", "\r", "\n", "\t", "\x00", "\x7f", "\x9b1A", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028"]
PIECES += ["\u00ad", "\u3164", "\ufe0f", "\U000e0041", "\ud800", "a", "é", "\\", "`", "'", '"']
TERMINAL = st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join)


def test_the_examples_in_the_docstrings_are_correct() -> None:
    assert doctest.testmod(escaping).failed == 0


@given(TEXTS)
@settings(max_examples=examples(50), deadline=None)
def test_a_shell_reads_a_quoted_word_as_its_text(text: str) -> None:
    script = f"printf %s {escaping.shell_word(text)}"
    ran = subprocess.run(["sh", "-c", script], capture_output=True, check=True)

    assert (ran.stdout, ran.stderr) == (text.encode(), b"")


def test_a_word_with_a_nul_character_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        escaping.shell_word("a\0b")


def parsed(written: str, mark: str) -> str:
    """Return the text that Neo4j reads from a quoted name or string. tests/cluster/test_community.py proves the rules."""
    text = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), written)
    assert text[0] == text[-1] == mark
    inner = text[1:-1]
    if mark == "`":
        assert re.fullmatch("(?:[^`]|``)*", inner, re.DOTALL)
        return inner.replace("``", "`")
    assert re.fullmatch(r"(?:[^\\']|\\.)*", inner, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)


@given(NAMES, TEXTS)
@settings(max_examples=examples(100))
def test_cypher_reads_a_quoted_name_and_string_as_their_text(name: str, text: str) -> None:
    assert parsed(cypher_name(name), "`") == name
    assert parsed(cypher_string(text), "'") == text


def test_a_name_with_a_backslash_is_refused() -> None:
    with pytest.raises(ValueError, match="backslash"):
        cypher_name("a\\u0060")


@given(TERMINAL)
@settings(max_examples=examples(100))
def test_printable_text_cannot_move_the_cursor_or_hide_text(text: str) -> None:
    for shown in (printable(text), quoted(text)):
        assert shown.isprintable()
        assert not re.search("[\u3164\ufe0f]", shown)
        shown.encode()
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


@given(st.text("abcé -/._\\'", max_size=40))
@settings(max_examples=examples(50))
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


@given(st.dictionaries(TERMINAL, TERMINAL, max_size=3))
@settings(max_examples=examples(100))
def test_printable_json_has_the_same_value(value: dict[str, str]) -> None:
    document = printable_json(json.dumps(value, ensure_ascii=False, indent=1))

    assert json.loads(document) == value
    assert all(line.isprintable() for line in document.split("\n"))


def test_a_long_quoted_value_is_shortened() -> None:
    assert len(quoted("x" * 5000)) == 82
    assert len(quoted(["x" * 5000])) == 80
