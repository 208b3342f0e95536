"""Orders: a pause, and forgotten databases. An order survives restarts and is in force until it is cancelled."""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import structlog

from backup_agent import durable
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.reasons import Failure
from backup_agent.supervisor.work.orders_file import Order, OrdersFile, read_orders

log = structlog.get_logger()


class Orders:
    """The orders in force. A change is written before it takes effect. Raise OSError if writing fails."""

    def __init__(self, file: Path) -> None:
        """Read nothing yet."""
        self._file = file
        self._kept = OrdersFile()
        self.no_deletion: Failure | None = None
        """Why nothing may be deleted, if the orders cannot be read: they may contain a pause."""

    def load(self) -> None:
        """Read the orders. If they cannot be read, nothing is deleted until `pause` or `resume` writes new ones."""
        found = read_orders(self._file)
        if isinstance(found, Failure):
            self.no_deletion = found
            log.error("orders unreadable", error=found.error, hint=found.advice)
        else:
            self._kept = found

    @property
    def paused(self) -> Order | None:
        """The pause, or None."""
        return self._kept.paused

    @property
    def forgotten(self) -> dict[DatabaseName, datetime]:
        """Forgotten database -> time of the order. Retention may delete its last backups."""
        return self._kept.forgotten_since

    def pause(self, order: Order) -> None:
        """Pause the agent, so that it starts nothing. A pause that is in force keeps its requester and reason."""
        before = self.paused
        pause = order if before is None else before.followed_by(order)
        self._keep(self._kept.model_copy(update={"paused": pause}))

    def end_pause(self, now: datetime) -> None:
        """End a pause whose time is over. If the volume refuses the change, a restart ends the pause again."""
        pause = self.paused
        if pause is None or pause.until is None or now < pause.until:
            return
        self._kept = self._kept.model_copy(update={"paused": None})
        log.info("pause has ended", request=pause.request, since=pause.since, until=pause.until)
        try:
            durable.write(self._file, self._kept.to_json())
        except OSError as error:
            log.warning("end of pause not written", error=error.strerror)

    def resume(self) -> None:
        """End the pause."""
        self._keep(self._kept.model_copy(update={"paused": None}))

    def forget(self, database: DatabaseName, order: Order) -> None:
        """Allow retention to delete the last backups of a database."""
        self._keep(self._kept.model_copy(update={"forgotten": {**self._kept.forgotten, database: order}}))

    def seen(self, databases: Collection[DatabaseName]) -> None:
        """Cancel the orders to forget databases that the cluster lists, since these exist again."""
        listed = self.forgotten.keys() & frozenset(databases)
        if not listed:
            return
        remaining = {name: order for name, order in self._kept.forgotten.items() if name not in listed}
        self._keep(self._kept.model_copy(update={"forgotten": remaining}))
        log.warning("forgotten databases listed again", databases=sorted(listed))

    def _keep(self, kept: OrdersFile) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(self._file, kept.to_json())
        self._kept, self.no_deletion = kept, None
