"""Orders: a pause, and forgotten databases. An order survives restarts and is in force until it is cancelled."""

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import Field

from backup_agent import durable, quoting
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import StoredPart, StoredValue
from backup_agent.core.reasons import Failure, Reason

LARGEST = 16 * 2**20
"""Largest size of the file in bytes. It has an order for each forgotten database, with a reason written by a user."""

log = structlog.get_logger()


class Order(StoredPart):
    """An order: when, by which request and user, and why."""

    since: datetime
    request: str
    requested_by: str | None = None
    reason: str | None = None
    until: datetime | None = None
    """When a pause ends by itself; None if it lasts until it is ended."""


class OrdersFile(StoredValue):
    """The content of `orders.json`."""

    paused: Order | None = None
    forgotten: dict[DatabaseName, Order] = Field(default={})


def orders_file(root: Path) -> Path:
    """Return the file of the orders below a storage root."""
    return root / ".agent" / "orders.json"


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
        try:
            self._kept = OrdersFile.from_json(durable.read(self._file, LARGEST))
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            self.no_deletion = Failure(
                Reason.UNREADABLE,
                f"nothing is deleted: {self._file} cannot be read ({quoting.shown(error)}); it may contain a pause",
                "`backup-agent resume` or `pause` writes it again; then run `forget` again for each database dropped",
            )
            log.error("orders unreadable", error=self.no_deletion.error, hint=self.no_deletion.advice)  # noqa: TRY400  the text says it all

    @property
    def paused(self) -> Order | None:
        """The pause, or None."""
        return self._kept.paused

    @property
    def forgotten(self) -> dict[DatabaseName, datetime]:
        """Forgotten database -> time of the order. Retention may delete its last backups."""
        return {name: order.since for name, order in sorted(self._kept.forgotten.items())}

    def pause(self, order: Order) -> None:
        """Pause the agent, so that it starts nothing."""
        self._keep(self._kept.model_copy(update={"paused": order}))

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
