"""Maintenance of the places: passes that apply retention, hold or release artifacts, and verify them.

Each pass is a child process that works on one place. `MaintenanceQueue` chooses the next pass. `Maintenance` starts
passes and handles their events. The passes that copy are in `copy_passes`.
"""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog

from backup_agent.catalog import set_uses
from backup_agent.core.artifacts.names import VOLUME, PlaceName, SetName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests import events, tasks
from backup_agent.core.requests.answers import Answer, Outcome, PlaceResult
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.requests.reserve import Reserve
from backup_agent.supervisor.status import log_lines
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.trusted_clock import utc_now
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.drill_results import DrillResults
from backup_agent.supervisor.work.maintenance_queue import COPY, DRILL, MARKING, MaintenanceQueue, Wish
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

SLICE_SECONDS = 300.0
"""How long one child verifies, or applies retention without a request. Work that waits ends verification sooner."""

MOST_INTERRUPTIONS = 3
"""How often backups may interrupt the reading of one artifact before a request for `verify` skips it."""

MODULES = {
    "prune": "backup_agent.jobs.prune",
    "verify": "backup_agent.jobs.verify",
    "drill": "backup_agent.jobs.drill",
    "hold": "backup_agent.jobs.hold",
    "release": "backup_agent.jobs.hold",
}

PassTask = tasks.PruneTask | tasks.VerifyTask | tasks.HoldTask | tasks.DrillTask

log = structlog.get_logger()


@dataclass
class Maintenance:
    """Starts passes and handles their events and ends."""

    reloader: Reloader
    runs: Runs
    maintenance_queue: MaintenanceQueue
    volume_summaries: VolumeSummaries
    orders: Orders
    discovery: Discovery
    counters: Counters
    reserve: Reserve
    """The reserve on the volume. Deletions need its space, because each is recorded on the volume first."""
    requests: OpenRequests
    drill_results: DrillResults

    def __post_init__(self) -> None:
        """Begin with no passes."""
        self._wishes: dict[str, Wish] = {}
        """Run -> what the pass is for."""
        self._gave_way: set[str] = set()
        """Runs of passes that were ended so that other work could start."""
        self._reading: dict[str, str] = {}
        """Run -> the artifact that the pass reads."""
        self._interrupted: dict[tuple[str, str], Counter[str]] = {}
        """Request and place -> artifact -> how often other work has interrupted its reading."""
        self._drills_interrupted: Counter[str] = Counter()
        """Request -> how often backups have interrupted its drills."""
        self._strays: dict[str, events.StraysFound] = {}

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reloader.settings

    def take_settings(self, *, surveyed: bool) -> None:
        """Use the places of the settings in force.

        If the first survey has begun (`surveyed`), a new destination's missing copies must be counted by a pass.
        """
        monotonic = time.monotonic()
        identities = {name: destination.identity for name, destination in self.settings.storage.destinations.items()}
        self.volume_summaries.use(identities, uncounted_since=monotonic if surveyed else None)
        self.maintenance_queue.use(identities, monotonic)
        self.maintenance_queue.drilled_place = self.settings.drilled_place

    @property
    def pruned_places(self) -> frozenset[PlaceName]:
        """Places where retention may delete artifacts: those with a policy, and the volume if it has ad hoc sets."""
        adhoc: frozenset[PlaceName] = (
            frozenset({VOLUME}) if self.volume_summaries.sets - self.settings.declared_sets else frozenset()
        )
        return frozenset(name for name, policy in self.settings.policies.items() if policy is not None) | adhoc

    @property
    def deleting(self) -> bool:
        """Whether retention is being applied to the volume. No backup starts meanwhile."""
        found = self.runs.at(VOLUME)
        return found is not None and found[1].kind == "prune"

    @property
    def dropping(self) -> frozenset[PlaceName]:
        """The destinations whose missing copies a running pass gives up. No copies are made there meanwhile."""
        return frozenset(place for wish in self._wishes.values() if (place := self.drops(wish)) is not None)

    def is_routine_at_a_destination(self, name: str) -> bool:
        """Return whether a run is a pass at a destination that no request asked for."""
        wish = self._wishes.get(name)
        return wish is not None and wish.request is None and wish.place != VOLUME

    def drops(self, wish: Wish) -> PlaceName | None:
        """Return the destination whose missing copies a pass gives up, or None."""
        answer = self.maintenance_queue.find(wish.request)
        dropped = answer.asked.drop_owed if answer is not None else None
        return next((place for place in self.volume_summaries.destinations if place == dropped), None)

    def next_on_volume(self, monotonic: float) -> Wish | None:
        """Return the next pass over the volume that is requested or due, or None."""
        return self.maintenance_queue.asked(VOLUME) or self.maintenance_queue.due(VOLUME, monotonic)

    def changes(self, wish: Wish) -> bool:
        """Return whether a pass copies, heals or may delete. Before such a pass, the cluster must be queried."""
        if wish.kind == "prune":
            return wish.place in self.pruned_places
        answer = self.maintenance_queue.find(wish.request)
        return wish.kind == COPY or (answer is not None and answer.asked.heal)

    def give_way(self, place: PlaceName) -> None:
        """End the verification at a place if it can be continued later, because other work waits."""
        name, run = self.runs.at(place) or ("", None)
        wish = self._wishes.get(name)
        if run is None or wish is None or run.ending is not None:
            return
        if wish.kind in ("verify", DRILL) and self._can_go_on(wish):
            self._gave_way.add(name)
            self.runs.end(name, Reason.CANCELLED)

    def _can_go_on(self, wish: Wish) -> bool:
        answer = self.maintenance_queue.find(wish.request)
        if answer is not None and wish.kind == DRILL:
            return self._drills_interrupted[answer.id] < MOST_INTERRUPTIONS
        return wish.request is None or (answer is not None and answer.asked.reads_in_slices)

    def start(self, wish: Wish) -> None:
        """Start a pass."""
        if wish.kind == "prune":
            self.reserve.clear_the_way()
            self._note_open_sets()
        answer = self.maintenance_queue.begin(wish, utc_now())
        task = self._task(wish, answer)
        if isinstance(task, tasks.PruneTask) and not task.dry_run and self.orders.no_deletion is not None:
            self._wishes[task.run] = wish
            self._conclude(task.run, events.PassReport(result=PlaceResult().failed(self.orders.no_deletion)), 0.0)
            return
        self._spawn(wish, task)

    def note_use(self, set_name: SetName, at: datetime) -> None:
        """Note the use of a set, since an ad hoc set is kept for a time after its last use."""
        if set_name in self.settings.declared_sets:
            return
        try:
            set_uses.note_use(self.settings.storage.root, set_name, at)
        except OSError as error:
            log.warning("use of an ad hoc set not noted", set=set_name, error=error.strerror)

    def _note_open_sets(self) -> None:
        """Note that the sets of all open requests are in use."""
        for set_name in sorted(self.requests.sets):
            self.note_use(set_name, utc_now())

    def cancel(self, identity: str) -> None:
        """End the running pass of a request."""
        for name, wish in self._wishes.items():
            if wish.request == identity:
                self.runs.end(name, Reason.CANCELLED)

    def _spawn(self, wish: Wish, task: PassTask) -> None:
        self._wishes[task.run] = wish
        try:
            content = task.model_dump_json().encode()
            remote = wish.place != VOLUME or (isinstance(task, tasks.VerifyTask) and task.heal)
            self.runs.spawn(task.run, MODULES[wish.kind], content, place=wish.where, remote=remote)
        except OSError as error:
            failure = Failure(Reason.OUT_OF_MEMORY, f"a process could not be started: {error.strerror}")
            self._conclude(task.run, events.PassReport(result=PlaceResult().failed(failure)), 0.0)

    def _task(self, wish: Wish, answer: Answer | None) -> PassTask:
        if wish.kind == "prune":
            return self._prune_task(wish, answer)
        if wish.kind == DRILL and answer is not None:
            return self._drill_task(wish, answer)
        if wish.kind in MARKING and answer is not None:
            return self._hold_task(wish, answer)
        return self._verify_task(wish, answer)

    def _hold_task(self, wish: Wish, answer: Answer) -> tasks.HoldTask:
        asked = answer.asked
        return tasks.HoldTask(
            run=self.runs.numbered(wish.kind),
            place=wish.place,
            request=answer.id,
            action=asked.action,
            database=asked.asked[0] if asked.asked else None,
            taken_from=asked.taken_from,
            taken_to=asked.taken_to,
            labels=asked.labels,
            since=answer.received,
            reason=asked.reason or "",
            requested_by=asked.requested_by,
            until=asked.until,
            settings=self.settings.model_dump(mode="json"),
        )

    def _drill_task(self, wish: Wish, answer: Answer) -> tasks.DrillTask:
        asked, settings = answer.asked, self.settings
        fulls = (one.chain_size.get(BackupType.FULL.value, 0) for one in self.volume_summaries.summaries)
        return tasks.DrillTask(
            run=self.runs.numbered(DRILL),
            place=wish.place,
            request=answer.id,
            what=asked.artifact,
            databases=asked.asked or settings.databases,
            sets=tuple(sorted(settings.declared_sets)),
            level=asked.level or settings.drill.level,
            evidence="beside",
            largest_full=max(fulls, default=0),
            share=settings.limits.parallel,
            settings=settings.model_dump(mode="json"),
        )

    def _prune_task(self, wish: Wish, answer: Answer | None) -> tasks.PruneTask:
        asked = answer.asked if answer is not None else None
        return tasks.PruneTask(
            run=self.runs.numbered("prune"),
            place=wish.place,
            dry_run=bool(asked and asked.dry_run),
            force=bool(asked and asked.force),
            plan=asked.plan if asked else None,
            drop_owed=asked.drop_owed if asked else None,
            forgotten=self.orders.forgotten,
            seconds=SLICE_SECONDS if asked is None else None,
            request=wish.request,
            requested_by=asked.requested_by if asked else None,
            server_clock=self.discovery.server_clock,
            settings=self.settings.model_dump(mode="json"),
        )

    def _verify_task(self, wish: Wish, answer: Answer | None) -> tasks.VerifyTask:
        asked = answer.asked if answer is not None else None
        return tasks.VerifyTask(
            run=self.runs.numbered("verify"),
            place=wish.place,
            request=wish.request,
            requested_by=asked.requested_by if asked else None,
            artifact=asked.artifact if asked else None,
            chain=bool(asked and asked.chain),
            database=asked.database if asked else None,
            all=bool(asked and asked.all),
            skipped=self._skipped(wish),
            open_requests=self.maintenance_queue.open,
            heal=bool(asked and asked.heal),
            seconds=SLICE_SECONDS,
            settings=self.settings.model_dump(mode="json"),
        )

    def _skipped(self, wish: Wish) -> tuple[str, ...]:
        """Return the artifacts that a request skips because backups have interrupted their reading too often."""
        counts: Counter[str] = self._interrupted.get((wish.request or "", wish.place), Counter())
        return tuple(key for key, count in counts.items() if count >= MOST_INTERRUPTIONS)

    # Events of children

    def told_of_volume(self, run: Run, event: events.VolumeEvent) -> None:
        """Handle an event about the volume: of a run that changes it, or of one that counts missing copies."""
        match event:
            case events.SummaryTold() if run.destination is not None:
                summary = event.summary
                self.volume_summaries.set_owed(
                    summary.set, summary.database, summary.owed, summary.owed_since, run.started
                )
            case events.SummaryTold():
                self.volume_summaries.take(event.summary)
            case events.NothingRecorded():
                self.volume_summaries.remove(event.set, event.database)
            case events.CopiesNotCounted():
                self.volume_summaries.note_uncounted(event.destination, time.monotonic())
            case events.SummaryFailed():
                self.volume_summaries.doubt()
                log.warning("summary failed", set=event.set, database=event.database, error=event.error)
            case events.CopiesOwed():
                oldest = {} if event.oldest is None else {event.destination: event.oldest}
                owed = {event.destination: event.owed}
                self.volume_summaries.set_owed(event.set, event.database, owed, oldest, run.started)
            case _:
                assert_never(event)

    def told_by_retention(
        self,
        place: PlaceName,
        event: events.ArtifactDeleted | events.HoldEnded | events.StraysFound | events.UnrecognisedFound,
    ) -> None:
        """Handle an event of a pass of retention. Unexpected files are logged only if they have changed."""
        match event:
            case events.ArtifactDeleted():
                self.counters.pruned(event.place, event.bytes if event.freed else 0)
                log.info("artifact deleted", place=event.place, key=event.key, bytes=event.bytes, reason=event.reason)
            case events.HoldEnded():
                log.info("hold ended", place=event.place, artifact=event.key, because=event.because)
            case events.StraysFound():
                before, self._strays[place] = self._strays.get(place), event
                files = {kind: keys for kind, keys in event.model_dump(exclude={"event"}).items() if keys}
                if event != before and files:
                    log.warning("unexpected files found", place=place, found=files)
            case events.UnrecognisedFound():
                self.maintenance_queue.unrecognised(event)
            case _:
                assert_never(event)

    def told_by_reading(self, name: str, event: events.ReadingEvent) -> None:
        """Handle an event of verification."""
        match event:
            case events.PlaceJudged():
                self.maintenance_queue.judged(event)
            case events.SliceProgress() | events.ReadingBegun():
                self._slice_told(name, event)
            case events.ArtifactDamaged():
                self.maintenance_queue.damaged(event.place, event.key)
                self.counters.read_again(event.place, "damaged")
                log.error("artifact damaged", place=event.place, artifact=event.key, found=event.found)
            case events.ArtifactVerified():
                self.counters.read_again(event.place, "verified")
            case events.ArtifactHealed():
                self.maintenance_queue.healed(event.place, event.key)
                self.counters.read_again(event.place, "healed")
                log.warning("artifact healed", place=event.place, artifact=event.key, sources=event.sources)
            case events.ArtifactNotHealed():
                log.error("artifact not healed", place=event.place, artifact=event.key, error=event.error)
            case events.ArtifactNotRead():
                log.warning("artifact not read", place=event.place, artifact=event.key, error=event.error)
            case _:
                assert_never(event)

    def _slice_told(self, name: str, event: events.SliceEvent) -> None:
        """Note the progress of a slice of a request."""
        wish = self._wishes.get(name)
        if wish is None:
            return
        if isinstance(event, events.ReadingBegun):
            self._reading[name] = event.key
            return
        self._reading.pop(name, None)
        answer = self.maintenance_queue.find(wish.request)
        if answer is not None and not answer.places[wish.place].begun:
            log.info(
                "verification started",
                place=wish.place,
                request=wish.request,
                artifacts=event.artifacts,
                size=event.size,
                estimated_seconds=event.estimated_seconds,
            )
        self.maintenance_queue.progressed(wish, event.model_dump(exclude={"event"}), time.monotonic())

    def told_by_drill(self, name: str, event: events.DrillEvent) -> None:
        """Handle an event of a run of drills."""
        match event:
            case events.DrillBegun():
                log.info("drill started", place=event.place, artifact=event.key, drill_level=event.level.value)
            case events.ArtifactDrilled():
                if event.drills is not None:
                    self.drill_results.take(event.drills)
                wish = self._wishes.get(name)
                answer = self.maintenance_queue.find(wish.request) if wish is not None else None
                log_lines.drilled(answer, event).log()
            case events.DrillMarked():
                self.drill_results.take(event.drills)
                log.error("artifact marked as damaged", place=event.drills.place, artifact=event.key)
            case _:
                assert_never(event)

    def note_bytes_read(self, name: str, event: events.Progress) -> None:
        """Note how many bytes a slice of a request has read."""
        wish = self._wishes.get(name)
        if wish is not None and wish.kind == "verify":
            self.maintenance_queue.progressed(wish, {"read_size": event.bytes}, time.monotonic())

    def ended(self, name: str, run: Run, code: int) -> None:
        """Handle the end of a pass."""
        wish = self._wishes.get(name)
        if wish is None:
            return
        report = run.result if isinstance(run.result, events.PassReport) else None
        reading = self._reading.pop(name, None)
        if name in self._gave_way or (wish.kind in ("verify", DRILL) and run.ending is Reason.INTERRUPTED):
            self._gave_way.discard(name)
            if self._slice_ended(name, wish, report, reading):
                return
        if report is None and run.ending is not None:
            report = events.PassReport(result=self._so_far(wish).failed(_ended(wish)))
        elif report is None:
            text = f"the pass over {wish.place} ended without a report (exit code {code})"
            report = events.PassReport(result=self._so_far(wish).failed(Failure(Reason.INTERNAL, text)))
        elif run.ending is not None and report.result.outcome is Outcome.WAITING:
            report = report.model_copy(update={"result": report.result.failed(_ended(wish))})
        self._conclude(name, report, time.monotonic() - run.started)

    def _so_far(self, wish: Wish) -> PlaceResult:
        """Return the result of a place so far, from the request's answer."""
        answer = self.maintenance_queue.find(wish.request)
        return answer.places[wish.place] if answer is not None else PlaceResult()

    def _slice_ended(self, name: str, wish: Wish, report: events.PassReport | None, reading: str | None) -> bool:
        """Handle a slice that was ended for a backup, or because the agent ends; return whether it continues later."""
        if wish.request is None:
            self._wishes.pop(name)
            self.maintenance_queue.gave_way(wish.place, time.monotonic())
            return True
        if wish.kind == DRILL:
            self._drills_interrupted[wish.request] += 1
            report = None  # what was drilled is noted, and the rest comes in the order of the proofs
        if not self._can_go_on(wish) or (report is not None and report.result.outcome is not Outcome.WAITING):
            return False
        self._wishes.pop(name)
        if reading is not None:
            self._interrupted.setdefault((wish.request, wish.place), Counter())[reading] += 1
        self.maintenance_queue.slice_ended(wish, report.result if report is not None else None, utc_now())
        return True

    def _conclude(self, name: str, report: events.PassReport, seconds: float) -> None:
        wish, result = self._wishes.pop(name), report.result
        monotonic, now = time.monotonic(), utc_now()
        answer = self.maintenance_queue.find(wish.request)
        if wish.kind == "prune":
            every = self.settings.limits.prune_every.total_seconds()
            self.maintenance_queue.pruned(wish, result, seconds, every, monotonic, now)
            if result.reason is Reason.CLOCK:
                self.discovery.doubt()
            if answer is None or not answer.asked.dry_run:
                self.counters.pass_ended(wish.place, result.reason if result.outcome is Outcome.FAILED else None)
            log_lines.retention_ended(wish.place, answer, result, seconds).log()
        elif wish.kind == DRILL:
            self._drills_interrupted.pop(wish.request or "", None)
            self.maintenance_queue.drilled(wish, result, monotonic, now)
            log_lines.drills_ended(wish.place, answer, result, seconds).log()
        elif wish.kind in MARKING:
            self.maintenance_queue.marked(wish, result, monotonic, now)
        else:
            if result.outcome is not Outcome.WAITING:
                self._interrupted.pop((wish.request or "", wish.place), None)
            self.maintenance_queue.verified(wish, report, monotonic, now)
            attribution = answer.attribution if answer is not None else {}
            if result.outcome is Outcome.FAILED and not result.damaged:
                log.warning(
                    "verification failed",
                    place=wish.place,
                    request=wish.request,
                    **attribution,
                    reason=result.reason,
                    error=result.error,
                )
            elif wish.request is not None and result.outcome is not Outcome.WAITING:
                log.info(
                    "verification ended",
                    place=wish.place,
                    request=wish.request,
                    **attribution,
                    verified=result.verified,
                    damaged=len(result.damaged),
                    healed=len(result.healed),
                    not_read={unread.why.value: unread.artifacts for unread in result.not_read},
                    seconds=round(seconds, 3),
                )


def _ended(wish: Wish) -> Failure:
    return Failure(Reason.CANCELLED, f"the pass over {wish.place} was ended")
