"""The survey of the volume, in a child. It is repeated until it succeeds, and if the report of a change may be lost.

The result of a survey is used only if the survey is complete and ended without an error: a failed survey must not look
like an empty volume. Until a survey has succeeded, the agent is unready and starts no passes. Backups start after the
first survey, even if it failed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

import structlog

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.requests.events import CopiesNotCounted, SummaryTold, Surveyed, SurveyFailed
from backup_agent.core.requests.tasks import SurveyTask
from backup_agent.supervisor.backoff import Backoff
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

MODULE = "backup_agent.jobs.survey"

OVERDUE_SECONDS = 600.0
"""How long a due survey waits for running backups. After that, no further backup starts before the survey."""

log = structlog.get_logger()


@dataclass
class Survey:
    """The running survey, or when the next one is due. `task` returns the child's task."""

    runs: Runs
    volume_summaries: VolumeSummaries
    task: Callable[[], SurveyTask]
    done: bool = False
    """Whether a survey has succeeded since the agent started."""
    began: bool = False
    failure: str | None = None
    """Why the last survey failed; None if it succeeded."""
    _tried: bool = False
    _due_since: float | None = field(default_factory=time.monotonic)
    """Since when a survey is needed (monotonic seconds); None if none is needed."""
    _backoff: Backoff = field(default_factory=Backoff)
    _summaries: list[DatabaseSummary] = field(default_factory=list)
    _uncounted: set[PlaceName] = field(default_factory=set)
    _whole: bool = False
    _malformed: bool = False

    def start(self, monotonic: float) -> None:
        """Start a survey if one is due and nothing else is running, except work at destinations.

        A copy that is made while the survey counts may be counted as missing; the next copy pass counts again.
        """
        if not self._is_due(monotonic) or self.runs.slots:
            return
        self.began = True
        self._summaries, self._uncounted, self._whole, self._malformed = [], set(), False, False
        try:
            self.runs.spawn(self.runs.numbered("survey"), MODULE, self.task().model_dump_json().encode())
        except OSError as error:
            self._fail(f"its process could not be started: {error.strerror}")

    def doubt(self, monotonic: float) -> None:
        """Make a survey due, since a change of the volume may not have been reported."""
        if self._due_since is None:
            self._due_since = monotonic
            log.warning("survey due again", because="a process ended without reporting what it changed")

    def holds_passes(self) -> bool:
        """Return whether passes must wait, because the content of the volume is not known."""
        return not self.done or self._due_since is not None

    def holds_backups(self, monotonic: float) -> bool:
        """Return whether backups must wait: a survey is running, was never tried, or has waited for too long."""
        overdue = self._due_since is not None and monotonic - self._due_since > OVERDUE_SECONDS
        return not self._tried or self.runs.any("survey") or (overdue and self._is_due(monotonic))

    def take(self, event: SummaryTold | CopiesNotCounted | Surveyed) -> None:
        """Handle an event of the survey."""
        match event:
            case SummaryTold():
                self._summaries.append(event.summary)
            case CopiesNotCounted():
                self._uncounted.add(event.destination)
            case Surveyed():
                self._whole = True
            case _:
                assert_never(event)

    def note_malformed_event(self) -> None:
        """Note that the running survey wrote a malformed event, so that its result is incomplete."""
        self._malformed = True

    def ended(self, run: Run, code: int) -> None:
        """Handle the end of a survey. Its result is used only if it is complete."""
        self._tried = True
        if run.ending is not None:  # the agent ends
            return
        if code == 0 and self._whole and not self._malformed:
            self.volume_summaries.surveyed(self._summaries, self._uncounted, time.monotonic())
            self.done, self.failure, self._due_since = True, None, None
            self._backoff.succeeded()
            log.info("volume surveyed", databases=len(self._summaries))
            self._summaries = []
        else:
            self._fail(_why(run, code, malformed=self._malformed))

    def unready(self, monotonic: float) -> str | None:
        """Return why the agent is not ready yet, or None if a survey has succeeded."""
        if self.done:
            return None
        if self.failure is None:
            return "the volume is being surveyed"
        return f"the survey of the volume failed, next try in {self._backoff.wait(monotonic):.0f} s: {self.failure}"

    def _is_due(self, monotonic: float) -> bool:
        return self._due_since is not None and self._backoff.due(monotonic) and not self.runs.any("survey")

    def _fail(self, error: str) -> None:
        monotonic = time.monotonic()
        self._tried, self.failure, self._summaries = True, error, []
        self._backoff.failed(monotonic)
        log.error("survey failed", error=error, retry_seconds=round(self._backoff.wait(monotonic)))


def _why(run: Run, code: int, *, malformed: bool) -> str:
    if isinstance(run.result, SurveyFailed):
        return run.result.failure.error
    if malformed:
        return "its process wrote an event that cannot be understood"
    if code < 0:
        return f"its process was killed by signal {-code}"
    return f"its process ended with exit code {code} before its report was complete"
