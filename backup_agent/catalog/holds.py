"""Holds: artifacts that stay whatever the policy says, until they are released.

A hold stands beside the artifact, on the volume at once. For a destination it is written down on the volume first, as
wanted, and put beside the artifact there by the next pass that has the store open; a plan counts what is wanted as
held, so that nothing is deleted in between.
"""

from backup_agent import durable
from backup_agent.catalog.place import Place, all_places
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Settings


def hold(settings: Settings, wanted: Hold) -> dict[PlaceName, str]:
    """Hold an artifact at each place that has it; return place -> what became of it there.

    Raise PermanentError, reason `not_found`, if no place has it; OSError if the volume refuses a note.
    """
    volume, *others = all_places(settings)
    root = volume.root
    became: dict[PlaceName, str] = {}
    if (root / record_key(wanted.key)).exists():
        mark = root / hold_key(wanted.key)
        held_before = mark.exists()
        if not held_before:
            durable.write(mark, wanted.to_json())
        # Who deletes writes his intent before he looks for a hold: one of us two sees the other.
        if volume.journal.deletes(wanted.key):
            mark.unlink(missing_ok=True)
            raise _going(wanted.key, volume)
        became[volume.name] = "was held before" if held_before else "held"
    for place in others:
        if place.copy_notes.has(wanted.key):
            place.wanted_holds.hold(wanted)
            if place.journal.deletes(wanted.key):
                place.wanted_holds.settle(wanted.key, wanted)
                raise _going(wanted.key, place)
            became[place.name] = "held; the mark is put there by the next pass"
    if not became:
        raise _unknown(wanted.key)
    return became


def release(settings: Settings, key: str) -> dict[PlaceName, str]:
    """Release an artifact at each place that has it; return place -> what became of it there. Raise as `hold` does."""
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
        if place.copy_notes.has(key):
            place.wanted_holds.release(key)
            became[place.name] = "released; the mark is taken away by the next pass"
    if not became:
        raise _unknown(key)
    return became


def _going(key: str, place: Place) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: it is being deleted at {place.name} just now",
        "ask again when that is over; `backup-agent list` shows what stays",
    )


def _unknown(key: str) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: this volume knows of no artifact of that key, here or at a destination",
        "write the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it; "
        "what a lost volume had copied it knows after `backup-agent catalog rebuild --place NAME`",
    )
