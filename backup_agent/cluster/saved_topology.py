"""The last topology, saved on the volume for the time when Bolt does not answer.

The file is replaced as a whole. If it cannot be read, there is no saved topology until Bolt answers again.
"""

from pathlib import Path

from backup_agent import durable
from backup_agent.core.neo4j.topology import Topology

FILE = ".agent/topology.json"
LARGEST = 40 * 2**20
"""Largest size in bytes of a file that is read. Every topology within the limits of core.neo4j.topology (MOST_…) fits.
The topology of 1,500 databases with three copies each takes 1.5 MB."""


def load_topology(root: Path) -> Topology | None:
    """Return the topology saved below a storage root, or None if it does not exist or cannot be read."""
    try:
        return Topology.model_validate_json(durable.read(root / FILE, LARGEST))
    except (OSError, ValueError):
        return None


def save_topology(root: Path, topology: Topology) -> None:
    """Save a topology. Raise OSError if it cannot be written; the file then still holds the earlier one."""
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    durable.write(path, topology.to_json())
