"""The agent's own folder below a storage root, and in it one folder a place for each kind of note."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.keys import artifact_key

OWN = ".agent"


def place_folder(root: Path, kind: str, place: str, identity: str) -> Path:
    """Return the folder of one kind of note about one place.

    `identity` is where the place is (endpoint, bucket, prefix), in any stable form: what is noted about a bucket must
    not be believed of another that the same name is given later.
    """
    return root / OWN / kind / f"{place}@{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def keys_below(folder: Path) -> Iterator[str]:
    """Yield the keys of the notes in a folder, in their order; none if it does not exist. Raise OSError.

    A folder that cannot be read is an error: otherwise a part of the notes would be taken for all of them.
    """
    for set_name in durable.folders(folder):
        for database in durable.folders(folder / set_name):
            for name in durable.names(folder / set_name / database):
                if not name.startswith(durable.TEMPORARY):
                    yield artifact_key(set_name, database, name)
