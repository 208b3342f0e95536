"""Whether memory allows one more child beside JVMs and the work at destinations, and one more JVM beside children."""

from backup_agent.cgroup import memory_limit
from backup_agent.core.neo4j.command import Launch, children_beside_jvms
from backup_agent.settings.model import Settings
from backup_agent.supervisor.children.runs import Runs


def fits_beside(settings: Settings, runs: Runs, *, backups_wait: bool) -> bool:
    """Return whether one more child may run now.

    Where no child fits beside a JVM, it must wait until no backup runs or waits, no drill runs, and no child works at a
    destination.
    """
    return _beside(settings) > runs.at_destinations or not (backups_wait or runs.jvms or runs.at_destinations)


def fits_a_jvm(settings: Settings, runs: Runs) -> bool:
    """Return whether a JVM may start beside the children that run now. Those that `fits_beside` allows count as one."""
    return runs.at_destinations + min(1, runs.beside) <= _beside(settings)


def _beside(settings: Settings) -> int:
    return children_beside_jvms(
        memory_limit(),
        len(settings.storage.destinations) + 1,
        launch=Launch(settings.neo4j.launch),
        parallel=settings.limits.parallel,
    )
