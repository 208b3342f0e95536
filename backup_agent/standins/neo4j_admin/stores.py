"""The stores in artifacts: templates written by Neo4j Community, and padding of a given size.

All databases of a version share one template with its store id, except `system`, which has a template of its own.
tests/standins/make_store_templates.py rebuilds the templates.
"""

import io
import random
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zstandard

from backup_agent.standins.neo4j_admin.artifacts import BLOCK, Entry, Reader, StoreId
from backup_agent.standins.neo4j_admin.versions import Version

TEMPLATES = Path(__file__).parents[1] / "store_templates"
LOGS = re.compile(r"(?:neostore\.transaction\.db|checkpoint)\.\d+")
STORE_ID_AT = 0x18
"""Offset of the store id in a transaction log, in bytes (measured on 5.26.31 and 2026.09.0)."""
PADDING = "stand-in.padding"
POOL = 4
"""Number of random blocks that padding repeats: so many that zstd's window holds no repetition to compress."""


@dataclass(frozen=True)
class Store:
    """A store: its id and its files."""

    id: StoreId
    entries: tuple[Entry, ...]

    @property
    def logs(self) -> tuple[Entry, ...]:
        """The transaction logs: the content of a simulated differential."""
        return tuple(entry for entry in self.entries if LOGS.fullmatch(entry.name))


def template(version: Version, *, system: bool) -> Store:
    """Return the template for a version: that of 5.26.31 for 5.x, that of 2026.09.0 for all later versions."""
    line = "5.26.31" if version < (2025,) else "2026.09.0"
    path = TEMPLATES / line / ("system.tar.zst" if system else "standard.tar.zst")
    data = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    entries = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            content = data[info.offset_data : info.offset_data + info.size]
            entries.append(Entry(info.name, info.size, partial(_once, content)))
            if info.name.startswith("neostore.transaction.db."):
                store_id = StoreId.read(Reader(io.BytesIO(content[STORE_ID_AT:])))
    return Store(store_id, tuple(entries))


def padding(name: str, size: int) -> Entry:
    """Return a file of incompressible bytes that depend on `name` and `size` only."""
    return Entry(PADDING, size, partial(_noise, name, size))


def _once(content: bytes) -> Iterable[bytes]:
    yield content


def _noise(name: str, size: int) -> Iterator[bytes]:
    source = random.Random(name)
    pool = [source.randbytes(min(BLOCK, size)) for _ in range(min(POOL, -(-size // BLOCK)))]
    for number in range(-(-size // BLOCK)):
        yield pool[number % POOL][: min(BLOCK, size - number * BLOCK)]
