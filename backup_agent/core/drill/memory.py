"""The memory of a drill: how much each level needs, and how it is divided among the programs of a drill."""

from typing import NamedTuple

from backup_agent.core.drill.levels import Level
from backup_agent.core.neo4j.command import AGENT, JVM, LAUNCHER, MIB, SMALLEST_HEAP, Launch

SERVER = 400 * MIB
"""Memory of a scratch server with a heap of 128 MiB, and of the Bolt driver in the process of the drill.

Measured with bench/drill.py: with a store of 1 GiB the server of 2026.09.0 has 345 MiB of anonymous memory, the driver
30; the rest is a margin.
"""

SERVER_HEAP = 128 * MIB
LEAST_OFF_HEAP = 32 * MIB
MOST_OFF_HEAP = 4096 * MIB


class DrillMemory(NamedTuple):
    """Memory of the programs of a drill in bytes; None leaves the choice to Neo4j."""

    heap: int | None
    """Of neo4j-admin."""
    off_heap: int
    """Of `database check`, whose default is derived from the memory of the machine and ignores the cgroup."""
    server_heap: int


def least_memory(level: Level, launch: Launch = Launch.DIRECT) -> int:
    """Return the least memory limit in bytes with which a drill of a level can run, while no other JVM runs.

    >>> [least_memory(level) // MIB for level in Level]
    [80, 240, 264, 480]
    """
    launcher = LAUNCHER if launch is not Launch.DIRECT else 0
    smallest = AGENT + JVM + SMALLEST_HEAP + launcher
    return {
        Level.READ: AGENT,
        Level.RESTORE: smallest + 8 * MIB,
        Level.CHECK: smallest + LEAST_OFF_HEAP,
        Level.QUERY: AGENT + SERVER + launcher,
    }[level]


def drill_memory(limit: int | None) -> DrillMemory:
    """Divide the memory of the cgroup among the programs of a drill, of which one runs at a time.

    >>> [drill_memory(limit * MIB).off_heap // MIB for limit in (256, 512, 1024)]
    [32, 129, 321]
    """
    if limit is None:
        return DrillMemory(None, 1024 * MIB, 512 * MIB)
    left = limit - AGENT - JVM
    heap = max(SMALLEST_HEAP, min(left // 2, 1024 * MIB))
    off_heap = max(LEAST_OFF_HEAP, min((left - heap) * 3 // 4, MOST_OFF_HEAP))
    server_heap = max(SERVER_HEAP, min((limit - AGENT) // 3, 2048 * MIB))
    return DrillMemory(heap, off_heap, server_heap)
