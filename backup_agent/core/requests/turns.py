"""Decide whether backups, or the work at destinations, may start now.

Work at a destination (copies, retention, holds, verification) is done by one process for each destination, beside
backups. Where memory is limited, only some of these processes fit beside a JVM. If none fits, backups and destinations
take turns: after a backup, each destination with due work has one turn before the next backup starts, and a destination
ends its turn after the artifact under way if a backup waits. So neither starves the other.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What waits and runs now."""

    beside: int
    """How many processes for destinations fit beside the JVMs."""
    jvms: int = 0
    """Number of running backups and drills."""
    waits: bool = False
    """Whether a backup waits."""
    working: int = 0
    """Number of destinations at which a process works."""
    due: bool = False
    """Whether a destination has due work, and had no turn since the last backup started."""


@dataclass(frozen=True)
class Turn:
    """What may start now."""

    backups: bool
    """Whether a backup may start."""
    destinations: int
    """At how many more destinations work may start."""
    yields: bool = False
    """Whether the work at destinations must end after the artifact under way, because a backup waits for the memory."""


def turn(load: Load) -> Turn:
    """Return what may start now.

    >>> turn(Load(beside=1, jvms=1, waits=True, working=0, due=True))
    Turn(backups=True, destinations=1, yields=False)
    >>> turn(Load(beside=0, waits=True, due=True))
    Turn(backups=False, destinations=1, yields=False)
    """
    if load.beside > 0:
        return Turn(backups=True, destinations=max(0, load.beside - load.working))
    if load.working:
        return Turn(backups=False, destinations=0, yields=load.waits)
    if load.jvms:
        return Turn(backups=not load.due, destinations=0)
    if load.due:
        return Turn(backups=False, destinations=1)
    return Turn(backups=True, destinations=0 if load.waits else 1)
