"""The status page: a child makes the file, at most once a minute, and only while clients ask for it.

Where memory is scarce the child gives way to backups, and clients wait for the page until they have ended.
"""

import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from backup_agent.core.page.task import PageTask
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.events import PageMade
from backup_agent.core.status import Status
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import PAGE, Run, Runs
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.memory_beside import fits_beside

MODULE = f"backup_agent.jobs.{PAGE}"

YOUNG_SECONDS = 60.0
"""How long the page is sent before it is made again."""

RUN_SECONDS = 120.0
"""Longest time of a child."""

log = structlog.get_logger()

Reply = queue.SimpleQueue[str | None]
"""Gets None if the page is there, or why it could not be made."""


class Ask(NamedTuple):
    """A client that waits for the page."""

    reply: Reply
    until: float
    """When the client is answered without the page, in monotonic seconds."""


@dataclass
class StatusPage:
    """The clients that wait for the page, and the child that makes it."""

    reloader: Reloader
    runs: Runs
    backup_queue: BackupQueue
    _asks: list[Ask] = field(default_factory=list)
    _begun: float | None = None
    """When the child was started that made the present page, or that makes the next one."""
    _running: bool = False

    def ask(self, ask: Ask, monotonic: float) -> None:
        """Answer a client at once if the page is young, or let it wait."""
        if self._begun is not None and not self._running and monotonic < self._begun + YOUNG_SECONDS:
            ask.reply.put(None)
            return
        self._asks = [one for one in self._asks if one.until > monotonic]
        self._asks.append(ask)

    def advance(self, status: Callable[[], Status], monotonic: float) -> None:
        """Start the child if a client waits and memory allows it now."""
        if self._running or not any(ask.until > monotonic for ask in self._asks) or not self._fits:
            return
        task = PageTask(settings=self.reloader.settings.model_dump(mode="json"), status=status())
        content = task.model_dump_json(by_alias=True, exclude_none=True).encode()
        try:
            self.runs.spawn(self.runs.numbered(PAGE), MODULE, content, deadline=monotonic + RUN_SECONDS)
        except OSError as error:
            self._answer(f"its process could not be started: {error.strerror}")
        else:
            self._running, self._begun = True, monotonic

    def give_way(self) -> bool:
        """End the child if a backup waits and memory allows only one process. Return whether the backup must wait."""
        name = next((name for name, run in self.runs if run.kind == PAGE), None)
        if name is None or self._fits:
            return False
        self.runs.end(name, Reason.CANCELLED)
        return True

    def ended(self, run: Run) -> None:
        """Handle the end of the child. If it gave way to a backup, the clients go on waiting."""
        self._running = False
        if isinstance(run.result, PageMade) and run.result.error is None:
            self._answer(None)
            return
        self._begun = None
        if run.ending not in (Reason.CANCELLED, Reason.INTERRUPTED):
            error = run.result.error if isinstance(run.result, PageMade) else None
            self._answer(error or "its process took too long, or ended without a result")

    @property
    def _fits(self) -> bool:
        return fits_beside(self.reloader.settings, self.runs, backups_wait=self.backup_queue.waits)

    def _answer(self, error: str | None) -> None:
        if error is not None:
            log.warning("page not made", error=error)
        for ask in self._asks:
            ask.reply.put(error)
        self._asks = []
