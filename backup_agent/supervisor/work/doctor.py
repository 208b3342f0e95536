"""The doctor in the agent: at start and once a day it checks whether the agent can work. It only reads.

Each step is a child, one after the other, beside the slots of backups. Where no child fits beside a JVM, a step waits
for the backups, and one that is under way ends when a backup waits, and begins again later.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.doctor.checks import Check, CheckFinding, CheckOutcome
from backup_agent.core.doctor.examination import ALERTING_RUNS, CheckRun, DoctorStage, Repeated, repeated
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.events import ChecksEnded
from backup_agent.core.requests.tasks import CheckTask
from backup_agent.settings.reload import Reloader
from backup_agent.settings.unprotected import unprotected
from backup_agent.supervisor.children.doctor_steps import CHECK, REMOTE, STEP_SECONDS, module_of, why_early
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.memory_beside import fits_beside

EVERY_SECONDS = 86_400.0
AGAIN_SECONDS = 600.0
"""Seconds until the next run after a check has failed for the first time: a failure in two runs is an alert."""

FAILING_SECONDS = 3_600.0
"""Seconds until the next run while a check fails, so that the end of the failure is noticed."""

START_SECONDS = 60.0
"""Seconds until the first run after the start, or after a change of the settings: other work comes first.

With a tenth of a core, the start alone takes 20 s of it, and the first copies take longer.
"""

log = structlog.get_logger()


@dataclass
class Doctor:
    """The run of the doctor that is under way, or when the next one is due; and what the last run found."""

    reloader: Reloader
    runs: Runs
    backup_queue: BackupQueue
    findings: tuple[CheckFinding, ...] | None = None
    """The findings of the last run; None before the first one has ended."""
    ended_at: datetime | None = None
    failing: Mapping[tuple[Check, PlaceName | None], Repeated] = field(default_factory=dict)
    """The checks that fail, each with the number of runs in a row."""
    _examination: CheckRun | None = None
    _due: float = field(default_factory=lambda: time.monotonic() + START_SECONDS)

    def advance(self, monotonic: float) -> None:
        """Start the next step, if there is one and memory allows it now."""
        if self._running is not None or not self._fits:
            return
        if self._examination is None and monotonic >= self._due:
            settings = self.reloader.settings
            self._examination = CheckRun(settings.storage.destinations, unprotected(settings.neo4j))
        if self._examination is not None and (stage := self._examination.stage) is not None:
            self._start(stage, self._examination, monotonic)

    def give_way(self) -> bool:
        """End the step under way if a backup waits and memory allows only one. Return whether the backup must wait."""
        running = self._running
        if running is None or self._fits:
            return False
        self.runs.end(running, Reason.CANCELLED)
        return True

    def restart(self, monotonic: float) -> None:
        """Begin again soon, because the settings have changed."""
        self._due, self._examination = monotonic + START_SECONDS, None
        if self._running is not None:
            self.runs.end(self._running, Reason.CANCELLED)

    def found(self, finding: CheckFinding) -> None:
        """Take the finding of a check."""
        if self._examination is not None:
            self._examination.found(finding)

    def ended(self, run: Run, code: int, monotonic: float) -> None:
        """Handle the end of a step."""
        examination = self._examination
        if examination is None:
            return
        if run.ending in (Reason.CANCELLED, Reason.INTERRUPTED):
            examination.restarted()
            return
        if isinstance(run.result, ChecksEnded):
            examination.learned(run.result.server_versions, run.result.backup_addresses)
            examination.ended()
        else:
            examination.ended(why_early(None if run.ending is Reason.TIMEOUT else code))
        if examination.stage is None:
            self._conclude(examination, monotonic)

    def moments(self) -> list[float]:
        """Return when the next run is due, in monotonic seconds."""
        return [self._due] if self._examination is None else []

    @property
    def _pause(self) -> float:
        """Seconds until the next run."""
        if not self.failing:
            return EVERY_SECONDS
        return AGAIN_SECONDS if any(one.runs < ALERTING_RUNS for one in self.failing.values()) else FAILING_SECONDS

    @property
    def _running(self) -> str | None:
        return next((name for name, run in self.runs if run.kind.startswith(CHECK)), None)

    @property
    def _fits(self) -> bool:
        return fits_beside(self.reloader.settings, self.runs, backups_wait=self.backup_queue.waits)

    def _start(self, stage: DoctorStage, examination: CheckRun, monotonic: float) -> None:
        task = CheckTask(
            settings=self.reloader.settings.model_dump(mode="json"),
            place=stage.place,
            server_versions=examination.server_versions,
            backup_addresses=examination.backup_addresses,
        )
        try:
            self.runs.spawn(
                self.runs.numbered("doctor"),
                module_of(stage),
                task.model_dump_json().encode(),
                deadline=monotonic + STEP_SECONDS,
                remote=stage.step in REMOTE,
            )
        except OSError as error:
            examination.ended(f"its process could not be started: {error.strerror}")

    def _conclude(self, examination: CheckRun, monotonic: float) -> None:
        now = datetime.now(UTC)
        before = self.failing
        self.findings = examination.findings(self.reloader.settings.doctor.acceptances, now.date())
        self.failing = repeated(before, self.findings, now)
        self.ended_at, self._examination = now, None
        self._due = monotonic + self._pause
        for key, one in self.failing.items():
            if key not in before:
                log.error(
                    "check failed", check=key[0].value, place=key[1], found=one.finding.found, hint=one.finding.advice
                )
        counts = {outcome.value: sum(one.counts is outcome for one in self.findings) for outcome in CheckOutcome}
        log.info("checks made", **counts)
