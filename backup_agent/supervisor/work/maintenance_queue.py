"""The passes of retention and verification that are requested or due, and which of them is next.

A pass over the volume starts only if no backup waits or runs, and no backup starts while retention is applied there. At
a destination one pass runs at a time, beside backups. A request for `prune` or `verify` makes one pass after the other,
one for each place.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, Outcome, PlaceResult, State
from backup_agent.core.requests.events import PassReport, PlaceJudged, UnrecognisedFound
from backup_agent.core.requests.request import Action
from backup_agent.core.status import PlaceStatus
from backup_agent.supervisor.work.open_requests import OpenRequests

DRILL = Action.DRILL.value

PASSES = (Action.PRUNE.value, Action.VERIFY.value, DRILL)
"""Actions that are passes over places."""

MARKING = (Action.HOLD.value, Action.RELEASE.value)
"""Actions that are passes over places if they select artifacts."""

COPY = "copy"
"""The kind of the passes that make missing copies."""

SETTLE_SECONDS = 1.0
"""How long after a backup retention waits, so that the other backups of a burst come first."""

OVERDUE_SECONDS = 600.0
"""How long retention may wait for backups, or at a destination for copies. Then it comes before them."""

REST = 20.0
"""Rest after a pass of retention, as a multiple of its duration. During the rest, backups do not make retention due."""

VERIFY_SECONDS = 900.0
"""How often a pass checks whether artifacts of a place are due to be verified."""

RETRY_SECONDS = 300.0

PROGRESS_SECONDS = 10.0
"""How often the progress of a request is written into its answer."""

MOST_LOGGED = 20
"""Largest number of artifacts that one log line names."""

log = structlog.get_logger()


def is_pass(answer: Answer) -> bool:
    """Return whether a request is carried out by passes over places."""
    return answer.action in PASSES or (answer.action in MARKING and answer.asked.selects)


@dataclass
class Routine:
    """When the passes over one place are due, in monotonic seconds, and the status of the place."""

    prune_due: float = 0.0
    prune_rest: float = 0.0
    wanted_since: float | None = None
    """Time of the first successful backup since the last pass of retention, or None without such a backup."""
    verify_due: float = 0.0
    hurried: bool = False
    """Whether retention should not wait for copies: marks or evidence must be written."""
    status: PlaceStatus = field(default_factory=PlaceStatus)

    def note(self, **changes: Any) -> None:  # noqa: ANN401  fields of PlaceStatus
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)


@dataclass(frozen=True)
class Wish:
    """One pass that should be made. `request` is None if no request asked for it."""

    kind: str
    """prune, verify, drill, hold, release or copy"""
    place: PlaceName
    request: str | None = None

    @property
    def where(self) -> PlaceName:
        """The place whose work the pass takes part in. A drill has a JVM, so it takes the slot of one on the volume."""
        return VOLUME if self.kind == DRILL else self.place


@dataclass
class MaintenanceQueue:
    """The passes that are requested or due."""

    requests: OpenRequests
    places: dict[PlaceName, Routine] = field(default_factory=dict)
    drilled_place: PlaceName = VOLUME
    """The place that drills prove if their request names no place."""
    _shown: dict[str, float] = field(default_factory=dict)
    """Request -> when its progress was last written to its answer, in monotonic seconds."""

    def use(self, destinations: Collection[PlaceName], monotonic: float) -> None:
        """Use the volume and these destinations. Retention is due at once, since its rules may have changed."""
        names = (VOLUME, *destinations)
        self.places = {name: self.places.get(name, Routine(verify_due=monotonic + VERIFY_SECONDS)) for name in names}
        for routine in self.places.values():
            routine.prune_due = monotonic

    def _at(self, place: PlaceName) -> Routine:
        """Return the routine of a place. For a place not in the settings, return a new one, which is not kept."""
        return self.places.get(place, Routine())

    # Requests

    def accept(self, answer: Answer) -> None:
        """Queue a request for passes. If it names an unknown place, fail it at once."""
        asked = answer.asked.place
        if asked is not None and asked not in self.places:
            text = f"{asked}: there is no such place; there are {', '.join(self.places)}"
            self.requests.conclude(answer.becomes(State.FAILED, answer.received, Failure(Reason.NOT_FOUND, text)))
            return
        if not answer.places:
            # Copies are given up (drop_owed) by the pass over the volume, which knows the missing ones.
            places = tuple(self.places) if answer.asked.drop_owed is None else (VOLUME,)
            if answer.action == DRILL:
                places = (self.drilled_place,)
            chosen = (asked,) if asked is not None else places
            answer = answer.model_copy(update={"places": dict.fromkeys(chosen, PlaceResult())})
        # A pass that a crash interrupted is made again. It continues where the interrupted pass ended.
        again = {
            place: result.model_copy(update={"outcome": Outcome.WAITING})
            if result.outcome is Outcome.RUNNING
            else result
            for place, result in answer.places.items()
        }
        self._save(answer.model_copy(update={"places": again}))

    def find(self, identity: str | None) -> Answer | None:
        """Return an open request for passes."""
        answer = self.requests.loaded.get(identity or "")
        return answer if answer is not None and is_pass(answer) else None

    @property
    def _open(self) -> list[Answer]:
        return [answer for answer in self.requests.loaded.values() if is_pass(answer)]

    def waits_for(self, schedule: str) -> bool:
        """Return whether a request of a schedule has not ended yet."""
        return any(answer.schedule == schedule for answer in self._open)

    def cancel(self, answer: Answer, failure: Failure, now: datetime) -> None:
        """Cancel the passes of a request that have not started. The caller must end the running one."""
        self._fail_waiting(answer, failure, now)

    def expire(self, answer: Answer, now: datetime) -> None:
        """Fail the passes that have not started if the request's `not_after` has passed.

        A request that is verified in slices has started at all of its places with its first slice.
        """
        failure = answer.expired(now)
        if failure is not None and not any(result.begun for result in answer.places.values()):
            self._fail_waiting(answer, failure, now)

    def _fail_waiting(self, answer: Answer, failure: Failure, now: datetime) -> None:
        waiting = [place for place, result in answer.places.items() if result.outcome is Outcome.WAITING]
        for place in waiting:
            answer = answer.with_place(place, answer.places[place].failed(failure))
        if waiting:
            self._save(answer, now)

    # Choosing

    def asked(self, place: PlaceName | None = None) -> Wish | None:
        """Return the next pass of a request, at `place` if it is given, except later slices of verification."""
        return next((wish for wish, begun in self._wanted() if not begun and place in (None, wish.where)), None)

    def goes_on(self, place: PlaceName | None = None) -> Wish | None:
        """Return the next slice of a request whose verification has begun."""
        return next((wish for wish, begun in self._wanted() if begun and place in (None, wish.where)), None)

    def _wanted(self) -> Iterator[tuple[Wish, bool]]:
        """Yield the next pass of each request, and whether the request has begun."""
        for answer in self._open:
            if any(result.outcome is Outcome.RUNNING for result in answer.places.values()):
                continue
            waiting = [place for place, result in answer.places.items() if result.outcome is Outcome.WAITING]
            if waiting:
                # One place after the other: a place that has begun is finished first.
                place = next((name for name in waiting if answer.places[name].begun), waiting[0])
                begun = any(result.begun for result in answer.places.values())
                yield Wish(answer.action, place, answer.id), begun

    @property
    def open(self) -> tuple[str, ...]:
        """The ids of the open requests for passes."""
        return tuple(answer.id for answer in self._open)

    def due(self, place: PlaceName, monotonic: float, *, reading: bool = True) -> Wish | None:
        """Return the next pass at a place that no request asked for, or the next slice of a request.

        Retention comes first. Unless `reading`, there is no verification.
        """
        routine = self._at(place)
        if monotonic >= routine.prune_due:
            return Wish("prune", place)
        if not reading:
            return None
        if wish := self.goes_on(place):
            return wish
        return Wish("verify", place) if monotonic >= routine.verify_due else None

    def overdue(self, place: PlaceName, monotonic: float) -> bool:
        """Return whether retention at a place has waited for too long: for backups, or at a destination for copies."""
        wanted = self._at(place).wanted_since
        return wanted is not None and monotonic - wanted > OVERDUE_SECONDS

    def ends_copying(self, place: PlaceName, monotonic: float) -> bool:
        """Return whether a copy pass at a destination should end soon: a request waits for the place, or retention."""
        return self.asked(place) is not None or self._at(place).hurried or self.overdue(place, monotonic)

    def moments(self) -> list[float]:
        """Return the times at which passes are due, in monotonic seconds."""
        return [moment for routine in self.places.values() for moment in (routine.prune_due, routine.verify_due)]

    def succeeded(self, places: Collection[PlaceName], monotonic: float) -> None:
        """Note that a backup has succeeded, and make retention due at the given places."""
        for routine in (routine for name, routine in self.places.items() if name in places):
            routine.wanted_since = monotonic if routine.wanted_since is None else routine.wanted_since
            routine.prune_due = min(routine.prune_due, max(monotonic + SETTLE_SECONDS, routine.prune_rest))

    def make_retention_due(self, place: PlaceName, monotonic: float) -> None:
        """Make retention due at a place at once: the volume is full, or marks must be written there."""
        routine = self._at(place)
        routine.prune_due, routine.hurried = monotonic, True

    # Starts and ends of passes

    def begin(self, wish: Wish, now: datetime) -> Answer | None:
        """Write down that a pass starts; return its request's answer, or None if no request asked for the pass."""
        if wish.kind == "prune" and not self._only_plans(wish):
            # If `use` or `hurry` is called while the pass runs, another pass follows it.
            routine = self._at(wish.place)
            routine.prune_due, routine.wanted_since, routine.hurried = math.inf, None, False
        if wish.request is None:
            return None
        answer = self.requests.loaded[wish.request]
        if answer.state is State.QUEUED:
            answer = answer.becomes(State.RUNNING, now)
        running = answer.places[wish.place].model_copy(update={"outcome": Outcome.RUNNING})
        answer = answer.with_place(wish.place, running).model_copy(
            update={"stage": f"{wish.kind} {wish.place}", "progress": None}
        )
        self._save(answer)
        return answer

    def _only_plans(self, wish: Wish) -> bool:
        answer = self.find(wish.request)
        return answer is not None and answer.asked.dry_run

    def pruned(
        self, wish: Wish, result: PlaceResult, seconds: float, every: float, monotonic: float, now: datetime
    ) -> None:
        """Handle the end of a pass of retention that took `seconds`; the next pass is due after `every` seconds.

        A dry run does not change the status of the place. If a request's pass fails, for example because its plan is
        out of date, retention is not reported as blocked: the next pass without a request decides.
        """
        if not self._only_plans(wish):
            routine = self._at(wish.place)
            failed = result.outcome is Outcome.FAILED
            if not failed:
                routine.note(blocked=None, error=None, pruned=now)
            elif wish.request is None:
                routine.note(blocked=result.reason or Reason.INTERNAL, error=result.error or "")
            routine.note(
                deleted=routine.status.deleted + (result.deleted or 0), freed=routine.status.freed + (result.freed or 0)
            )
            routine.prune_rest = monotonic + REST * seconds
            wait = min(RETRY_SECONDS, every) if failed else every
            # Even if this pass left artifacts, a waiting backup comes before the next pass.
            routine.prune_due = min(routine.prune_due, monotonic + (SETTLE_SECONDS if result.left else wait))
        self._result(wish, result, now)

    def verified(self, wish: Wish, report: PassReport, monotonic: float, now: datetime) -> None:
        """Handle the end of a slice of verification.

        A request for certain artifacts does not change when the place is verified next.
        """
        routine = self._at(wish.place)
        if report.oldest is not None:
            routine.note(oldest_verified=report.oldest)
        answer = self.find(wish.request)
        if answer is None or not (answer.asked.artifact or answer.asked.reads_in_slices):
            wait = VERIFY_SECONDS if report.next_seconds is None else report.next_seconds
            routine.verify_due = monotonic + wait
        self._result(wish, report.result, now)

    def unrecognised(self, found: UnrecognisedFound) -> None:
        """Note how many records at a place are not recognised, and log the number if it has changed."""
        routine = self.places.get(found.place)
        if routine is None or routine.status.unrecognised == found.records:
            return
        routine.note(unrecognised=found.records)
        if found.records:
            log.warning("records not recognised", place=found.place, records=found.records, first=found.first)

    def judged(self, found: PlaceJudged) -> None:
        """Note the damage that a slice found at a place, and log what has changed."""
        routine = self.places.get(found.place)
        if routine is None:
            return
        before = routine.status
        routine.note(damaged=found.keys, unreadable=found.unreadable, unrestorable=found.unrestorable)
        if any(found.unreadable.values()) and found.unreadable != before.unreadable:
            unreadable = {why: keys[:MOST_LOGGED] for why, keys in found.unreadable.items() if keys}
            log.warning("artifacts not readable", place=found.place, found=unreadable)
        if found.unrestorable and found.unrestorable != before.unrestorable:
            log.warning("chain broken", place=found.place, artifacts=found.unrestorable[:MOST_LOGGED])

    def progressed(self, wish: Wish, facts: Mapping[str, Any], monotonic: float) -> None:
        """Note the progress of a slice of a request, and write it to the answer every PROGRESS_SECONDS."""
        answer = self.find(wish.request)
        if answer is None:
            return
        result = answer.places[wish.place]
        first = not result.begun
        answer = answer.with_place(wish.place, _with_first_estimate(result.model_copy(update=dict(facts)), result))
        current = answer.places[wish.place]
        progress = {
            "place": wish.place,
            "read": current.read,
            "artifacts": current.artifacts,
            "bytes": current.read_size,
            "total": current.size,
            "estimated_seconds": current.estimated_seconds,
        }
        progress = {name: value for name, value in progress.items() if value is not None}
        answer = answer.model_copy(update={"progress": progress})
        self.requests.hold(answer)
        if first or monotonic - self._shown.get(answer.id, -math.inf) >= PROGRESS_SECONDS:
            self._shown[answer.id] = monotonic
            self.requests.keep(answer)

    def marked(self, wish: Wish, result: PlaceResult, monotonic: float, now: datetime) -> None:
        """Handle the end of a pass that held or released artifacts: marks may have to be written at every place."""
        for place in self.places:
            self.make_retention_due(place, monotonic)
        self._result(wish, result, now)

    def drilled(self, wish: Wish, result: PlaceResult, monotonic: float, now: datetime) -> None:
        """Handle the end of drills. At a destination the next pass writes their evidence."""
        if wish.place != VOLUME:
            self.make_retention_due(wish.place, monotonic)
        self._result(wish, result, now)

    def slice_ended(self, wish: Wish, result: PlaceResult | None, now: datetime) -> None:
        """Queue the rest of a request whose slice was ended for a backup. `result` is None if there was no report."""
        answer = self.find(wish.request)
        if answer is not None:
            result = result or answer.places[wish.place]
            self._result(wish, result.model_copy(update={"outcome": Outcome.WAITING}), now)

    def damaged(self, place: PlaceName, key: str) -> None:
        """Note that an artifact is damaged. At its end, a slice reports all damaged artifacts."""
        routine = self._at(place)
        routine.note(damaged=tuple(sorted({*(routine.status.damaged or ()), key})))

    def healed(self, place: PlaceName, key: str) -> None:
        """Note that an artifact was healed."""
        routine = self._at(place)
        routine.note(damaged=tuple(other for other in routine.status.damaged or () if other != key))

    def gave_way(self, place: PlaceName, monotonic: float) -> None:
        """Note that verification was ended for a backup, and make it due again soon."""
        self._at(place).verify_due = monotonic + SETTLE_SECONDS

    def _result(self, wish: Wish, result: PlaceResult, now: datetime) -> None:
        answer = self.find(wish.request)
        if answer is not None:
            self._save(answer.with_place(wish.place, _with_first_estimate(result, answer.places[wish.place])), now)

    def _save(self, answer: Answer, now: datetime | None = None) -> None:
        if now is not None and not any(
            result.outcome in (Outcome.WAITING, Outcome.RUNNING) for result in answer.places.values()
        ):
            self._shown.pop(answer.id, None)
            if answer.state is State.QUEUED:
                answer = answer.becomes(State.RUNNING, now)
            self.requests.conclude(_without_absent(answer).concluded(now))
            return
        self.requests.keep(answer)


def _with_first_estimate(result: PlaceResult, before: PlaceResult) -> PlaceResult:
    """Return a result with the first estimate of the duration, which was shown to the user."""
    if before.estimated_seconds is None:
        return result
    return result.model_copy(update={"estimated_seconds": before.estimated_seconds})


def _without_absent(answer: Answer) -> Answer:
    """Remove the places that lack the artifact or database of the request, unless the request names a place.

    If all places lack it, all are kept. If some places lack the database of a `verify`, there is a warning for each.
    """
    asked = answer.asked
    if (asked.artifact is None and asked.database is None and not asked.selects) or asked.place is not None:
        return answer
    present = {name: result for name, result in answer.places.items() if result.reason is not Reason.NOT_FOUND}
    if not present:
        return answer
    absent = tuple(result.error or name for name, result in answer.places.items() if name not in present)
    warnings = absent if asked.database is not None and not asked.selects else ()
    return answer.model_copy(update={"places": present, "warnings": answer.warnings + warnings})
