"""A live agent's destination in the real S3 server: its settings, and what is stored there."""

from pathlib import Path
from typing import Any

from tests.components.seaweedfs import BUCKET, SeaweedFS

WARNED = ("succeeded_with_warnings", "copies_owed")
"""State and reason of a backup whose copy could not be made yet."""


def destination(seaweedfs: SeaweedFS, tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of a destination whose prefix is the test's own."""
    return {"type": "s3", **seaweedfs.place(tmp_path.name), **more}


def stored(seaweedfs: SeaweedFS, tmp_path: Path) -> dict[str, Any]:
    """Return the keys below the agent's prefix in the bucket, its own ones left out, and when each was written."""
    place = f"{tmp_path.name}/demo/"
    found = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix=place).get("Contents", [])
    written = {one["Key"].removeprefix(place): one["LastModified"] for one in found}
    return {key: when for key, when in written.items() if not key.startswith((".", "audit/")) and key != "owner.json"}


def content(seaweedfs: SeaweedFS, tmp_path: Path, key: str) -> bytes:
    """Return what is stored under a key."""
    place = f"{tmp_path.name}/demo/{key}"
    return bytes(seaweedfs.client().get_object(Bucket=BUCKET, Key=place)["Body"].read())
