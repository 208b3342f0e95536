"""Planning retention at a place from its contents, for the pass and for the commands that show the plan."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from backup_agent.catalog.contents import STRANGE_HOLD, Contents, Unreadable
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.place import Place, destinations
from backup_agent.catalog.set_uses import uses
from backup_agent.core.artifacts.keys import artifact_of, database_key, database_of, hold_key, record_key
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Deletion, Outcome, PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.plan import Group, Plan, expired_sets, plan

SHOWN = 1000
"""Largest number of deletions in an answer."""

NAMED = 20
"""Largest number of unreadable records, and of unrecognised holds, in an answer."""


def with_lagging_records(found: Contents, place: Place) -> Contents:
    """Add the agent's own records that a lagging listing omits although it lists their data.

    They count as unreadable, so that nothing of their databases is deleted: otherwise a full could be deleted before a
    differential that continues it. Only records with a note are looked up, because there may be any number of files
    that are named like artifacts.
    """
    hidden = [
        Unreadable(record_key(artifact), artifact, "it exists, but is not listed yet")
        for artifact in sorted({artifact_of(one.key) for one in found.orphans} - found.entries.keys())
        if place.record_notes.has(artifact) and place.store.stat(record_key(artifact)) is not None
    ]
    return replace(found, unreadable=(*found.unreadable, *hidden)) if hidden else found


def apply_policy(task: PruneTask, found: Contents, place: Place, now: datetime) -> Plan:
    """Return the plan for the declared sets; at a destination, for all sets."""
    declared = place.settings.declared_sets
    return plan(
        [one for one in found.entries.values() if not place.is_volume or one.set in declared],
        place.policy,
        now,
        held=_held(found, place, now),
        damaged=_unsound(found),
        unreadable=_left_alone(found),
        owed=_owed(found, place, given_up=task.drop_owed),
        claimed=_protected(found, place, now),
        forgotten=task.forgotten if place.deletes else None,
        force=task.force,
    )


def expire_adhoc(found: Contents, place: Place, now: datetime) -> tuple[Plan, ...]:
    """Return the plan for the ad hoc sets, which exist on the volume only."""
    if not place.is_volume:
        return ()
    settings = place.settings
    return (
        expired_sets(
            found.entries.values(),
            settings.declared_sets,
            settings.limits.keep_adhoc,
            now,
            keep_safety=settings.restore.keep_safety,
            used=_used(found, place, now),
            held=_held(found, place, now),
            damaged=_unsound(found),
            unreadable=_left_alone(found),
            claimed=_protected(found, place, now),
        ),
    )


def as_result(planned: Iterable[Plan], place: Place, found: Contents) -> PlaceResult:
    """Return the plans as the result of a place. If a set is refused, the result is a failure."""
    plans = tuple(planned)
    deletions = [one for each in plans for one in each.delete]
    digest = hashlib.sha256("\n".join((place.name, *(one.key for one in deletions))).encode()).hexdigest()[:16]
    refused = [str(one) for each in plans for one in each.refused]
    warnings = [f"{key}: kept, because it was taken in the future" for each in plans for key in each.future]
    warnings += [f"{one}; {_consequence(one)}" for one in found.unreadable[:NAMED]]
    warnings += [f"{hold_key(key)}: {STRANGE_HOLD}" for key in found.strange_holds[:NAMED]]
    result = PlaceResult(
        outcome=Outcome.SUCCEEDED_WITH_WARNINGS if warnings else Outcome.SUCCEEDED,
        plan=digest,
        kept=sum(len(each.keep) for each in plans),
        deletions=tuple(Deletion(key=one.key, size=one.size, reason=str(one)) for one in deletions[:SHOWN]),
        more_deletions=len(deletions) - SHOWN if len(deletions) > SHOWN else None,
        warnings=tuple(warnings),
    )
    if not refused:
        return result
    hint = (
        "check the retention settings, and the plan by `backup-agent plan --force` with --place; "
        "`backup-agent prune --force --plan ID` deletes nevertheless"
    )
    return result.failed(Failure(Reason.INVALID_REQUEST, "\n".join(refused), hint))


def _consequence(one: Unreadable) -> str:
    """Return what retention keeps because of an unreadable record or mark."""
    if one.key == hold_key(one.artifact):
        return "its artifact is kept"
    return f"nothing of {database_key(*database_of(one.artifact))} is deleted"


def _held(found: Contents, place: Place, now: datetime) -> dict[str, datetime | None]:
    """Return artifact key -> end of its hold, or None, from marks and wanted holds. An unreadable mark has no end.

    An unrecognised hold ends `limits.keep_unrecognised` after its first sight, whatever it says itself.
    """
    keep = place.settings.limits.keep_unrecognised
    strange = {key: (place.strange_holds.first(key) or now) + keep for key in found.strange_holds}
    own = {key: hold.until for key, hold in holds_at(place, found.holds).items()}
    unreadable = [one.artifact for one in found.unreadable if one.key == hold_key(one.artifact)]
    return {**strange, **dict.fromkeys(unreadable), **own}


def _unsound(found: Contents) -> set[str]:
    return {*found.damages, *found.without_artifact}


def _left_alone(found: Contents) -> set[Group]:
    """Return the databases with unreadable records or damage marks. Nothing of them is deleted.

    An unreadable hold keeps only its own artifact, because any program that can write at the place can write one.
    """
    return {database_of(one.artifact) for one in found.unreadable if one.key != hold_key(one.artifact)}


def claimed(found: Contents) -> set[str]:
    """Return the keys of the recognised artifacts that are the parents of unrecognised records."""
    named = {one.entry.parent for one in found.unrecognised.values() if one.entry is not None}
    return {key for key in named if key is not None and key in found.entries}


def _protected(found: Contents, place: Place, now: datetime) -> set[str]:
    """Return the claimed artifacts that are kept because their unrecognised differentials may be accepted later.

    They are kept for `limits.keep_unrecognised` after the first claim. Further claims do not extend this time.
    """
    keep = place.settings.limits.keep_unrecognised
    return {key for key in claimed(found) if now - (place.claims.first(key) or now) < keep}


def _owed(found: Contents, place: Place, *, given_up: PlaceName | None = None) -> set[str]:
    """Return the keys of the artifacts whose copy is missing at a destination other than `given_up`."""
    if not place.is_volume:
        return set()
    kept = [one for one in found.entries.values() if one.set in place.settings.declared_sets]
    return {
        one.key
        for destination in destinations(place.settings)
        if destination.name != given_up
        for one in destination.record_notes.owed(kept)
    }


def _used(found: Contents, place: Place, now: datetime) -> dict[str, datetime]:
    """Return when each ad hoc set was last used, if that is known."""
    noted = uses(place.root, now)
    sets = {one.set for one in found.entries.values()} - place.settings.declared_sets
    return {name: at for name in sets if (at := noted.of(name)) is not None}
