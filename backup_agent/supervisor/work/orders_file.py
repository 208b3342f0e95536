"""The file of the orders. Commands read it too."""

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import Field

from backup_agent import durable, quoting
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import StoredPart, StoredValue
from backup_agent.core.reasons import Failure, Reason

LARGEST = 16 * 2**20
"""Largest size of the file in bytes. It has an order for each forgotten database, with a reason written by a user."""


class Order(StoredPart):
    """An order: when, by which request and user, and why."""

    since: datetime
    request: str
    requested_by: str | None = None
    reason: str | None = None
    until: datetime | None = None
    """When a pause ends by itself; None if it lasts until it is ended."""

    def followed_by(self, later: Self) -> Self:
        """Return this pause after another request to pause: requester, reason and begin stay, the later end counts."""
        until = None if self.until is None or later.until is None else max(self.until, later.until)
        return self.model_copy(update={"until": until, "reason": self.reason or later.reason})


class OrdersFile(StoredValue):
    """The content of `orders.json`."""

    paused: Order | None = None
    forgotten: dict[DatabaseName, Order] = Field(default={})

    @property
    def forgotten_since(self) -> dict[DatabaseName, datetime]:
        """Forgotten database -> time of the order. Retention may delete its last backups."""
        return {name: order.since for name, order in sorted(self.forgotten.items())}


def orders_file(root: Path) -> Path:
    """Return the file of the orders below a storage root."""
    return root / ".agent" / "orders.json"


def read_orders(file: Path) -> OrdersFile | Failure:
    """Return the orders, or why they cannot be read: they may contain a pause, so nothing may be deleted."""
    try:
        return OrdersFile.from_json(durable.read(file, LARGEST))
    except FileNotFoundError:
        return OrdersFile()
    except (durable.RefusedFileError, ValueError) as error:
        return Failure(
            Reason.UNREADABLE,
            f"nothing is deleted: {file} cannot be read ({quoting.shown(error)}); it may contain a pause",
            "`backup-agent resume` or `pause` writes it again; then run `forget` again for each database dropped",
        )
