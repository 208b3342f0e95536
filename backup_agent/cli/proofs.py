"""What is known of one artifact at each place beyond its record: the copy, the last reading, the last drill, the hold.

The places of these facts are the volume and its notes. The evidence of a drill at a destination is read there, if the
agent has noted that it exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_agent.catalog import evidence, reported_drills
from backup_agent.catalog.contents import Contents
from backup_agent.catalog.holds import holds_at
from backup_agent.catalog.place import Place, destinations, place_of
from backup_agent.cli import printing
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import VOLUME, PlaceName
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.reasons import BackupError
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring


@dataclass(frozen=True)
class Proof:
    """What is known of an artifact at one place."""

    place: PlaceName
    stored: bool
    verified: datetime | None
    """When the artifact was last read there and undamaged; None if it was not read since it was stored."""
    drilled: Evidence | None
    drill_fault: str | None
    """Why the evidence cannot be read or is not believed, or None."""
    hold: Hold | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts for programs."""
        return {
            "stored": self.stored,
            "verified": self.verified and self.verified.isoformat(),
            "drilled": self.drilled
            and self.drilled.model_dump(mode="json", by_alias=True, exclude={"key", "signature"}),
            "drill_fault": self.drill_fault,
            "hold": self.hold and self.hold.model_dump(mode="json", exclude={"key", "schema_", "signature"}),
        }


def proofs(settings: Settings, folder: Contents, key: str) -> tuple[Proof, ...]:
    """Return what is known of an artifact at the volume, whose folder is given, and at each destination."""
    volume = place_of(VOLUME, settings)
    at_volume = _proof(volume, key, folder.holds.get(key), stored=True)
    return at_volume, *(_proof(one, key, None, stored=one.record_notes.has(key)) for one in destinations(settings))


def _proof(place: Place, key: str, mark: Hold | None, *, stored: bool) -> Proof:
    hold = holds_at(place, {key: mark} if mark is not None else {}).get(key)
    drilled, fault = _evidence(place, key) if stored else (None, None)
    return Proof(place.name, stored, place.reread_log.times.get(key) if stored else None, drilled, fault, hold)


def _evidence(place: Place, key: str) -> tuple[Evidence | None, str | None]:
    """Return the evidence of the last drill, or why it does not count. A destination is asked only if it is noted."""
    noted, reported = evidence.notes_at(place).of(key), reported_drills.notes_at(place).of(key)
    try:
        if reported is not None and (noted is None or noted.at < reported.at):
            return _reported(place, key, reported)
        if noted is None and not place.is_volume:
            return None, None
        found = evidence.read(place, Keyring(place.settings), key)
    except BackupError as error:
        return None, error.failure.error
    if found is None:
        return None, None
    one, origin = found
    return (None, "its evidence is not recognised") if origin is evidence.Origin.UNKNOWN else (one, None)


def _reported(place: Place, key: str, noted: evidence.NotedDrill) -> tuple[Evidence | None, str | None]:
    """Return the evidence of a drill of another process, or what it only claims."""
    if noted.claimed:
        return None, f"not proven: evidence of another process, which no trusted key has signed, says {noted}"
    found = reported_drills.read(place, Keyring(place.settings), key)
    if found is None or found.signer is None or found.evidence is None:
        return None, "its evidence was removed or replaced since the agent read it"
    return found.evidence, None


def facts(found: tuple[Proof, ...]) -> Iterator[tuple[str, str]]:
    """Yield the facts for people, by kind and then by place."""
    now = datetime.now(UTC)
    for one in found:
        if one.hold is not None:
            over = " (ended)" if one.hold.ended(now) else ""
            yield "held", f"{one.place}: {one.hold.in_words(printing.moment)}{over}"
    for one in found:
        if one.stored:
            yield "verified", f"{one.place}: {_verified(one, now)}"
    for one in found:
        if one.stored:
            yield "drilled", f"{one.place}: {_drilled(one, now)}"


def _verified(one: Proof, now: datetime) -> str:
    return "not since it was stored" if one.verified is None else _when(one.verified, now)


def _drilled(one: Proof, now: datetime) -> str:
    if one.drill_fault is not None:
        return one.drill_fault
    drill = one.drilled
    if drill is None:
        return "never"
    seconds = drill.restore_seconds
    took = "" if seconds is None else f", restored in {printing.age(timedelta(seconds=seconds))}"
    why = "" if drill.reason is None else f" ({drill.reason.value})"
    return f"{drill.level.value} {drill.outcome.value.replace('_', ' ')}{why} {_when(drill.since, now)}{took}"


def _when(moment: datetime, now: datetime) -> str:
    return f"{printing.moment(moment)} ({printing.age(now - moment)} ago)"
