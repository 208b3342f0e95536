"""What a signature covers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.signing.message import message

TEXTS = st.text(st.characters(codec="utf-8"))
# Python sorts keys by code points and RFC 8785 by UTF-16: they agree below the surrogates.
KEYS = st.text(st.characters(max_codepoint=0xD7FF))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def signed_bytes(document: object, *, kind: str = "record", cluster: str = "demo", key: str = "a/b/c") -> bytes:
    return message(kind, cluster, key, json.dumps(document).encode())


def second_opinion(document: dict[str, Any]) -> bytes:
    """Return a message by Python's own JSON encoder, which agrees with RFC 8785 for texts and integers."""
    whole = {"cluster": "demo", "document": document, "key": "a/b/c", "kind": "record"}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(DOCUMENTS)
def test_a_message_is_canonical_json_as_another_encoder_writes_it(document: dict[str, Any]) -> None:
    document.pop("signature", None)

    assert second_opinion(document) == signed_bytes(document)


@given(DOCUMENTS, st.integers(0, 8), st.randoms())
def test_layout_and_order_of_the_stored_bytes_do_not_matter(document: dict[str, Any], indent: int, random: Any) -> None:
    shuffled = list(document.items())
    random.shuffle(shuffled)
    stored = json.dumps(dict(shuffled), indent=indent, ensure_ascii=False).encode()

    assert signed_bytes(document) == message("record", "demo", "a/b/c", stored)


@given(DOCUMENTS, DOCUMENTS)
def test_documents_that_differ_have_different_messages(one: dict[str, Any], other: dict[str, Any]) -> None:
    for document in (one, other):
        document.pop("signature", None)

    # 1 == True in Python, and not in JSON.
    assert (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)) == (
        signed_bytes(one) == signed_bytes(other)
    )


@pytest.mark.parametrize(
    ("number", "canonical"),
    [
        (1.0, b"1"),
        (1e21, b"1e+21"),
        (1e-7, b"1e-7"),
        (0.000001, b"0.000001"),
        (-0.0, b"0"),
        (333333333.33333329, b"333333333.3333333"),
        (5e-324, b"5e-324"),
        (1.7976931348623157e308, b"1.7976931348623157e+308"),
        (9007199254740991, b"9007199254740991"),
    ],
)
def test_numbers_are_written_as_the_rfc_says(number: float, canonical: bytes) -> None:
    assert b'"document":{"n":' + canonical + b"}" in signed_bytes({"n": number})


def test_keys_are_sorted_by_their_utf_16_code_units() -> None:
    assert b'{"\xf0\x9f\x98\x80":1,"\xef\xac\xb3":2}' in signed_bytes({"\ufb33": 2, "\U0001f600": 1})


def test_the_signature_itself_is_left_out_and_unknown_keys_are_not() -> None:
    assert signed_bytes({"a": 1}) == signed_bytes({"a": 1, "signature": {"value": "x"}})
    assert signed_bytes({"a": 1}) != signed_bytes({"a": 1, "later": None})


@pytest.mark.parametrize("other", [{"kind": "hold"}, {"cluster": "prod"}, {"key": "a/b/d"}])
def test_kind_cluster_and_key_are_covered(other: dict[str, str]) -> None:
    assert signed_bytes({"a": 1}) != signed_bytes({"a": 1}, **other)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"n": 9007199254740992}', id="integer beyond what a double can tell from its neighbours"),
        pytest.param(b'{"n": -9007199254740993}', id="negative integer beyond that"),
        pytest.param(b'{"n": 1e400}', id="infinity"),
        pytest.param(b'{"n": NaN}', id="not a number"),
        pytest.param(b'{"a": 1, "a": 2}', id="repeated key"),
        pytest.param(b'{"x": {"a": 1, "a": 1}}', id="repeated key inside"),
        pytest.param(b'{"a": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"\\ud800": 1}', id="lone surrogate in a key"),
        pytest.param(b"[1]", id="not an object"),
        pytest.param(b"{", id="not JSON"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b'{"a":' + 100 * b"[" + 100 * b"]" + b"}", id="nested deep"),
        pytest.param(b'{"a": [' + 200_000 * b"1," + b"1]}", id="too many values"),
    ],
)
def test_a_document_that_two_parsers_could_read_differently_is_not_signed(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  any kind
        message("record", "demo", "a/b/c", content)
