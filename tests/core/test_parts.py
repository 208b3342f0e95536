"""Parts of an S3 multipart upload."""

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.parts import (
    FIRST_RANGE,
    MIB,
    RANGE,
    composite_digest,
    cut,
    in_flight,
    part_size,
    ranges,
    whole_digest,
)

GIB = 1024 * MIB
TIB = 1024 * GIB
SIZES = st.integers(min_value=0, max_value=5 * TIB)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(0, 16 * MIB, id="empty"),
        pytest.param(9_000 * 16 * MIB, 16 * MIB, id="the largest file of smallest parts"),
        pytest.param(9_000 * 16 * MIB + 1, 17 * MIB, id="one byte more"),
        pytest.param(5 * TIB, 583 * MIB, id="the largest object of S3"),
    ],
)
def test_parts_grow_with_the_file(size: int, expected: int) -> None:
    assert part_size(size) == expected


@given(SIZES)
def test_no_file_needs_more_parts_than_s3_accepts(size: int) -> None:
    each = part_size(size)

    assert -(-size // each) <= 9_000
    assert 5 * MIB <= each <= 5 * GIB
    assert each % MIB == 0


@given(st.integers(min_value=0, max_value=300), st.integers(min_value=1, max_value=40))
def test_parts_cover_the_whole_file_in_order(size: int, each: int) -> None:
    parts = cut(size, each)

    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.offset for part in parts] == list(range(0, size, each))
    assert sum(part.size for part in parts) == size
    assert all(part.size == each for part in parts[:-1])


def test_the_composite_digest_is_the_digest_of_the_digests() -> None:
    first, second = hashlib.sha256(b"first"), hashlib.sha256(b"second")
    together = hashlib.sha256(first.digest() + second.digest()).digest()

    digest = composite_digest([first.hexdigest(), second.hexdigest()])

    assert digest == f"sha256-parts:{b64encode(together).decode()}-2"


def test_an_object_uploaded_whole_has_its_own_digest() -> None:
    assert whole_digest("ab" * 32) == "sha256:" + "ab" * 32


@given(st.integers(min_value=0, max_value=50 * RANGE))
def test_ranges_cover_the_whole_object_in_order_and_fit_into_their_buffer(size: int) -> None:
    found = list(ranges(size))

    assert [part.number for part in found] == list(range(1, len(found) + 1))
    assert [part.offset for part in found[1:]] == [part.offset + part.size for part in found[:-1]]
    assert sum(part.size for part in found) == size
    assert found[0].size == min(size, FIRST_RANGE)
    assert all(0 < part.size <= RANGE for part in found[1:])


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param(1, 2, id="a byte"),
        pytest.param(128 * MIB, 4, id="128 MiB"),
        pytest.param(256 * MIB, 8, id="256 MiB"),
        pytest.param(512 * MIB, 16, id="512 MiB"),
        pytest.param(64 * GIB, 16, id="64 GiB"),
        pytest.param(None, 16, id="no limit"),
    ],
)
def test_the_parts_in_flight_take_an_eighth_of_the_memory(memory: int | None, expected: int) -> None:
    assert in_flight(memory) == expected
