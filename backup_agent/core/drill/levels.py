"""The levels of a drill: how far an artifact is taken. Each level includes those before it."""

from enum import StrEnum


class Level(StrEnum):
    """How far a drill takes an artifact."""

    READ = "read"
    """Every byte is compared with the records, and the containers are read to their end."""
    RESTORE = "restore"
    """neo4j-admin makes a store of the artifacts."""
    CHECK = "check"
    """neo4j-admin checks the consistency of the store."""
    QUERY = "query"
    """A server starts with the store and answers queries."""

    @property
    def included(self) -> tuple["Level", ...]:
        """The level and those before it, in their order.

        >>> [level.value for level in Level.CHECK.included]
        ['read', 'restore', 'check']
        """
        levels = tuple(Level)
        return levels[: levels.index(self) + 1]
