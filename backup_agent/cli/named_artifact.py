"""Finding an artifact at a place by its key, path or file name."""

from backup_agent.catalog.contents import Contents, by_database
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import RECORD_SUFFIX, is_key, name_of, record_key, split_key
from backup_agent.core.reasons import PermanentError, Reason


def artifact_at(place: Place, name: str) -> tuple[Contents, str] | None:
    """Return the contents of the artifact's folder, and the artifact's key; None if no such artifact is recorded.

    `name` is a key, a path on the volume or a file name, of the artifact or of its record. Artifacts with a recognised
    record are preferred. Raise PermanentError if the record cannot be read, or if several artifacts have the file name.
    """
    key = name.removeprefix(f"{place.root}/").removesuffix(RECORD_SUFFIX)
    sets = {split_key(key).set} if is_key(key) else None
    recognised: list[tuple[Contents, str]] = []
    unrecognised: list[tuple[Contents, str]] = []
    for part in by_database(place, sets=sets, writes=False, read_all=True):
        recognised += [(part, each) for each in part.entries if key in (each, name_of(each))]
        unrecognised += [(part, each) for each in part.unrecognised if key in (each, name_of(each))]
        for fault in part.unreadable:
            if fault.key == record_key(fault.artifact) and key in (fault.artifact, name_of(fault.artifact)):
                raise PermanentError(
                    Reason.UNREADABLE, f"the record cannot be read: {fault}", f"check the health of {place.name}"
                )
    found = recognised or unrecognised
    if len(found) > 1:
        keys = ", ".join(each for _, each in found)
        raise PermanentError(
            Reason.INVALID_REQUEST, f"{name}: several artifacts have that name: {keys}", "give the whole key"
        )
    return found[0] if found else None
