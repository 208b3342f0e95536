"""Holds: artifacts that are kept whatever retention says, until they are released.

A hold is a mark beside the artifact. On the volume it is written at once. For a destination it is first noted on the
volume as wanted, and the next pass writes the mark there. A plan treats wanted holds as holds, so that nothing is
deleted in between.
"""

from backup_agent import durable
from backup_agent.catalog.place import Place, all_places
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Settings


def hold(settings: Settings, wanted: Hold) -> dict[PlaceName, str]:
    """Hold an artifact at each place that has it. Return place -> outcome.

    Raise PermanentError (`not_found`) if no place has it, OSError if the volume cannot be written.
    """
    volume, *others = all_places(settings)
    root = volume.root
    became: dict[PlaceName, str] = {}
    if (root / record_key(wanted.key)).exists():
        mark = root / hold_key(wanted.key)
        held_before = mark.exists()
        if not held_before:
            durable.write(mark, wanted.to_json())
        # A deletion writes its intent before it looks for a hold, so one of the two sees the other.
        if volume.journal.deletes(wanted.key):
            mark.unlink(missing_ok=True)
            raise _going(wanted.key, volume)
        became[volume.name] = "was held before" if held_before else "held"
    for place in others:
        if place.record_notes.has(wanted.key):
            place.wanted_holds.hold(wanted)
            if place.journal.deletes(wanted.key):
                place.wanted_holds.settle(wanted.key, wanted)
                raise _going(wanted.key, place)
            became[place.name] = "held; the next pass writes the mark there"
    if not became:
        raise _unknown(wanted.key)
    return became


def release(settings: Settings, key: str) -> dict[PlaceName, str]:
    """Release an artifact at each place that has it. Return place -> outcome. Raises the same errors as `hold`."""
    volume, *others = all_places(settings)
    root = volume.root
    became: dict[PlaceName, str] = {}
    mark = root / hold_key(key)
    if mark.exists():
        mark.unlink()
        durable.sync_folder(mark.parent)
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
