"""The metric families that the agent shows."""

from datetime import UTC, datetime
from typing import NamedTuple

from backup_agent.core.status import Status
from backup_agent.supervisor.status import metrics
from backup_agent.supervisor.status.metrics import Metrics

ENDINGS = {"counter": "_total", "info": "_info"}
MOMENT = datetime(2026, 11, 23, tzinfo=UTC)
IDLE = Status(
    cluster="demo",
    version="0",
    started=MOMENT,
    now=MOMENT,
    ready=True,
    surveyed=True,
    queue_depth=0,
    retention={"local": {}},
    settings_valid=True,
    settings_loaded=MOMENT,
)


class Row(NamedTuple):
    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def shown() -> list[Row]:
    """Return every metric family, also those without samples."""
    counted = [one for one in vars(Metrics(lambda: IDLE)).values() if hasattr(one, "describe")]
    found = [(family, one._labelnames) for one in counted if hasattr(one, "_labelnames") for family in one.describe()]
    for part in (metrics._agent, metrics._databases, metrics._drills, metrics._schedules, metrics._storage):
        found += [(family, getattr(family, "_labelnames", ())) for family in part(IDLE)]
    return [
        Row(
            f"{family.name}{ENDINGS.get(family.type, '')}",
            family.type,
            ("version", "cluster") if family.type == "info" else tuple(labels),
            family.documentation,
        )
        for family, labels in found
    ]
