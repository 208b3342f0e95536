"""The last topology, kept on the volume for the day Bolt is silent.

One file, replaced whole. A damaged one counts as none: the next answer over Bolt writes it anew.
"""

from pathlib import Path

from backup_agent import durable
from backup_agent.core.neo4j.topology import Topology

FILE = ".agent/topology.json"
LARGEST = 32 * 2**20
"""Bytes of the largest file that is read: room for all that a topology may hold (core.topology's MOST_…). That of 1,500
databases with three copies each has 1.5 MB."""


def recall(root: Path) -> Topology | None:
    """Return the topology kept below a storage root, or None where there is none that can be read."""
    try:
        return Topology.model_validate_json(durable.read(root / FILE, LARGEST))
    except (OSError, ValueError):
        return None


def remember(root: Path, topology: Topology) -> None:
    """Keep a topology. Raise OSError if it cannot be written; the file then holds the topology before."""
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    durable.write(path, topology.model_dump_json(exclude_none=True).encode() + b"\n")
