"""The agent's own folder below a storage root, and in it one folder a place for each kind of note."""

import hashlib
from pathlib import Path

OWN = ".agent"


def place_folder(root: Path, kind: str, place: str, identity: str) -> Path:
    """Return the folder of one kind of note about one place.

    `identity` is where the place is (endpoint, bucket, prefix), in any stable form: what is noted about a bucket must
    not be believed of another that the same name is given later.
    """
    return root / OWN / kind / f"{place}@{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
