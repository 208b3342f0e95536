"""The last topology, kept on the volume for the day Bolt is silent.

One file, replaced whole. A damaged one counts as none: the next answer over Bolt writes it anew.
"""

from pathlib import Path

from backup_agent import durable
from backup_agent.core.topology import Topology

FILE = ".agent/topology.json"


def recall(root: Path) -> Topology | None:
    """Return the topology kept below a storage root, or None where there is none that can be read."""
    try:
        return Topology.model_validate_json((root / FILE).read_bytes())
    except (OSError, ValueError):
        return None


def remember(root: Path, topology: Topology) -> Topology:
    """Keep a topology that Bolt has just told, with what vanished since the last; return what was kept.

    Raise OSError where the volume refuses. After it the file holds the old one or the new one.
    """
    kept = topology.following(recall(root))
    _write(root, kept)
    return kept


def forget(root: Path, database: str) -> Topology | None:
    """Keep the last topology without a database that was dropped for good; return what was kept. Raise OSError."""
    last = recall(root)
    if last is None:
        return None
    kept = last.forgetting(database)
    _write(root, kept)
    return kept


def _write(root: Path, topology: Topology) -> None:
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    durable.write(path, topology.model_dump_json(indent=2).encode() + b"\n")
