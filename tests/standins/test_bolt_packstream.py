import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from backup_agent.standins.bolt.packstream import MAX_DEPTH, PackStreamError, Structure, pack, unpack
from tests.examples import examples

SCALARS = (
    some.none()
    | some.booleans()
    | some.integers(-(1 << 63), (1 << 63) - 1)
    | some.floats(allow_nan=False)
    | some.text()
    | some.binary()
)
VALUES = some.recursive(
    SCALARS,
    lambda inner: (
        some.lists(inner, max_size=20)
        | some.dictionaries(some.text(), inner, max_size=20)
        | some.builds(Structure, some.integers(0, 127), some.lists(inner, max_size=15).map(tuple))
    ),
    max_leaves=30,
)


brief = settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Without deadline and health check, as nested values are slow to generate on a busy machine."""


@brief
@given(VALUES)
def test_unpacking_restores_the_packed_value(value: Any) -> None:
    assert unpack(pack(value)) == value


@brief
@given(VALUES, some.data())
def test_incomplete_bytes_are_refused(value: Any, data: some.DataObject) -> None:
    whole = pack(value)
    cut = whole[: data.draw(some.integers(0, len(whole) - 1))]

    with pytest.raises(PackStreamError):
        unpack(cut)


@brief
@given(some.binary())
def test_arbitrary_bytes_are_unpacked_or_refused(data: bytes) -> None:
    with contextlib.suppress(PackStreamError):
        unpack(data)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "c0"),
        (True, "c3"),
        (False, "c2"),
        (1, "01"),
        (127, "7f"),
        (-16, "f0"),
        (-17, "c8ef"),
        (128, "c90080"),
        (-129, "c9ff7f"),
        (32768, "ca00008000"),
        (1 << 31, "cb0000000080000000"),
        (1.23, "c13ff3ae147ae147ae"),
        ("", "80"),
        ("Größe", "874772c3b6c39f65"),
        ("a" * 16, "d010" + "61" * 16),
        ("a" * 256, "d10100" + "61" * 256),
        (b"\x01\x02", "cc020102"),
        ([], "90"),
        ([1, 2], "920102"),
        (list(range(16)), "d410" + "".join(f"{n:02x}" for n in range(16))),
        ({"a": 1}, "a1816101"),
        (
            {str(n): n for n in range(16)},
            "d810" + "".join(f"{0x80 + len(str(n)):02x}{str(n).encode().hex()}{n:02x}" for n in range(16)),
        ),
        (Structure(0x70, ({},)), "b170a0"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values_are_packed_in_the_smallest_encoding(value: Any, expected: str) -> None:
    assert pack(value).hex() == expected


@pytest.mark.parametrize("size", [0xFFFF, 0x1_0000], ids=["size in two bytes", "size in four bytes"])
def test_long_values_are_packed_and_unpacked(size: int) -> None:
    assert unpack(pack(["x" * size, b"x" * size, [1] * size])) == ["x" * size, b"x" * size, [1] * size]


@brief
@given(some.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9998, 1, 1)), some.integers(-86_000, 86_000))  # noqa: DTZ001  the zone is added below
def test_a_datetime_is_packed_as_seconds_in_utc_nanoseconds_and_offset(naive: datetime, offset: int) -> None:
    value = naive.replace(tzinfo=timezone(timedelta(seconds=offset)))

    seconds, nanoseconds, unpacked_offset = unpack(pack(value)).fields

    assert unpacked_offset == offset
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=nanoseconds // 1000) == value
    assert 0 <= nanoseconds < 1_000_000_000


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1 << 63, "64 bits"),
        (object(), "type object is not supported"),
        (datetime(2026, 1, 1), "type datetime is not supported"),  # noqa: DTZ001  a naive datetime is the point
        ({1, 2}, "type set is not supported"),
    ],
    ids=["too large", "object", "datetime without a zone", "set"],
)
def test_an_unsupported_value_is_refused(value: Any, words: str) -> None:
    with pytest.raises(PackStreamError, match=words):
        pack(value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "incomplete data"),
        ("0101", "1 bytes after the value"),
        ("c4", "unknown marker 0xC4"),
        ("81ff", "not UTF-8"),
        ("a10101", "a key is not a text"),
        ("91" * (MAX_DEPTH + 2), "nested deeper"),
    ],
)
def test_invalid_packstream_is_refused(data: str, words: str) -> None:
    with pytest.raises(PackStreamError, match=words):
        unpack(bytes.fromhex(data))
