"""The stores inside artifacts: templates made by real Neo4j Community, and padding where a size is asked for.

A newcomer would think each simulated database has a store of its own: all of one version share a template, store id
included, and `system` has its own. tests/standins/make_store_templates.py rebuilds the templates.
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
"""Where a transaction log holds the store id (measured on 5.26.31 and 2026.09.0)."""
PADDING = "stand-in.padding"
POOL = 4
"""Random blocks that padding repeats: further apart than zstd's window at the level used, so it does not shrink."""


@dataclass(frozen=True)
class Store:
    """A store as files."""

    id: StoreId
    entries: tuple[Entry, ...]

    @property
    def logs(self) -> tuple[Entry, ...]:
        """The transaction logs: what a differential holds, as far as is known."""
        return tuple(entry for entry in self.entries if LOGS.fullmatch(entry.name))


def template(version: Version, *, system: bool) -> Store:
    """Return the store of a version's line: 5.26.31 for all of 5, 2026.09.0 for what came after."""
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
    """Return a file of incompressible bytes, the same for the same name."""
    return Entry(PADDING, size, partial(_noise, name, size))


def _once(content: bytes) -> Iterable[bytes]:
    yield content


def _noise(name: str, size: int) -> Iterator[bytes]:
    source = random.Random(name)
    pool = [source.randbytes(min(BLOCK, size)) for _ in range(min(POOL, -(-size // BLOCK)))]
    for number in range(-(-size // BLOCK)):
        yield pool[number % POOL][: min(BLOCK, size - number * BLOCK)]
