"""The health of the agent, from its Status, and since when each of its problems lasts."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from backup_agent.core.doctor.examination import ALERTING_RUNS
from backup_agent.core.protection.expected import Pair
from backup_agent.core.protection.health import (
    CopyRule,
    FailedCheck,
    Health,
    HealthFacts,
    HealthState,
    PlaceFacts,
    Problem,
    ProblemKind,
    assess,
    find_problems,
)
from backup_agent.core.status import Pause, PlaceStatus, Status


class ProblemMemory:
    """When each present problem was first seen. Problems that follow from records have a time of their own."""

    def __init__(self) -> None:
        """Begin without problems."""
        self._first: dict[tuple[ProblemKind, str], datetime] = {}

    def dated(self, problems: Iterable[Problem], now: datetime) -> tuple[Problem, ...]:
        """Return the problems, each with a time since which it lasts. Forget the problems that are over."""
        found = tuple(problems)
        self._first = {one.identity: min(self._first.get(one.identity, now), now) for one in found}
        return tuple(
            one if one.since is not None else one.model_copy(update={"since": self._first[one.identity]})
            for one in found
        )


def health(status: Status, copies: Mapping[Pair, CopyRule], memory: ProblemMemory) -> Health | None:
    """Return the health, or None if it is unknown: the volume was not surveyed, and nothing is known to be wrong."""
    problems = memory.dated(find_problems(facts_of(status, copies)), status.now)
    found = assess(problems, status.protection or (), status.now)
    return found if status.surveyed or found.state is not HealthState.OK else None


def facts_of(status: Status, copies: Mapping[Pair, CopyRule]) -> HealthFacts:
    """Return the facts of a Status from which the health follows."""
    pause = status.paused
    share = status.volume_free / status.volume_total if status.volume_total and status.volume_free is not None else 1.0
    return HealthFacts(
        now=status.now,
        not_ready=status.not_ready_because,
        protection=status.protection or (),
        attempts=status.attempts,
        summaries=status.databases or (),
        places={name: _place(place) for name, place in status.places.items()},
        copies=copies,
        without_full=status.without_full,
        drills=status.drill_faults,
        refused=status.databases_refused or 0,
        clock_offset=timedelta(seconds=status.clock_offset_seconds or 0.0),
        full_on=status.full_on,
        free_share=share,
        paused=None if pause is None else _paused(pause),
        paused_since=None if pause is None else pause.since,
        bolt=None if status.bolt_up in (None, True) else status.bolt_error or "no reason is known",
        settings=status.settings_fault,
        unsigned=status.signing_fault,
        checks=tuple(_failed_checks(status)),
    )


def _failed_checks(status: Status) -> Iterator[FailedCheck]:
    """Yield the checks of the doctor that have failed in several runs."""
    for one in status.doctor.checks if status.doctor else ():
        if one.failed_runs >= ALERTING_RUNS and one.failed_since is not None:
            name = " ".join(filter(None, (one.finding.check.value, one.finding.place)))
            yield FailedCheck(name, one.finding.found, one.failed_since)


def _paused(pause: Pause) -> str:
    by = f" by {pause.requested_by}" if pause.requested_by else ""
    why = f" ({pause.reason})" if pause.reason else ""
    end = "`resume`" if pause.until is None else f"{pause.until.astimezone(UTC):%Y-%m-%dT%H:%MZ} or `resume`"
    return f"requested{by}{why}; no work is started until {end}"


def _place(place: PlaceStatus) -> PlaceFacts:
    return PlaceFacts(
        damaged=place.damaged or (),
        unrestorable=place.unrestorable or (),
        unreadable=tuple(key for keys in (place.unreadable or {}).values() for key in keys),
        unrecognised=place.unrecognised or 0,
        blocked=None if place.blocked is None else ": ".join(filter(None, (place.blocked.value, place.error))),
    )
