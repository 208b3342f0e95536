"""How `neo4j-admin server memory-recommendation` divides the memory of a machine.

The table and the interpolation are those of the class MemoryRecommendation in the jars of Neo4j Community 5.26.31 and
2026.09.0. A test runs the command.
"""

GIB = 1024**3
MIB = 1024**2

_SHARES = (
    (0.01, 0.007, 0.002),
    (1, 0.65, 0.3),
    (2, 1, 0.5),
    (4, 1.5, 2),
    (6, 2, 3),
    (8, 2.5, 3.5),
    (10, 3, 4),
    (12, 3.5, 4.5),
    (16, 4, 5),
    (24, 6, 8),
    (32, 8, 12),
    (64, 12, 24),
    (128, 16, 31),
    (256, 20, 31),
    (512, 24, 31),
    (1024, 30, 31),
)
"""GiB of the machine, of what is left to the system and to the rest of the JVM, and of the heap."""


def recommendation(limit: int) -> tuple[int, int]:
    """Return what to leave free and the heap, in bytes; the rest of `limit` bytes is page cache.

    >>> free, heap = recommendation(16 * GIB)
    >>> free // GIB, heap // GIB, (16 * GIB - free - heap) // GIB
    (4, 5, 7)
    """
    size = limit / GIB
    above = next((number for number, share in enumerate(_SHARES) if share[0] >= size), len(_SHARES) - 1)
    lower, upper = _SHARES[max(0, above - 1)], _SHARES[above]
    part = min(1.0, (size - lower[0]) / (upper[0] - lower[0])) if upper[0] > lower[0] else 1.0
    free, heap = (int((low + part * (high - low)) * 1024) * MIB for low, high in zip(lower[1:], upper[1:], strict=True))
    return free, heap
