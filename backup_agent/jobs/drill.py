"""The child process that drills artifacts of one place: one restore point that a person names, or databases in turn.

Each drill has a scratch folder of its own (drill_scratch). It reads the place, and writes there only its evidence, and
a damage mark if the artifact itself is damaged.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backup_agent import processes
from backup_agent.catalog import drill_notes, evidence, reported_drills
from backup_agent.catalog.contents import by_database
from backup_agent.catalog.pending_evidence import pending_at
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.place_ownership import hold_place
from backup_agent.core.artifacts.keys import database_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.drill.budget import Candidate, fits, in_order
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome, DrillStoppedError, StopCause
from backup_agent.core.neo4j.command import Launch, environment
from backup_agent.core.protection.expected import selects
from backup_agent.core.reasons import BackupError, Failure, Reason
from backup_agent.core.requests.answers import Outcome, PlaceResult
from backup_agent.core.requests.events import ArtifactDrilled, DrillBegun, PassReport
from backup_agent.core.requests.tasks import DrillTask
from backup_agent.core.restore.asked import AskedDatabase, parse_asked
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.drill_consequences import audit_line, mark_damaged
from backup_agent.jobs.drill_scratch import scratch_folder
from backup_agent.jobs.drill_steps import Means, PointDrill
from backup_agent.jobs.event_writer import EventWriter, begin, cancel_on_sigterm
from backup_agent.jobs.staging import STAGING
from backup_agent.neo4j_admin import program
from backup_agent.neo4j_admin.program import AdminProgram
from backup_agent.restore.finding import Asked, Cut, FoundPoint, find_point
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring


class Drilling:
    """One run of drills."""

    def __init__(self, task: DrillTask, settings: Settings, writer: EventWriter, cancel: threading.Event) -> None:
        self._task, self._settings = task, settings
        self._writer, self._cancel = writer, cancel
        self._scratch = settings.drill.scratch or settings.storage.root / STAGING
        self._keyring = Keyring(settings)
        self._results: dict[str, DrillOutcome] = {}
        self._first: Failure | None = None
        """The failure of the first drill that did not pass."""

    def run(self) -> PlaceResult:
        """Drill what the task names. Raise BackupError if a place cannot be read."""
        means = self._means()
        if self._task.what is not None:
            asked = parse_asked(self._task.what)
            self._drill(find_point(self._settings, asked, self._cut, place=self._task.place), means)
        else:
            self._drill_in_turn(means)
        result = PlaceResult(outcome=Outcome.SUCCEEDED, drills=self._results)
        if self._cancel.is_set():
            return result.failed(Failure(Reason.CANCELLED, "the drills were ended"))
        return result if self._first is None else result.failed(self._first)

    @property
    def _cut(self) -> Cut:
        return Cut(set=self._task.set, history=self._task.history)

    def _means(self) -> Means:
        """Return what the drills work with. Raise PermanentError if there is no neo4j-admin."""
        neo4j, environ = self._settings.neo4j, dict(os.environ)
        programs: tuple[AdminProgram, ...] = ()
        version = None
        if self._task.level is not Level.READ:
            programs = program.find(neo4j.admin, Launch(neo4j.launch), environ)
            self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            env = environment(environ, conf=str(self._scratch), home=programs[0].home)
            version = program.version(programs[0], env=env, cwd=self._scratch, cancel=self._cancel)
        return Means(
            drill=self._settings.drill,
            programs=programs,
            version=version,
            environ=environ,
            writer=self._writer,
            cancel=self._cancel,
            share=self._task.share,
            reserved=self._task.largest_full if _on_one_volume(self._scratch, self._settings.storage.root) else 0,
        )

    def _drill_in_turn(self, means: Means) -> None:
        """Drill the newest restore point of one database after the other, the oldest proof first, within the budget."""
        place = place_of(self._task.place or VOLUME, self._settings)
        budget, began = self._settings.drill.budget.total_seconds(), time.monotonic()
        for number, one in enumerate(in_order(self._candidates(place))):
            if self._cancel.is_set() or not fits(one, time.monotonic() - began if number else 0, budget):
                break
            asked: Asked = AskedDatabase(one.database)
            try:
                found = find_point(self._settings, asked, Cut(set=one.set), place=place.name)
            except BackupError as error:
                self._first = self._first or error.failure
                continue
            self._drill(found, means)

    def _candidates(self, place: Place) -> Iterator[Candidate]:
        """Yield the databases that can be drilled. Without notes, the names of earlier evidence give their order."""
        reported = reported_drills.last_taken(place) if self._task.evidence == "prefix" else {}
        for part in by_database(place, writes=False):
            for set_name, database in sorted({database_of(key) for key in part.entries}):
                if set_name not in self._task.sets or not selects(self._task.databases, database):
                    continue
                drills, level = drill_notes.of_database(place, set_name, database), self._task.level
                yield Candidate(
                    set=set_name,
                    database=database,
                    proven=drills.proven(level),
                    tried=drills.last.at if drills.last is not None else reported.get((set_name, database)),
                    seconds=drills.took.get(level),
                )

    def _drill(self, found: FoundPoint, means: Means) -> None:
        """Drill one restore point, and report it."""
        key = found.chain[-1].key
        self._writer.tell(DrillBegun(place=found.place.name, key=key, level=self._task.level))
        drill = PointDrill(found, self._task.level, means)
        stopped: DrillStoppedError | None = None
        try:
            with scratch_folder(self._scratch, self._task.run) as scratch:
                drill.run(scratch)
        except DrillStoppedError as error:
            stopped = error
        except BackupError as error:
            stopped = DrillStoppedError(StopCause.PROGRAM_FAILED, error.failure.error, error.failure)
        except OSError as error:
            stopped = DrillStoppedError(StopCause.PROGRAM_FAILED, f"{error.filename}: {error.strerror}")
        done = drill.evidence(stopped)
        failure = stopped.stop.as_failure if stopped is not None else None
        self._results[key] = done.outcome
        self._first = self._first or failure
        self._report(found, done, failure)

    def _report(self, found: FoundPoint, done: Evidence, failure: Failure | None) -> None:
        """Write the evidence and what follows from it, and tell the end of the drill."""
        place, drills = found.place, None
        marked, unwritten = False, None
        try:
            if self._task.evidence == "beside":
                trail = AuditTrail(place, self._writer, request=self._task.request)
                marked = self._write_beside(place, done, trail)
                before = drill_notes.of_database(place, *database_of(done.key))
                drills = before.after(done, marked=done.since if marked else None)
                drill_notes.remember(place, drills)
                trail.tell(audit_line(done))
            elif self._task.evidence == "prefix" and done.outcome is not DrillOutcome.NOT_DONE:
                done = reported_drills.write(place, self._keyring, done)
        except BackupError as error:
            unwritten = error.failure.error
        except OSError as error:
            unwritten = f"{error.filename}: {error.strerror}"
        hint = failure.advice if failure is not None else ""
        self._writer.tell(ArtifactDrilled(evidence=done, hint=hint, marked=marked, unwritten=unwritten, drills=drills))

    def _write_beside(self, place: Place, done: Evidence, trail: AuditTrail) -> bool:
        """Write the evidence beside its artifact. Mark a damaged artifact, and return whether one was marked.

        At a destination the next pass of retention does both.
        """
        if done.outcome is DrillOutcome.NOT_DONE:
            return False
        if not place.is_volume:
            pending_at(place).add(done)
            return False
        with hold_place(place):
            if done.replaces(evidence.recognised(place, self._keyring, done.key)):
                evidence.write(place, self._keyring, done)
            return mark_damaged(place, self._keyring, done, done.since, trail)


def _on_one_volume(scratch: Path, root: Path) -> bool:
    """Return whether the scratch folder is on the volume of the storage root."""
    with suppress(OSError):
        there = next(folder for folder in (scratch, *scratch.parents) if folder.exists())
        return there.stat().st_dev == root.stat().st_dev
    return False


def perform(task: DrillTask, settings: Settings, writer: EventWriter, cancel: threading.Event) -> None:
    """Carry out a task and report its result as the last event. SIGTERM cancels it."""
    cancel_on_sigterm(cancel)
    try:
        result = Drilling(task, settings, writer, cancel).run()
    except BackupError as error:
        result = PlaceResult().failed(error.failure)
    writer.tell(PassReport(result=result))


def main() -> None:
    """Run as a child process for one task: the task on stdin, events on stdout."""
    task, settings, writer = begin(DrillTask)
    perform(task, settings, writer, threading.Event())


if __name__ == "__main__":
    main()
    processes.leave()
