"""Reading untrusted JSON: the nesting depth is checked before any value is built."""

import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.records import Record
from backup_agent.core.json_reader import DEEPEST, NestingError, SurrogateError, read_json
from backup_agent.core.neo4j.topology import Topology
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.requests.answers import Answer


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + "0" + closing * levels).encode()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"[" * 100_000, id="open brackets"),
        pytest.param(nested(100_000), id="closed brackets"),
        pytest.param(nested(30_000, '{"a":', "}"), id="objects"),
        pytest.param(nested(DEEPEST + 1), id="one level too many"),
        pytest.param(b'["\\"", "[", "' + b'"' + b"[" * DEEPEST, id="after strings with brackets and quotes in them"),
        pytest.param(b'"' + b"[" * 10 + b'" ' + nested(DEEPEST + 1), id="after another value"),
    ],
)
def test_a_document_that_is_nested_too_deep_is_refused_at_once(document: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(NestingError, match="nested more than 64 levels deep"):
        read_json(document)

    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(nested(DEEPEST), id="as deep as allowed"),
        pytest.param(json.dumps(["[" * 1000, "{\\" * 1000, '"[' * 1000]).encode(), id="brackets in strings"),
        pytest.param(b"[" + b"[],{}," * 10_000 + b"0]", id="many side by side"),
    ],
)
def test_a_document_that_is_not_too_deep_is_read(document: bytes) -> None:
    assert read_json(document) == json.loads(document)


def test_a_long_string_of_escape_sequences_needs_little_time_and_stack() -> None:
    text = '\\"[' * 200_000
    begun = time.process_time()

    assert read_json(json.dumps([text, *([[]] * DEEPEST)]).encode())[0] == text
    assert time.process_time() - begun < 1


def test_invalid_json_and_invalid_utf_8_raise_value_error() -> None:
    for document in (b"", b"{", b"\xff", b'["' + b"[" * 100, b"]" * 100):
        with pytest.raises(ValueError, match=r".") as caught:
            read_json(document)
        assert not isinstance(caught.value, NestingError)


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=3), max_size=3))
def test_text_with_half_of_a_surrogate_pair_is_refused(texts: list[str]) -> None:
    data = json.dumps({"texts": texts, "keys": dict.fromkeys(texts)}).encode()
    try:
        found = read_json(data)
    except SurrogateError:
        assert any("\ud800" <= character <= "\udfff" for text in texts for character in text)
    else:
        assert all(text.encode() is not None for text in (*found["texts"], *found["keys"]))


def test_whole_surrogate_pairs_and_escaped_backslashes_are_read() -> None:
    assert read_json(rb'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", r"\ud800"]


def test_objects_are_built_by_the_given_function() -> None:
    assert read_json(b'{"a": 1, "a": 2}', list) == [("a", 1), ("a", 2)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(values, st.integers(0, 2 * DEEPEST))
def test_any_value_is_read_as_by_json_unless_it_is_too_deep(value: Any, levels: int) -> None:
    for _ in range(levels):
        value = [value]
    text = json.dumps(value)
    try:
        found = read_json(text.encode())
    except NestingError:
        assert text.count("[") + text.count("{") > DEEPEST
    else:
        assert found == value


@pytest.mark.parametrize("kind", [Answer, Damage, Hold, Lease, Owner, Record, Topology])
def test_pydantic_refuses_deeply_nested_json(kind: Any) -> None:
    """Pydantic's parser allows 200 levels, also in unknown keys and in values of a wrong type."""
    for document in (
        b"[" * 100_000,
        nested(100_000),
        nested(100_000, '{"request":', "}"),
        nested(sys.getrecursionlimit()),
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            kind.model_validate_json(document)
        assert "recursion limit" in str(caught.value)
