"""Holds: a held artifact is kept, whatever retention says, until it is released or the hold ends.

A hold is a mark beside the artifact. On the volume the mark is written at once. For a destination, the hold is noted on
the volume as wanted, and the next pass writes the mark at the destination. The note stays until the hold is released or
has ended, and it counts whatever the mark says. The marks of ended holds are removed by the next pass.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.place import OWN, Place, all_places
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Settings


def hold(settings: Settings, wanted: Hold) -> dict[PlaceName, str]:
    """Hold an artifact at each place that has it. Return place -> outcome.

    An existing hold that ends at the same time or later is left unchanged. Raise PermanentError (`not_found`) if no
    place has the artifact, OSError if the volume cannot be written.
    """
    volume, *others = all_places(settings)
    became: dict[PlaceName, str] = {}
    if (volume.root / record_key(wanted.key)).exists():
        with _marks_locked(volume):
            became[volume.name] = _hold_on_volume(volume, wanted)
    for place in others:
        if place.record_notes.has(wanted.key):
            noted = place.wanted_holds.of(wanted.key)
            if noted is not None and noted.outlasts(wanted):
                became[place.name] = f"{noted} before"
                continue
            place.wanted_holds.hold(wanted)
            if place.journal.deletes(wanted.key):
                place.wanted_holds.settle(wanted.key, wanted)
                raise _going(wanted.key, place)
            became[place.name] = f"{wanted}; the next pass writes the mark there"
    if not became:
        raise _unknown(wanted.key)
    return became


def _hold_on_volume(volume: Place, wanted: Hold) -> str:
    """Write the mark on the volume. Return the outcome. Raise PermanentError if the artifact is being deleted."""
    path = volume.root / hold_key(wanted.key)
    try:
        before = _mark(path)
    except ValueError:
        return "held before, by a mark that cannot be read"
    if before is not None and before.outlasts(wanted):
        return f"{before} before"
    durable.write(path, wanted.to_json())
    # Look for a deletion after the mark is written: a deletion writes its intent first and then looks for a hold.
    # Therefore at least one of the two sees the other.
    if volume.journal.deletes(wanted.key):
        if before is None:
            _remove(path)
        else:
            durable.write(path, before.to_json())
        raise _going(wanted.key, volume)
    return str(wanted) if before is None else f"{wanted}; {before} before"


def release(settings: Settings, key: str) -> dict[PlaceName, str]:
    """Release an artifact at each place that has it. Return place -> outcome. Raises the same errors as `hold`."""
    volume, *others = all_places(settings)
    root = volume.root
    became: dict[PlaceName, str] = {}
    mark = root / hold_key(key)
    with _marks_locked(volume):
        if mark.exists():
            _remove(mark)
            became[volume.name] = "released"
        elif (root / record_key(key)).exists():
            became[volume.name] = "was not held"
    for place in others:
        if place.record_notes.has(key):
            place.wanted_holds.release(key)
            became[place.name] = "released; the next pass removes the mark there"
    if not became:
        raise _unknown(key)
    return became


def remove_ended(volume: Place, key: str, now: datetime) -> Hold | None:
    """Remove the mark of an artifact on the volume if its hold has ended. Return the hold if it continues, or None."""
    mark = volume.root / hold_key(key)
    with _marks_locked(volume):
        hold = _mark(mark)
        if hold is None or not hold.ended(now):
            return hold
        _remove(mark)
        return None


def holds_at(place: Place, marks: Mapping[str, Hold]) -> dict[str, Hold]:
    """Return the holds that count at a place, by the keys of their artifacts.

    `marks` are the recognised marks there (Contents.holds). At a destination the notes of wanted holds are added, and
    the end of a hold counts only if it is noted. An end that only the mark has is ignored: it may be that of an earlier
    hold, which another program has put back.
    """
    if place.is_volume:
        return dict(marks)
    return {key: hold.model_copy(update={"until": None}) for key, hold in marks.items()} | {
        key: noted for key, noted in place.wanted_holds if noted is not None
    }


def _mark(path: Path) -> Hold | None:
    """Return the hold of a mark on the volume, or None if there is no mark. Raise ValueError if it cannot be read."""
    with suppress(FileNotFoundError):
        return Hold.from_json(durable.read(path))
    return None


def _remove(mark: Path) -> None:
    mark.unlink()
    durable.sync_folder(mark.parent)


@contextmanager
def _marks_locked(volume: Place) -> Iterator[None]:
    """Lock the marks on the volume while one is read and changed: a pass must not remove a hold that was extended."""
    folder = volume.root / OWN
    folder.mkdir(exist_ok=True)
    with (folder / "holds.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _going(key: str, place: Place) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: it is being deleted at {place.name}",
        "`backup-agent list` shows the artifacts that are kept",
    )


def _unknown(key: str) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: no artifact of that key is known on the volume or at a destination",
        "give the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it; "
        "for copies of a lost volume run `backup-agent catalog rebuild --place NAME` first",
    )
