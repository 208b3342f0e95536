"""A child process of a command, and its events."""

import queue
from collections.abc import Generator

from backup_agent.core.requests.tasks import Task
from backup_agent.supervisor.children.process import Child, Ended, Told


def follow(
    module: str, task: Task, root: str, seconds: float, *, remote: bool = False
) -> Generator[Told | Ended, None, None]:
    """Start a child and yield its events and its end. Kill a child that is still running when the iterator is closed.

    `remote` says whether the task uses a destination. Raise queue.Empty if the child writes no event for `seconds`.
    """
    inbox: queue.SimpleQueue[Told | Ended] = queue.SimpleQueue()
    child = Child("command", module, task.model_dump_json().encode(), inbox.put, root=root, keep=None, remote=remote)
    try:
        while not isinstance(message := inbox.get(timeout=seconds), Ended):
            yield message
        yield message
    finally:
        if not child.ended:
            child.kill()
