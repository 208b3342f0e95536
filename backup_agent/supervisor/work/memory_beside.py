"""Whether memory allows one more child beside the backups and the work at destinations."""

from backup_agent.cgroup import memory_limit
from backup_agent.core.neo4j.command import Launch, children_beside_jvms
from backup_agent.settings.model import Settings
from backup_agent.supervisor.children.runs import Runs


def fits_beside(settings: Settings, runs: Runs, *, backups_wait: bool) -> bool:
    """Return whether one more child may run now.

    Where no child fits beside a JVM, it must wait until no backup runs or waits, and no child works at a destination.
    """
    beside = children_beside_jvms(
        memory_limit(),
        len(settings.storage.destinations) + 1,
        launch=Launch(settings.neo4j.launch),
        parallel=settings.limits.parallel,
    )
    return beside > runs.at_destinations or not (backups_wait or runs.any("backup") or runs.at_destinations)
