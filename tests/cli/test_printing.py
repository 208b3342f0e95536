"""Unprintable characters reach the terminal as escapes; sizes and durations are readable."""

import doctest
import json
import os
import sys
import tracemalloc
from collections.abc import Iterator

import pytest

from backup_agent.cli import printing


def test_the_examples_in_the_docstrings_are_correct() -> None:
    assert doctest.testmod(printing).failed == 0


HOSTILE = "x\x1b[1A\x1b[2K\r\nPAUSED by nobody\x7f\x9b2K\u202e\u200b\u3164\ud800"
SHOWN = "x\\x1b[1A\\x1b[2K\\r\\nPAUSED by nobody\\x7f\\x9b2K\\u202e\\u200b\\u3164\\ud800"


def test_a_line_stays_one_line_and_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    printing.line(HOSTILE)
    printing.line(HOSTILE, err=True)
    printing.lines([HOSTILE, "b"])
    out, err = capsys.readouterr()

    assert (out, err) == (f"{SHOWN}\n{SHOWN}\nb\n", f"{SHOWN}\n")


def test_a_block_keeps_line_breaks_and_escapes_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    printing.block("a\nb\x1b[2K\n")

    assert capsys.readouterr().out == "a\nb\\x1b[2K\n"


def test_the_first_rows_of_a_long_table_are_printed_before_its_last_rows_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A column becomes wider if a later row needs that."""
    printed: list[int] = []

    def rows() -> Iterator[tuple[str, str]]:
        for number in range(2500):
            printed.append(capsys.readouterr().out.count("\n"))
            yield ("wide" * 5 if number == 1500 else "x", str(number))

    printing.table(["NAME", "NUMBER"], rows())
    last = capsys.readouterr().out.splitlines()[-1]

    assert sum(printed[:999]) == 0
    assert sum(printed) >= 2000
    assert last == f"{'x':20}  2499"


@pytest.mark.parametrize("values", [[], [{"a": 1}], [HOSTILE, None, [1, {"b": "ü"}]]])
def test_a_long_list_is_valid_json_and_its_other_fields_come_last(
    values: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []

    def each() -> Iterator[object]:
        for value in values:
            seen.append(value)
            yield value

    printing.long_list_as_json("artifacts", each(), lambda: {"unreadable": seen, "more": 0})
    out = capsys.readouterr().out

    assert json.loads(out) == {"artifacts": values, "unreadable": values, "more": 0}
    assert "\x1b" not in out


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000])
def test_a_long_block_is_printed_whole(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = ("0123456789\n" * (length // 11 + 1))[:length]
    printing.block(text)

    assert capsys.readouterr().out == text.removesuffix("\n") + "\n"


@pytest.mark.patience
def test_a_long_block_of_escapes_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as nothing:  # noqa: PTH123  as standard output is
        monkeypatch.setattr("sys.stdout", nothing)
        tracemalloc.start()
        try:
            printing.block("\x1b" * (1 << 20))
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_tables_and_facts_show_escapes_and_count_them_as_width(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["NAME", "SIZE"], [["a\x1b", "1"], ["b", "2"]])
    printing.facts([("name", "a\nb")])

    assert capsys.readouterr().out == "NAME   SIZE\na\\x1b  1\nb      2\nname  a\\nb\n"


def test_a_cell_longer_than_longest_is_cut_in_the_middle() -> None:
    rows = [["a" * 5000, "y" * 20], ["b", "z"]]
    lines = list(printing.table_lines(["NAME", "WHY"], rows, longest=9))

    assert lines == ["NAME       WHY", "aaaa…aaaa  " + "y" * 20, "b          z"]


@pytest.mark.parametrize("value", [HOSTILE[:-1], "Zoë", 7])
def test_json_stays_equal_and_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str], value: object) -> None:
    printing.as_json({"a": value})
    out = capsys.readouterr().out

    assert json.loads(out) == {"a": value}
    assert all(line.isprintable() and "\u3164" not in line for line in out.splitlines())
    assert len(out.splitlines()) == 3


def test_a_document_is_escaped_only_at_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printing.document("a: b\u200b\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    printing.document("a: b\u200b\n")

    assert capsys.readouterr().out == "a: b\u200b\na: b\\u200b\n"


def test_a_changing_line_is_cut_after_escaping(capsys: pytest.CaptureFixture[str]) -> None:
    printing.changing_line("ab\x1b[2K", 6)

    assert capsys.readouterr().err == "\rab\\x1"  # click removes the erasing sequence if there is no terminal


@pytest.fixture(name="terminal")
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print as on a terminal of 40 columns."""
    monkeypatch.setattr(printing, "is_terminal", lambda *, err=False: not err)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


RED, YELLOW, GREEN, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("OK", f"{GREEN}OK{PLAIN}"),
        ("DEGRADED: 1 late", f"{YELLOW}DEGRADED{PLAIN}: 1 late"),
        ("- unprotected: orders", f"- {RED}unprotected{PLAIN}: orders"),
        ("nightly@1: failed (internal)", f"nightly@1: {RED}failed{PLAIN} (internal)"),
        ("FAIL    cluster: no answer", f"{RED}FAIL{PLAIN}    cluster: no answer"),
        ("a failed backup is OK", "a failed backup is OK"),
        ("OKAY", "OKAY"),
    ],
)
def test_on_a_terminal_words_for_outcomes_are_coloured(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printing.line(text)

    assert capsys.readouterr().out == f"{shown}\n"


@pytest.mark.usefixtures("terminal")
def test_the_colour_of_a_cell_does_not_shift_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["NAME", "STATE", "SIZE"], [["late", "late", "1"], ["web", "protected", "2"]])

    assert capsys.readouterr().out.splitlines()[1:] == [
        f"{YELLOW}late{PLAIN}  {YELLOW}late{PLAIN}       1",
        f"web   {GREEN}protected{PLAIN}  2",
    ]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_is_coloured_if_the_environment_forbids_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    printing.line("FAILING")

    assert capsys.readouterr().out == "FAILING\n"


def test_nothing_is_coloured_or_wrapped_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    printing.prose(["OK: " + "word " * 40])

    assert capsys.readouterr().out == "OK: " + "word " * 40 + "\n"


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_prose_and_last_columns_are_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    why = "no rule keeps it, and it is older than 14 days"
    printing.prose([f"  {why}", "a-key-that-is-longer-than-the-terminal-stays-whole"])
    printing.table(["NAME", "WHY"], [["customers-of-the-world", why]], wraps=True)

    assert capsys.readouterr().out.splitlines() == [
        "  no rule keeps it, and it is older than",
        "    14 days",
        "a-key-that-is-longer-than-the-terminal-stays-whole",
        "NAME                 WHY",
        "customers…the-world  no rule keeps it,",
        "                     and it is older",
        "                     than 14 days",
    ]
