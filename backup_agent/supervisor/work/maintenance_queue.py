"""Passes over places: copying what is owed, applying retention, reading again. They take the slot that no backup wants.

A pass is a child with the heavy libraries in it, or one that deletes; so it never runs beside a backup, and while
retention is applied nothing else starts. A request for `prune` or `verify` is a row of passes, one a place.
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
from backup_agent.supervisor.status.model import PlaceStatus
from backup_agent.supervisor.work.open_requests import OpenRequests

PASSES = (Action.PRUNE.value, Action.VERIFY.value)
"""Actions that are passes over places."""

SETTLE_SECONDS = 1.0
"""How long after a backup its retention waits: the next request of a burst comes first."""

OVERDUE_SECONDS = 600.0
"""How long retention may wait for backups that never end: then it goes first, or the volume fills."""

REST = 20.0
"""Retention after a success rests this many times as long as the last pass at the place took."""

VERIFY_SECONDS = 900.0
"""How often it is asked whether something is to be read again."""

RETRY_SECONDS = 300.0

PROGRESS_SECONDS = 10.0
"""How often the progress of a request is written into its answer."""

MOST_LOGGED = 20
"""Artifacts that one line of the log names."""

log = structlog.get_logger()


@dataclass
class Routine:
    """What is due at one place, in monotonic seconds."""

    prune_due: float = 0.0
    prune_rest: float = 0.0
    wanted_since: float | None = None
    """When a success asked for retention that has not been applied yet."""
    verify_due: float = 0.0
    status: PlaceStatus = field(default_factory=PlaceStatus)

    def note(self, **changes: Any) -> None:  # noqa: ANN401  fields of PlaceStatus
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)


@dataclass(frozen=True)
class Wish:
    """One pass that should be made."""

    kind: str
    """prune or verify"""
    place: PlaceName
    request: str | None = None


@dataclass
class MaintenanceQueue:
    """What is asked for, and what is due."""

    requests: OpenRequests
    places: dict[PlaceName, Routine] = field(default_factory=dict)
    _shown: dict[str, float] = field(default_factory=dict)
    """When the progress of a request was written last, in monotonic seconds."""

    def use(self, destinations: Collection[PlaceName], monotonic: float) -> None:
        """Take the places of the settings; changed settings are applied soon."""
        names = (VOLUME, *destinations)
        self.places = {name: self.places.get(name, Routine(verify_due=monotonic + VERIFY_SECONDS)) for name in names}
        for routine in self.places.values():
            routine.prune_due = monotonic

    def _at(self, place: PlaceName) -> Routine:
        """Return what is due at a place. What is noted of a place that has left the settings is lost."""
        return self.places.get(place, Routine())

    # Requests

    def accept(self, answer: Answer) -> None:
        """Take a request for `prune` or `verify`; answer at once what no place can do."""
        asked = answer.asked.place
        if asked is not None and asked not in self.places:
            text = f"{asked}: there is no such place; there are {', '.join(self.places)}"
            self.requests.conclude(answer.becomes(State.FAILED, answer.received, Failure(Reason.NOT_FOUND, text)))
            return
        if not answer.places:
            # What is owed is known on the volume: there it is given up.
            places = tuple(self.places) if answer.asked.drop_owed is None else (VOLUME,)
            chosen = (asked,) if asked is not None else places
            answer = answer.model_copy(update={"places": dict.fromkeys(chosen, PlaceResult())})
        # A pass that a crash has cut off is made again: what it has done is done, and what it has not follows.
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
        return answer if answer is not None and answer.action in PASSES else None

    @property
    def _open(self) -> list[Answer]:
        return [answer for answer in self.requests.loaded.values() if answer.action in PASSES]

    def cancel(self, answer: Answer, failure: Failure, now: datetime) -> None:
        """Cancel a request: what has not started never will, what runs is ended by the caller."""
        self._fail_waiting(answer, failure, now)

    def expire(self, answer: Answer, now: datetime) -> None:
        """Answer for the places that have not begun and must not be begun any more.

        A request that is read in slices has begun with its first slice, at all of its places: reading may take days.
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

    def asked(self) -> Wish | None:
        """Return the next pass of a request; a later slice of one that is read in slices is no such pass."""
        return next((wish for wish, begun in self._wanted() if not begun), None)

    def goes_on(self) -> Wish | None:
        """Return the next slice of a request that is read in slices, and has begun."""
        return next((wish for wish, begun in self._wanted() if begun), None)

    def _wanted(self) -> Iterator[tuple[Wish, bool]]:
        """Yield the next pass of each request, and whether it goes on with one that has begun."""
        for answer in self._open:
            if any(result.outcome is Outcome.RUNNING for result in answer.places.values()):
                continue
            waiting = [place for place, result in answer.places.items() if result.outcome is Outcome.WAITING]
            if waiting:
                # One place after the other: what has begun there is finished first.
                place = next((one for one in waiting if answer.places[one].begun), waiting[0])
                begun = any(result.begun for result in answer.places.values())
                yield Wish(answer.action, place, answer.id), begun

    @property
    def open(self) -> tuple[str, ...]:
        """Ids of the requests that wait or are under way."""
        return tuple(answer.id for answer in self._open)

    def due(self, monotonic: float) -> Wish | None:
        """Return the next pass that is due by itself, or goes on with a request: retention first, reading last."""
        for place, routine in self.places.items():
            if monotonic >= routine.prune_due:
                return Wish("prune", place)
        if wish := self.goes_on():
            return wish
        for place, routine in self.places.items():
            if monotonic >= routine.verify_due:
                return Wish("verify", place)
        return None

    def overdue(self, monotonic: float) -> bool:
        """Tell whether retention has waited too long for backups to end."""
        return any(
            routine.wanted_since is not None and monotonic - routine.wanted_since > OVERDUE_SECONDS
            for routine in self.places.values()
        )

    def moments(self) -> list[float]:
        """Return when something is due."""
        return [moment for routine in self.places.values() for moment in (routine.prune_due, routine.verify_due)]

    def succeeded(self, places: Collection[PlaceName], monotonic: float) -> None:
        """Note that a backup has succeeded: retention follows at the places where something is ever deleted."""
        for routine in (routine for name, routine in self.places.items() if name in places):
            routine.wanted_since = monotonic if routine.wanted_since is None else routine.wanted_since
            routine.prune_due = min(routine.prune_due, max(monotonic + SETTLE_SECONDS, routine.prune_rest))

    def hurry(self, place: PlaceName, monotonic: float) -> None:
        """Let retention be applied at a place as soon as it can be: the volume is full, or marks wait."""
        self._at(place).prune_due = monotonic

    # What became of them

    def begin(self, wish: Wish, now: datetime) -> Answer | None:
        """Write down that a pass starts; return its request."""
        if wish.kind == "prune" and not self._only_plans(wish):
            # What comes to be due while it runs, by new settings or a hold, is due after it.
            routine = self._at(wish.place)
            routine.prune_due, routine.wanted_since = math.inf, None
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
        """Take the end of a pass of retention.

        A dry run says nothing of the place. A request that fails, such as for a plan of yesterday, blocks nothing: the
        pass that follows tells whether retention is blocked.
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
            # A backup that has waited comes first.
            routine.prune_due = min(routine.prune_due, monotonic + (SETTLE_SECONDS if result.left else wait))
        self._result(wish, result, now)

    def verified(self, wish: Wish, report: PassReport, monotonic: float, now: datetime) -> None:
        """Take the end of a slice of reading again. A request that names artifacts does not postpone the due slice."""
        routine = self._at(wish.place)
        if report.oldest is not None:
            routine.note(oldest_verified=report.oldest)
        answer = self.find(wish.request)
        if answer is None or not (answer.asked.artifact or answer.asked.reads_in_slices):
            wait = VERIFY_SECONDS if report.next_seconds is None else report.next_seconds
            routine.verify_due = monotonic + wait
        self._result(wish, report.result, now)

    def unrecognised(self, found: UnrecognisedFound) -> None:
        """Note how many records at a place are not recognised, and log it if it is news."""
        routine = self.places.get(found.place)
        if routine is None or routine.status.unrecognised == found.records:
            return
        routine.note(unrecognised=found.records)
        if found.records:
            log.warning("records not recognised", place=found.place, records=found.records, first=found.first)

    def judged(self, found: PlaceJudged) -> None:
        """Note what a slice found at a place, and log what of it is news."""
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
        """Note how far a slice of a request is, and write it into the answer now and then."""
        answer = self.find(wish.request)
        if answer is None:
            return
        result = answer.places[wish.place]
        first = not result.begun
        answer = answer.with_place(wish.place, _with_first_estimate(result.model_copy(update=dict(facts)), result))
        now = answer.places[wish.place]
        progress = {
            "place": wish.place,
            "read": now.read,
            "artifacts": now.artifacts,
            "bytes": now.read_size,
            "total": now.size,
            "estimated_seconds": now.estimated_seconds,
        }
        progress = {name: value for name, value in progress.items() if value is not None}
        answer = answer.model_copy(update={"progress": progress})
        self.requests.hold(answer)
        if first or monotonic - self._shown.get(answer.id, -math.inf) >= PROGRESS_SECONDS:
            self._shown[answer.id] = monotonic
            self.requests.keep(answer)

    def slice_ended(self, wish: Wish, result: PlaceResult | None, now: datetime) -> None:
        """Let a request go on later, since its slice was ended for a backup; `result` is None without a report."""
        answer = self.find(wish.request)
        if answer is not None:
            result = result or answer.places[wish.place]
            self._result(wish, result.model_copy(update={"outcome": Outcome.WAITING}), now)

    def mark(self, place: PlaceName, key: str) -> None:
        """Note that an artifact was found damaged; all that are, a slice tells in the end."""
        routine = self._at(place)
        routine.note(damaged=tuple(sorted({*(routine.status.damaged or ()), key})))

    def unmark(self, place: PlaceName, key: str) -> None:
        """Note that an artifact was healed."""
        routine = self._at(place)
        routine.note(damaged=tuple(other for other in routine.status.damaged or () if other != key))

    def gave_way(self, place: PlaceName, monotonic: float) -> None:
        """Note that reading again was ended for a backup; it goes on soon."""
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
            self.requests.conclude(_where_it_is(answer).concluded(now))
            return
        self.requests.keep(answer)


def _with_first_estimate(result: PlaceResult, before: PlaceResult) -> PlaceResult:
    """Return a result with the first estimate, the one that the user was given."""
    if before.estimated_seconds is None:
        return result
    return result.model_copy(update={"estimated_seconds": before.estimated_seconds})


def _where_it_is(answer: Answer) -> Answer:
    """Leave out places without the artifact in question, if the request names no place and some place has it.

    A database that is missing at a place is worth a warning.
    """
    asked = answer.asked
    if (asked.artifact is None and asked.database is None) or asked.place is not None:
        return answer
    there = {name: one for name, one in answer.places.items() if one.reason is not Reason.NOT_FOUND}
    if not there:
        return answer
    absent = tuple(one.error or name for name, one in answer.places.items() if name not in there)
    warnings = absent if asked.database is not None else ()
    return answer.model_copy(update={"places": there, "warnings": answer.warnings + warnings})
