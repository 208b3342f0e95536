"""The child process that holds or releases the artifacts that a request selects at one place.

It writes only to the volume: marks of artifacts there, and notes of the holds that are wanted at destinations.
"""

import threading
from collections.abc import Iterator

from backup_agent import processes
from backup_agent.catalog import holds, volume_records
from backup_agent.catalog.contents import Contents, by_database
from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import database_of, hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.neo4j.selection import matches
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import Outcome, PlaceResult
from backup_agent.core.requests.events import PassReport
from backup_agent.core.requests.request import Action
from backup_agent.core.requests.tasks import HoldTask
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.event_writer import EventWriter, begin

SHOWN = 1000
"""Largest number of keys in an answer."""

NAMED = 100
"""Largest number of failures in an answer."""


def change_holds(task: HoldTask, place: Place, trail: AuditTrail) -> PlaceResult:
    """Select artifacts at one place, and hold or release them at all places. Return their keys and the failures.

    Raise PermanentError (`not_found`) if none is selected, BackupError if the place cannot be read.
    """
    changed: list[str] = []
    failures: list[str] = []
    noted = {key for key, hold in place.wanted_holds if hold is not None} if not place.is_volume else set()
    for contents in by_database(place, writes=False):
        failures += _unreadable(contents, task)
        held = (
            noted
            | contents.holds.keys()
            | {*contents.strange_holds}
            | {one.artifact for one in contents.unreadable if one.key == hold_key(one.artifact)}
        )
        before = len(changed)
        for entry in contents.entries.values():
            if not _selected(entry, task) or (task.action is Action.RELEASE and entry.key not in held):
                continue
            try:
                if task.labels.items() <= _labels(place, entry.key).items():
                    _change(task, place, entry.key)
                    changed.append(entry.key)
            except ValueError as error:
                failures.append(f"{entry.key}: its labels are not known: {error}")
            except PermanentError as error:
                failures.append(error.failure.error)
        trail.tell(*(_line(task, key) for key in changed[before:]))
    if not changed and not failures:
        kind = "held artifact" if task.action is Action.RELEASE else "artifact"
        raise PermanentError(Reason.NOT_FOUND, f"{place.name}: no {kind} matches", "`backup-agent list` shows them")
    more = [f"{len(failures) - NAMED} more failed"] if len(failures) > NAMED else []
    return PlaceResult(
        outcome=Outcome.SUCCEEDED_WITH_WARNINGS if failures else Outcome.SUCCEEDED,
        marked=len(changed),
        marked_keys=tuple(changed[:SHOWN]),
        warnings=(*failures[:NAMED], *more),
    )


def _selected(entry: Entry, task: HoldTask) -> bool:
    """Return whether the selection includes the database and the time of an artifact."""
    return (
        (task.database is None or matches(entry.database.lower(), task.database))
        and (task.taken_from is None or entry.taken >= task.taken_from)
        and (task.taken_to is None or entry.taken <= task.taken_to)
    )


def _labels(place: Place, key: str) -> dict[str, str]:
    """Return the labels of an artifact. Raise ValueError if its record cannot be read."""
    seen = place.store.look(record_key(key), LARGEST)
    return {} if seen is None else volume_records.parse(seen.content, key).labels


def _change(task: HoldTask, place: Place, key: str) -> None:
    """Hold or release an artifact. Raise PermanentError if it is being deleted."""
    if task.action is Action.RELEASE:
        holds.release(place.settings, key)
        return
    wanted = Hold(
        key=key,
        since=task.since,
        reason=task.reason,
        requested_by=task.requested_by,
        request=task.request,
        until=task.until,
    )
    holds.hold(place.settings, wanted)


def _line(task: HoldTask, key: str) -> AuditLine:
    kind = AuditKind.HELD if task.action is Action.HOLD else AuditKind.RELEASED
    facts = {"until": task.until.isoformat()} if task.until else {}
    return AuditLine(kind=kind, key=key, request=task.request, claimed=task.requested_by, why=task.reason, facts=facts)


def _unreadable(contents: Contents, task: HoldTask) -> Iterator[str]:
    """Yield the unreadable records of the selected databases. Whether they are selected is unknown."""
    for one in contents.unreadable:
        if one.key == record_key(one.artifact) and (
            task.database is None or matches(database_of(one.artifact)[1].lower(), task.database)
        ):
            yield str(one)


def perform(task: HoldTask, place: Place, writer: EventWriter, _cancel: threading.Event) -> None:
    """Carry out a task and report its result as the last event. SIGTERM ends the process at once."""
    try:
        result = change_holds(task, place, AuditTrail(place, writer))
    except BackupError as error:
        result = PlaceResult().failed(error.failure)
    except OSError as error:
        text = f"{error.filename or task.place}: {error.strerror}"
        result = PlaceResult().failed(Failure(Reason.STORAGE_UNREACHABLE, text))
    writer.tell(PassReport(result=result))


def main() -> None:
    """Run as a child process for one task: the task on stdin, events on stdout."""
    task, settings, writer = begin(HoldTask)
    perform(task, place_of(task.place, settings), writer, threading.Event())


if __name__ == "__main__":
    main()
    processes.leave()
