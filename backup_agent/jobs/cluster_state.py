"""The child process of `doctor --cluster`: it asks the cluster whether its next server may be restarted.

Threads of the driver may block for ever, so the process ends by `os._exit`.
"""

import os
from collections.abc import Mapping

from backup_agent import processes
from backup_agent.cluster import bolt
from backup_agent.cluster.__main__ import endpoint, limit_memory
from backup_agent.core.neo4j.settled import state_of
from backup_agent.core.reasons import BackupError, PermanentError
from backup_agent.core.requests.events import ClusterStateTold, DiscoveryFailed
from backup_agent.core.requests.tasks import ClusterStateTask
from backup_agent.jobs.event_writer import begin
from backup_agent.settings.model import Neo4j


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    limit_memory()
    task, settings, writer = begin(ClusterStateTask)
    writer.tell(see(task, settings.neo4j, os.environ))


def see(task: ClusterStateTask, neo4j: Neo4j, environ: Mapping[str, str]) -> ClusterStateTold | DiscoveryFailed:
    """Ask the cluster, and return its state or why there is no answer."""
    try:
        answer = bolt.state(endpoint(neo4j, environ), timeout=task.timeout)
    except BackupError as error:
        return DiscoveryFailed(failure=error.failure, permanent=isinstance(error, PermanentError))
    return ClusterStateTold(state=state_of(answer, task.servers))


if __name__ == "__main__":
    main()
    processes.leave()
