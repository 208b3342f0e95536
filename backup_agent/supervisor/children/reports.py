"""The last event of a child, its report. Anything but a well-formed report counts as no report at all.

A child that was killed, or wrote something else, has said nothing: its caller goes on from "not known", never from
"nothing was found".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import DatabaseResult, Execution, PlaceResult


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ReportedFailure(_Report):
    """Why something failed."""

    reason: Reason
    error: str
    hint: str = ""

    @property
    def failure(self) -> Failure:
        """The refusal as a failure."""
        return Failure(self.reason, self.error, self.hint)


class BackupReport(_Report):
    """What a backup came to."""

    result: DatabaseResult
    execution: Execution = Execution()
    copy_failures: dict[str, ReportedFailure] = {}


class PassReport(_Report):
    """What a pass of retention or of reading again came to."""

    result: PlaceResult
    oldest: datetime | None = None
    next_seconds: float | None = None


class CopyReport(_Report):
    """What a pass of copying came to; `reason` and `error` are absent if everything owed was copied."""

    copied: int
    counted: bool = False
    """Whether the number of owed copies was told for each database."""
    reason: Reason | None = None
    error: str = ""
    hint: str = ""

    @property
    def failure(self) -> Failure | None:
        """Why not everything was copied."""
        return None if self.reason is None else Failure(self.reason, self.error, self.hint)


R = TypeVar("R", bound=_Report)


def report(kind: type[R], event: Mapping[str, Any] | None) -> R | None:
    """Return the report in a child's last event; None if there is no event, or it is not such a report."""
    try:
        return None if event is None else kind.model_validate(event)
    except ValidationError:
        return None
