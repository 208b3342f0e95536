"""The task of the child process that makes the status page."""

from backup_agent.core.requests.tasks import Task
from backup_agent.core.status import Status

FILE = ".agent/page/page.html"
"""The page, below the storage root."""


class PageTask(Task):
    """Make the status page."""

    status: Status
