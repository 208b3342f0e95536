"""The body of a request: the bytes that are read, the progress that is reported, and the rate."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.parts import Part
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.stores.part_body import BLOCK, PartBody, SendingStoppedError, Throttle
from tests.stores.files import ignore, make

SIZE = 2 * BLOCK + 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make(tmp_path / "source", SIZE)
    return tmp_path / "source"


@pytest.fixture
def descriptor(source: Path) -> Iterator[int]:
    descriptor = os.open(source, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def drain(body: PartBody) -> bytes:
    return b"".join(bytes(block) for block in iter(body.read, b""))


def test_only_the_bytes_of_the_part_are_read(source: Path, descriptor: int) -> None:
    body = PartBody(source, descriptor, Part(2, 10, BLOCK + 7), progress=ignore)

    assert drain(body) == source.read_bytes()[10 : BLOCK + 17]
    assert len(body) == BLOCK + 7


def test_a_repeated_request_reads_again_and_reports_once(source: Path, descriptor: int) -> None:
    reported: list[int] = []
    body = PartBody(source, descriptor, Part(1, 0, SIZE), progress=reported.append)

    body.read()
    body.read()
    body.seek(0)
    drain(body)

    assert reported == [BLOCK, BLOCK, SIZE - 2 * BLOCK]
    assert body.tell() == SIZE


@pytest.mark.parametrize(
    ("offset", "whence", "position"), [(3, os.SEEK_SET, 3), (3, os.SEEK_CUR, BLOCK + 3), (-3, os.SEEK_END, SIZE - 3)]
)
def test_a_position_is_counted_within_the_part(
    source: Path, descriptor: int, offset: int, whence: int, position: int
) -> None:
    body = PartBody(source, descriptor, Part(1, 0, SIZE), progress=ignore)
    body.read()

    assert body.seek(offset, whence) == position == body.tell()


def test_a_file_that_ends_too_early_has_changed(source: Path, descriptor: int) -> None:
    os.truncate(source, 10)

    with pytest.raises(SendingStoppedError) as stopped:
        drain(PartBody(source, descriptor, Part(1, 0, SIZE), progress=ignore))

    assert isinstance(stopped.value.because, PermanentError)
    assert stopped.value.because.failure.reason is Reason.CHECKSUM_MISMATCH


def test_a_file_that_cannot_be_read_is_an_error(source: Path, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)

    with pytest.raises(SendingStoppedError) as stopped:
        drain(PartBody(source, folder, Part(1, 0, SIZE), progress=ignore))

    os.close(folder)
    assert isinstance(stopped.value.because, TransientError)


def test_a_part_ends_once_another_has_failed(source: Path, descriptor: int) -> None:
    stop = Event()
    body = PartBody(source, descriptor, Part(1, 0, SIZE), progress=ignore, stop=stop)
    body.read()
    stop.set()

    with pytest.raises(SendingStoppedError):
        body.read()


class Clock:
    """A clock that moves only while a caller sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(rate=st.integers(min_value=1, max_value=10**9), counts=st.lists(st.integers(min_value=1, max_value=BLOCK)))
def test_no_more_is_sent_than_the_rate_allows(rate: int, counts: list[int]) -> None:
    clock = Clock()
    throttle = Throttle(rate, clock, clock.sleep)

    for count in counts:
        throttle.wait(count)

    # The last block has just begun.
    assert clock.now - 1_000 == pytest.approx(sum(counts[:-1]) / rate)


def test_after_a_pause_there_is_no_burst() -> None:
    clock = Clock()
    throttle = Throttle(100, clock, clock.sleep)
    throttle.wait(100)
    clock.now += 60

    throttle.wait(100)
    throttle.wait(100)

    assert clock.now == 1_061


def test_at_a_low_rate_blocks_are_small(source: Path, descriptor: int) -> None:
    clock = Clock()
    body = PartBody(
        source, descriptor, Part(1, 0, 10_000), progress=ignore, throttle=Throttle(4_000, clock, clock.sleep)
    )

    assert len(body.read()) == 1_000
    assert drain(body) == source.read_bytes()[1_000:10_000]
    assert clock.now - 1_000 == pytest.approx(9_000 / 4_000)
