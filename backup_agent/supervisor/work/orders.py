"""What stands until somebody takes it back: a pause, and databases forgotten for good. Kept over restarts."""

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
"""The most bytes of the file: orders to forget stay in it, each with a reason written by a user."""

log = structlog.get_logger()


class Order(StoredPart):
    """What somebody ordered, and why."""

    since: datetime
    request: str
    requested_by: str | None = None
    reason: str | None = None


class OrdersFile(StoredValue):
    """What is kept on the volume."""

    paused: Order | None = None
    forgotten: dict[DatabaseName, Order] = Field(default={})


def orders_file(root: Path) -> Path:
    """Return the file of the orders below a storage root."""
    return root / ".agent" / "orders.json"


class Orders:
    """The orders in force. A change is written down before it counts; OSError where the volume refuses."""

    def __init__(self, file: Path) -> None:
        """Nothing is read before `load`."""
        self._file = file
        self._kept = OrdersFile()
        self.no_deletion: Failure | None = None
        """Why nothing may be deleted: the orders cannot be read, so there may be a pause among them."""

    def load(self) -> None:
        """Read the orders that earlier lives were given. If they cannot be read, nothing is deleted until `resume`."""
        try:
            self._kept = OrdersFile.from_json(durable.read(self._file, LARGEST))
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            self.no_deletion = Failure(
                Reason.UNREADABLE,
                f"nothing is deleted: {self._file} cannot be read ({quoting.shown(error)}); it may contain a pause",
                "`backup-agent resume` or `pause` writes it anew; then run `forget` again for each database dropped",
            )
            log.error("orders unreadable", error=self.no_deletion.error, hint=self.no_deletion.advice)  # noqa: TRY400  the text says it all

    @property
    def paused(self) -> Order | None:
        """The pause, where there is one."""
        return self._kept.paused

    @property
    def forgotten(self) -> dict[DatabaseName, datetime]:
        """Databases whose last backups may go too -> when that was said."""
        return {name: order.since for name, order in sorted(self._kept.forgotten.items())}

    def pause(self, order: Order) -> None:
        """Let nothing start."""
        self._keep(self._kept.model_copy(update={"paused": order}))

    def resume(self) -> None:
        """Let everything start again."""
        self._keep(self._kept.model_copy(update={"paused": None}))

    def forget(self, database: DatabaseName, order: Order) -> None:
        """Let the last backups of a database go too."""
        self._keep(self._kept.model_copy(update={"forgotten": {**self._kept.forgotten, database: order}}))

    def seen(self, databases: Collection[DatabaseName]) -> None:
        """Remember again what the cluster lists: a database that is there has not been dropped for good."""
        back = self.forgotten.keys() & frozenset(databases)
        if not back:
            return
        left = {name: order for name, order in self._kept.forgotten.items() if name not in back}
        self._keep(self._kept.model_copy(update={"forgotten": left}))
        log.warning("forgotten databases are there again", databases=sorted(back))

    def _keep(self, kept: OrdersFile) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(self._file, kept.to_json())
        self._kept, self.no_deletion = kept, None
