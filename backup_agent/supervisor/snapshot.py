"""Build the Status from the state of the agent's parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from backup_agent import __version__, durable
from backup_agent.catalog.owner_file import KEY as OWNER
from backup_agent.catalog.place import destinations as place_destinations
from backup_agent.catalog.space import VolumeSpace, space
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, lowered
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.escaping import first_few
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.protection.drilled import drill_faults
from backup_agent.core.protection.expected import Pair, Rules, is_rehearsal
from backup_agent.core.protection.health import CopyRule
from backup_agent.core.requests.answers import Answer
from backup_agent.core.requests.queue import Job
from backup_agent.core.requests.request import Action
from backup_agent.core.requests.schedules import expected_interval, next_runs
from backup_agent.core.status import (
    CheckStatus,
    DestinationStatus,
    DoctorStatus,
    ExcludedDatabase,
    OpenRequestStatus,
    Pause,
    RunStatus,
    ScheduleStatus,
    Status,
)
from backup_agent.settings.model import Settings
from backup_agent.settings.unprotected import unprotected
from backup_agent.stores.features import StoreCard
from backup_agent.supervisor.children.runs import Runs
from backup_agent.supervisor.parts import Parts
from backup_agent.supervisor.schedules.calendar import Calendar
from backup_agent.supervisor.status.health import health
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.doctor import Doctor
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

SHOWN_RUNS = 5
SHOWN_REQUESTS = 20

LONGEST_PAUSE = timedelta(days=1)
"""A longer pause is shown as a problem, since it may have been forgotten."""

CENTURY = timedelta(days=36500)


@dataclass
class LoopFacts:
    """The part of the state that the loop itself keeps."""

    started: datetime
    settings_loaded: datetime
    settings_fault: str | None = None
    settings_waiting: tuple[str, ...] = ()
    """Settings whose changed value takes effect only after a restart."""
    watch_fault: str | None = None
    """Why the requests folder is not watched."""
    ending: bool = False


def status(parts: Parts, loop: LoopFacts, now: datetime, monotonic: float) -> Status:
    """Return the Status at `now`; `monotonic` is the same moment in monotonic seconds."""
    volume = volume_space(parts.settings.storage.root)
    summaries = parts.volume_summaries.summaries if parts.volume_summaries.known else None
    rules = parts.settings.rules()
    drills = parts.drill_results.of({(one.set, one.database) for one in summaries or ()})
    waiting = parts.survey.unready(monotonic)
    unready = ([waiting] if waiting is not None else []) + (["the agent is ending"] if loop.ending else [])
    found = Status(
        owner=owner_id(parts.settings.storage.root),
        cluster=parts.settings.cluster,
        version=__version__,
        started=loop.started,
        now=now,
        ready=not unready,
        not_ready_because=tuple(unready),
        surveyed=parts.survey.done,
        survey_failure=parts.survey.failure,
        requests_watched=loop.watch_fault is None,
        requests_watch_fault=loop.watch_fault,
        queue_depth=len(parts.requests),
        queue_oldest=parts.requests.oldest(),
        requests=open_requests(parts.requests),
        running=running(parts.runs, parts.backup_queue.running, monotonic),
        databases=summaries,
        protection=parts.expected_backups.judge(now),
        attempts=parts.counters.attempts,
        drills=drills,
        drill_faults=drill_faults(drills, parts.expected_backups.began, rules, parts.settings.drill.level, now),
        missing_databases=tuple(name for name in parts.discovery.missing if not is_rehearsal(name, rules)),
        without_full=dict(parts.new_histories.without_full),
        excluded_databases=excluded(parts.discovery),
        destinations=destinations(parts.settings, parts.volume_summaries, parts.awaited, monotonic),
        schedules=schedules(parts.calendar, now),
        places={name: routine.status for name, routine in parts.maintenance_queue.places.items()},
        paused=pause(parts.orders, now),
        forgotten=tuple(parts.orders.forgotten),
        signing_fault=parts.counters.signing_fault,
        bolt_up=parts.discovery.up,
        bolt_reason=parts.discovery.failure.reason if parts.discovery.failure else None,
        bolt_error=parts.discovery.failure.error if parts.discovery.failure else None,
        databases_refused=parts.discovery.refused,
        bolt_notes=parts.discovery.notes,
        doctor=last_checks(parts.doctor),
        unprotected_connections=unprotected(parts.settings.neo4j),
        topology_seen=parts.discovery.last.seen if parts.discovery.last else None,
        clock_offset_seconds=parts.discovery.clock_offset,
        volume_free=volume.free if volume else None,
        volume_total=volume.size if volume else None,
        full_on=full_on(summaries, volume.free, now) if volume and summaries is not None else None,
        retention=retention_rules(parts.settings),
        settings_valid=loop.settings_fault is None,
        settings_fault=loop.settings_fault,
        settings_waiting=loop.settings_waiting,
        settings_loaded=loop.settings_loaded,
    )
    return found.model_copy(update={"health": health(found, copy_rules(rules, found), parts.problems)})


def owner_id(root: Path) -> str | None:
    """Return the id of the agent that owns the volume; None before its first use, or if it cannot be read."""
    try:
        return Owner.from_json(durable.read(root / OWNER)).id
    except (OSError, ValueError):
        return None


def copy_rules(rules: Rules, status: Status) -> dict[Pair, CopyRule]:
    """Return the rule for missing copies of each database that has an objective."""
    pairs = [(one.set, lowered(one.database)) for one in status.databases or ()]
    objectives = ((pair, rules.objective(pair)) for pair in pairs)
    return {pair: CopyRule(one.copies, one.grace) for pair, one in objectives if one is not None}


def last_checks(doctor: Doctor) -> DoctorStatus | None:
    """Return what the last run of the doctor found, or None before the first one has ended."""
    if doctor.findings is None or doctor.ended_at is None:
        return None
    checks = []
    for finding in doctor.findings:
        failing = doctor.failing.get((finding.check, finding.place))
        checks.append(
            CheckStatus(
                finding=finding,
                failed_runs=failing.runs if failing else 0,
                failed_since=failing.since if failing else None,
            )
        )
    return DoctorStatus(ended=doctor.ended_at, checks=tuple(checks))


def open_requests(requests: OpenRequests) -> tuple[OpenRequestStatus, ...]:
    """Return the status of the first open requests."""
    return tuple(map(_open_request, requests.first(SHOWN_REQUESTS)))


def _open_request(answer: Answer) -> OpenRequestStatus:
    request = answer.asked
    asked = request.artifact or first_few(request.asked or ()) or request.place
    return OpenRequestStatus(
        id=answer.id,
        action=answer.action,
        state=answer.state.value,
        asks=" ".join(filter(None, (asked, request.type.value if request.action is Action.BACKUP else None))),
        received=answer.received,
        position=answer.position,
        behind=answer.behind,
        stage=answer.stage,
        requested_by=request.requested_by,
        reason=request.reason,
    )


def running(runs: Runs, jobs: Mapping[str, Job], monotonic: float) -> tuple[RunStatus, ...]:
    """Return the runs under way; `jobs` maps each run that is a backup to its job."""
    statuses: list[RunStatus] = []
    for name, run in runs:
        job = jobs.get(name)
        statuses.append(
            RunStatus(
                run=name,
                kind=run.kind,
                request=job.request if job else None,
                set=job.set if job else None,
                database=job.database if job else None,
                destination=run.place,
                artifact=run.artifact,
                stage=run.stage,
                bytes=run.bytes,
                total=run.total,
                estimated_seconds=run.estimated_seconds,
                seconds=round(monotonic - run.started, 1),
                attempt=job.attempts + 1 if job else None,
            )
        )
    return tuple(statuses)


def destinations(
    settings: Settings, volume_summaries: VolumeSummaries, awaited: AwaitedCopies, monotonic: float
) -> dict[PlaceName, DestinationStatus]:
    """Return the status of each destination."""
    features = {
        place.name: StoreCard.read(place.store_card, place.identity).features for place in place_destinations(settings)
    }
    return {
        name: DestinationStatus(
            up=destination.up,
            owed=volume_summaries.owed(name),
            awaited=len(awaited.keys(name)),
            reason=destination.failure.reason if destination.failure else None,
            error=destination.failure.error if destination.failure else None,
            hint=destination.failure.advice if destination.failure else None,
            retry_seconds=round(destination.retry.wait(monotonic), 1) if destination.failure else None,
            features=features.get(name, {}),
        )
        for name, destination in volume_summaries.destinations.items()
    }


def schedules(calendar: Calendar, now: datetime) -> dict[str, ScheduleStatus]:
    """Return the status of each schedule, with its next runs."""
    statuses: dict[str, ScheduleStatus] = {}
    for name, timetable in calendar.timetables.items():
        schedule, counts = calendar.schedules[name], calendar.counts.get(name)
        statuses[name] = ScheduleStatus(
            cron=schedule.cron,
            timezone=schedule.timezone,
            type=schedule.type,
            suspended=timetable.suspend,
            next_runs=tuple(run.start for run in next_runs({name: timetable}, now, SHOWN_RUNS)),
            expected_interval_seconds=expected_interval(timetable.cron, now).total_seconds(),
            missed=counts.missed if counts else 0,
            coalesced=counts.coalesced if counts else 0,
        )
    return statuses


def excluded(discovery: Discovery) -> dict[DatabaseName, ExcludedDatabase] | None:
    """Return the databases that are not backed up because of their kind; None if no topology is known."""
    if discovery.last is None:
        return None
    return {
        name: ExcludedDatabase(kind=kind.value, why=kind.why)
        for name, kind in sorted(discovery.last.excluded().items())
    }


def volume_space(root: Path) -> VolumeSpace | None:
    """Return the space of the volume, or None if it cannot be read."""
    try:
        return space(root)
    except OSError:
        return None


def retention_rules(settings: Settings) -> dict[str, dict[str, int | str]]:
    """Return the rules that keep restore points at each place; a place without rules keeps everything."""
    unmanaged = {place.name for place in place_destinations(settings) if not place.deletes}
    return {
        place: {"unmanaged": "deletes: false"} if place in unmanaged else policy.rules if policy else {}
        for place, policy in settings.policies.items()
    }


def pause(orders: Orders, now: datetime) -> Pause | None:
    """Return the pause, or None if the agent is not paused."""
    order = orders.paused
    if order is None:
        return None
    return Pause(
        since=order.since,
        until=order.until,
        requested_by=order.requested_by,
        reason=order.reason,
        overlong=now - order.since > LONGEST_PAUSE,
    )


def full_on(summaries: tuple[DatabaseSummary, ...], free: int, now: datetime) -> datetime | None:
    """Return when the volume will be full if the artifacts keep growing at the same rate.

    The rate is the size of the kept artifacts divided by the time in which they were taken. Return None before the
    artifacts of some database span an hour, or if the volume will not be full within a century.
    """
    spans = [
        (summary.size, (max(summary.last_success.values()) - summary.first).total_seconds())
        for summary in summaries
        if summary.last_success
    ]
    rate = sum(size / seconds for size, seconds in spans if seconds >= timedelta(hours=1).total_seconds())
    if rate <= 0 or free / rate > CENTURY.total_seconds():
        return None
    return now + timedelta(seconds=free / rate)
