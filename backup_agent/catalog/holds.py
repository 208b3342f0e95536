"""Holds: artifacts that stay whatever the policy says, until they are released.

A hold stands beside the artifact, on the volume at once. For a destination it is written down on the volume first, as
wanted, and put beside the artifact there by the next pass that has the store open; a plan counts what is wanted as
held, so that nothing is deleted in between.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.agent_folder import keys_below, place_folder
from backup_agent.catalog.copy_notes import CopyNotes
from backup_agent.catalog.journal import Journal
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.reasons import PermanentError, Reason

RELEASED = b"released\n"


class WantedHolds:
    """What is wanted at one destination: holds to put there, and holds to take away."""

    def __init__(self, root: Path, destination: str, identity: str) -> None:
        """Nothing is made on disk before the first wish."""
        self._folder = place_folder(root, "holds", destination, identity)

    def hold(self, hold: Hold) -> None:
        """Want a hold there."""
        self._write(hold.key, hold.to_json())

    def release(self, key: str) -> None:
        """Want no hold there."""
        self._write(key, RELEASED)

    def wants(self, key: str) -> bool:
        """Tell whether a hold is wanted there that may not stand there yet."""
        try:
            return durable.read(self._folder / key) != RELEASED
        except FileNotFoundError:
            return False

    def settle(self, key: str, done: Hold | None) -> None:
        """Note that it is as was wanted; what somebody has wanted since stays to be done."""
        path = self._folder / key
        with suppress(FileNotFoundError):
            if _wish(durable.read(path)) == done:
                path.unlink()

    def __iter__(self) -> Iterator[tuple[str, Hold | None]]:
        """Yield each artifact with the hold that is wanted, None where there shall be none."""
        for key in keys_below(self._folder):
            yield key, _wish(durable.read(self._folder / key))

    def _write(self, key: str, content: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, content)


def hold(root: Path, destinations: Mapping[str, str], wanted: Hold) -> dict[str, str]:
    """Hold an artifact wherever it stands; return place -> what became of it there.

    `destinations` are names and identities. Raise PermanentError, reason `not_found`, where no place has it, OSError
    where the volume does not take it.
    """
    became: dict[str, str] = {}
    if (root / record_key(wanted.key)).exists():
        mark = root / hold_key(wanted.key)
        held_before = mark.exists()
        if not held_before:
            durable.write(mark, wanted.to_json())
        # Who deletes writes his intent before he looks for a hold: one of us two sees the other.
        if Journal(root, "local", "local").deletes(wanted.key):
            mark.unlink(missing_ok=True)
            raise _going(wanted.key, "local")
        became["local"] = "was held before" if held_before else "held"
    for name, identity in destinations.items():
        if CopyNotes(root, name, identity).has(wanted.key):
            wishes = WantedHolds(root, name, identity)
            wishes.hold(wanted)
            if Journal(root, name, identity).deletes(wanted.key):
                wishes.settle(wanted.key, wanted)
                raise _going(wanted.key, name)
            became[name] = "held; the mark is put there by the next pass"
    if not became:
        raise _unknown(wanted.key)
    return became


def release(root: Path, destinations: Mapping[str, str], key: str) -> dict[str, str]:
    """Release an artifact wherever it stands; return place -> what became of it there. Raise as `hold` does."""
    became: dict[str, str] = {}
    mark = root / hold_key(key)
    if mark.exists():
        mark.unlink()
        durable.sync_folder(mark.parent)
        became["local"] = "released"
    elif (root / record_key(key)).exists():
        became["local"] = "was not held"
    for name, identity in destinations.items():
        if CopyNotes(root, name, identity).has(key):
            WantedHolds(root, name, identity).release(key)
            became[name] = "released; the mark is taken away by the next pass"
    if not became:
        raise _unknown(key)
    return became


def _wish(content: bytes) -> Hold | None:
    return None if content == RELEASED else Hold.from_json(content)


def _going(key: str, place: str) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: it is being deleted at {place} just now",
        "ask again when that is over; `backup-agent list` shows what stays",
    )


def _unknown(key: str) -> PermanentError:
    return PermanentError(
        Reason.NOT_FOUND,
        f"{key}: this volume knows of no artifact of that key, here or at a destination",
        "write the whole key, <set>/<database>/<artifact>, as `backup-agent list` shows it; "
        "what a lost volume had copied it knows after `backup-agent catalog rebuild --place NAME`",
    )
