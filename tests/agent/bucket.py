"""A live agent's destination in the real S3 server: its settings and its objects."""

from pathlib import Path
from typing import Any

from tests.components.seaweedfs import BUCKET, SeaweedFS

WARNED = ("succeeded_with_warnings", "copies_owed")
"""State and reason of a backup whose copy could not be made yet."""


def destination(seaweedfs: SeaweedFS, tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of a destination with a prefix of the test's own."""
    return {"type": "s3", **seaweedfs.place(tmp_path.name), **more}


def stored(seaweedfs: SeaweedFS, tmp_path: Path) -> dict[str, Any]:
    """Return the keys below the agent's prefix in the bucket with their times, without the agent's own hidden objects."""
    place = f"{tmp_path.name}/demo/"
    found = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix=place).get("Contents", [])
    written = {one["Key"].removeprefix(place): one["LastModified"] for one in found}
    return {key: when for key, when in written.items() if not key.startswith((".", "audit/")) and key != "owner.json"}


def content(seaweedfs: SeaweedFS, tmp_path: Path, key: str) -> bytes:
    """Return the content of the object under a key."""
    place = f"{tmp_path.name}/demo/{key}"
    return bytes(seaweedfs.client().get_object(Bucket=BUCKET, Key=place)["Body"].read())
