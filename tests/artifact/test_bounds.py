"""Artifacts that are crafted to take far more time or memory than their size suggests are reported, at a bounded cost."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from backup_agent.artifact.bounds import Bounds
from backup_agent.artifact.cursor import CHUNK, DamagedError
from backup_agent.artifact.reading import read_through
from backup_agent.artifact.zstd import UnknownFormatError
from tests.artifact import writer
from tests.artifact.writer import Written

NAME = "orders-2026-11-23T02-00-00.backup"
HEAD = b"zstd" + writer.header(Written()) + writer.counts()
END = bytes(1024)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def entry(name: str = "neostore", size: int = 0, kind: bytes = b"0") -> bytes:
    found = tarfile.TarInfo(name)
    found.type, found.size = kind, size
    return found.tobuf(tarfile.GNU_FORMAT)


def problems(path: Path, content: bytes, bounds: Bounds | None = None) -> tuple[str, ...]:
    path.write_bytes(content)
    reading = read_through(path) if bounds is None else read_through(path, bounds=bounds)
    assert reading.files[0].sha256 == hashlib.sha256(content).hexdigest()
    return tuple(problem for problem in reading.problems if "checksum" not in problem)


@pytest.mark.patience
def test_an_artifact_that_unpacks_to_thousands_of_times_its_size_has_a_problem(path: Path) -> None:
    content = writer.repeated(HEAD + entry(size=(4 << 30) - (1 << 17)), 4 << 30)

    (problem,) = problems(path, content)

    assert len(content) < 132_000
    assert problem == f"it unpacks to {(4 << 30) + len(HEAD) + 512} bytes, more than 1000 times its own {len(content)}"


def test_the_preallocated_logs_of_an_empty_database_are_not_a_problem(path: Path) -> None:
    assert problems(path, writer.repeated(HEAD + entry(size=1 << 30), (1 << 30) + (1 << 17))) == ()


@pytest.mark.patience
@pytest.mark.parametrize(("entries", "found"), [(1000, 0), (300_000, 1)])
def test_a_tar_of_very_many_entries_is_a_problem(path: Path, entries: int, found: int) -> None:
    content = writer.artifact(inside=entry() * entries + END)

    assert problems(path, content) == (f"its tar has {entries} entries, more than 250000",) * found


def test_an_artifact_that_takes_too_long_is_not_unpacked_to_its_end_and_still_gets_its_checksum(path: Path) -> None:
    content = writer.repeated(HEAD + entry(size=(4 << 30) - (1 << 17)), 4 << 30)

    (problem,) = problems(path, content, Bounds(seconds=0.05, bytes_a_second=1 << 30))

    assert problem.startswith(f"{NAME}, at byte ")
    assert problem.endswith(
        ": not read further after 0 s of CPU time: it is not known whether the artifact is complete"
    )


def test_a_frame_that_takes_too_long_before_its_header_is_damage(path: Path) -> None:
    path.write_bytes(b"BZV2\x28\xb5\x2f\xfd\x00\x58" + bytes(3) * (10 * CHUNK))

    with pytest.raises(DamagedError, match=r"at byte \d+: not read further after 0 s of CPU time"):
        read_through(path, bounds=Bounds(seconds=0.05, bytes_a_second=1 << 30))


@pytest.mark.parametrize(("window", "allowed"), [(21, True), (23, True), (24, False), (27, False)])
def test_a_window_of_more_than_8_mebibytes_is_left_to_neo4j_admin(path: Path, window: int, allowed: bool) -> None:
    path.write_bytes(writer.repeated(HEAD + entry(size=1 << 17), 2 << 17, window=window))

    if allowed:
        assert read_through(path).header.database == "orders"
    else:
        with pytest.raises(
            UnknownFormatError, match=f"wants a window of {1 << window} bytes, at most 8388608 are allowed"
        ):
            read_through(path)


COST = """
import json, re, sys, time
from pathlib import Path
from backup_agent.artifact.reading import read_through
began = time.process_time()
found = read_through(Path(sys.argv[1])).problems
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([time.process_time() - began, peak / 1024, len(found)]))
"""


def pax(records: bytes) -> bytes:
    return entry("x", len(records), b"x") + records + bytes(-len(records) % 512)


def streamed(pieces: Iterable[bytes]) -> bytes:
    """Return an artifact whose tar is too large for the memory."""
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(packed, closefd=False) as frame:
        for piece in (HEAD, *pieces):
            frame.write(piece)
    return b"BZV2" + packed.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "4 GiB of zeros": lambda: writer.repeated(HEAD + entry(size=(4 << 30) - (1 << 17)), 4 << 30, window=23),
    "a million entries": lambda: streamed([entry() * 1000] * 1000 + [END]),
}


@pytest.mark.process
@pytest.mark.parametrize("name", BOMBS)
def test_reading_a_crafted_artifact_needs_little_time_and_memory(path: Path, name: str) -> None:
    content = BOMBS[name]()
    path.write_bytes(content)

    completed = subprocess.run((sys.executable, "-c", COST, str(path)), capture_output=True, text=True, check=True)
    seconds, memory, found = json.loads(completed.stdout)

    assert len(content) < 200_000
    assert seconds < 30  # about six seconds on an idle machine
    assert memory < 64
    assert found


def test_an_extended_header_of_very_many_records_is_damage(path: Path) -> None:
    path.write_bytes(writer.artifact(inside=pax(b"6 a=b\n" * 10_900) + entry() + END))

    with pytest.raises(DamagedError, match="an extended tar header of 64 records or more"):
        read_through(path)
