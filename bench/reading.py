"""Compare the reading pass with `sha256sum` plus `zstd -t`, and reading a header with a JVM that does so.

Run by hand: `python bench/reading.py [--mebibytes 1024] [--rounds 3]`. The benchmark writes an artifact of random and
repetitive content in equal parts, and removes it at the end.
"""

import argparse
import io
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard

sys.path.insert(0, str(Path(__file__).parents[1]))

from backup_agent.artifact.header import read_header
from backup_agent.artifact.reading import read_through
from backup_agent.core.artifacts.parts import part_size
from tests.artifact import writer

MIB = 1 << 20

JVM_SECONDS = 1.45
"""Time of `neo4j-admin database load --info` of 5.26.31 in one JVM, measured on the machine of bench/README.md."""


class Store(io.RawIOBase):
    """A store file of a given size. Half of each block is random, half repeats one record."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._random = random.Random(5)

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes."""
        size = min(size, self._left)
        self._left -= size
        half = size // 2
        return self._random.randbytes(half) + (b"\x01\0\0\0\x2a record of a node " * (size // 20 + 1))[: size - half]


def make(path: Path, mebibytes: int) -> int:
    """Write an artifact of about `mebibytes`; return its decompressed size in bytes."""
    raw = mebibytes * MIB * 2
    with path.open("wb") as file:
        file.write(b"BZV2")
        packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
        with packer.stream_writer(file, closefd=False) as packed:
            packed.write(b"zstd" + writer.header(writer.Written()) + writer.counts())
            with tarfile.open(fileobj=packed, mode="w|", bufsize=MIB) as archive:
                for number in range(8):
                    entry = tarfile.TarInfo(f"neostore.{number}.db")
                    entry.size = raw // 8
                    archive.addfile(entry, Store(entry.size))
    return raw


@dataclass(frozen=True)
class Cost:
    """Wall time and processor time in seconds. On a busy machine processor time is more precise."""

    wall: float
    processors: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.processors + other.processors)

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.processors:.2f} s CPU)"


def cost(work: Callable[[], object], rounds: int) -> Cost:
    """Return the median costs of several rounds."""
    walls, processors = [], []
    for _ in range(rounds):
        wall, used = time.perf_counter(), sum(os.times()[:4])
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(sum(os.times()[:4]) - used)
    return Cost(statistics.median(walls), statistics.median(processors))


def version(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip("* ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="folder for the artifact")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.dir) as folder:
        path = Path(folder) / "orders-2026-11-23T02-00-00.backup"
        raw = make(path, chosen.mebibytes)
        frame = path.with_name("frame.zst")  # zstd reads the frame without the magic
        with path.open("rb") as source, frame.open("wb") as target:
            source.seek(4)
            while chunk := source.read(MIB):
                target.write(chunk)
        size = path.stat().st_size
        library = f"zstandard {zstandard.__version__} (zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))})"
        print(f"CPython {platform.python_version()}, {library}, {platform.platform()}, {os.cpu_count()} cores")
        print(f"{version('sha256sum', '--version')}; {version('zstd', '--version')}")
        print(f"artifact: {size / MIB:.0f} MiB, decompressed {raw / MIB:.0f} MiB; median of {chosen.rounds}")

        def run(*argv: str) -> Callable[[], object]:
            return lambda: subprocess.run(argv, check=True, capture_output=True)

        whole = cost(run("sha256sum", str(path)), chosen.rounds)
        test = cost(run("zstd", "-t", "-q", str(frame)), chosen.rounds)
        plain = cost(lambda: read_through(path), chosen.rounds)
        parts = cost(lambda: read_through(path, part_size=part_size), chosen.rounds)
        header = cost(lambda: [read_header(path) for _ in range(100)], chosen.rounds).wall / 100
        process = cost(run(sys.executable, "-m", "backup_agent.artifact", "--header", str(path)), chosen.rounds).wall
        print(f"sha256sum {whole}, zstd -t {test}, both {whole + test}")
        print(f"reading pass {plain}; with the checksums of {part_size(size) // MIB} MiB parts {parts}")
        print(f"the latter takes {parts.wall / (whole + test).wall:.2f} of the time of both programs")
        print(f"header {header * 1e3:.2f} ms, {JVM_SECONDS / header:.0f} times faster than {JVM_SECONDS} s")
        print(f"header in a new process {process * 1e3:.0f} ms, {JVM_SECONDS / process:.0f} times faster")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
