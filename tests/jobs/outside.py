"""What stands at a place, judged from outside: from the files alone, by nothing of the agent's.

Knows of a record only what docs/design.md promises of it: `<set>/<database>/<artifact>.json` beside the artifact, its
files with size and SHA-256, its parent, its range. What a crash has left says the journal on the volume.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes]

RECORD = re.compile(r"[^/.][^/]*/[^/]+/[^/]+\.backup\.json")
ARTIFACT = re.compile(r"[^/.][^/]*/[^/]+/[^/]+\.backup(\.\d+)?")


def of_folder(root: Path) -> dict[str, bytes]:
    """Return what stands below a storage root, the agent's own hidden folders left out."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def of_bucket(
    client: Any, bucket: str, prefix: str, known: dict[str, bytes], *, hidden: bool = False
) -> dict[str, bytes]:
    """Return what stands below a prefix; the agent's own hidden objects only if asked. `known` is what was read by ETag."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = {}
    for one in (one for page in pages for one in page.get("Contents", [])):
        key = one["Key"].removeprefix(f"{prefix}/")
        if not hidden and any(part.startswith(".") for part in key.split("/")):
            continue
        if one["ETag"] not in known:
            known[one["ETag"]] = client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        found[key] = known[one["ETag"]]
    return found


def records(files: Files) -> dict[str, dict[str, Any]]:
    """Return the records, by the key of their artifact."""
    return {key.removesuffix(".json"): json.loads(content) for key, content in files.items() if RECORD.fullmatch(key)}


def begun(root: Path, place: str) -> set[str]:
    """Return the files that the journal of a place names: what the agent itself has begun to put or to delete."""
    journals = root.glob(f".agent/journal/{place}@*/*/*/*")
    return {
        file
        for path in journals
        if not path.name.startswith(".")
        for file in json.loads(path.read_text() or "{}").get("files", [])
    }


def faults(files: Files, *, ours: Collection[str], strangers: Files, damaged: Collection[str] = ()) -> Iterator[str]:
    """Yield what breaks an invariant.

    `ours` are files that no record has to name, `damaged` artifacts that are known to be.
    """
    found = records(files)
    named = set()
    for key, record in found.items():
        folder = key.rpartition("/")[0]
        for file in record["files"]:
            name = f"{folder}/{file['name']}"
            named.add(name)
            content = files.get(name)
            if key in damaged:
                continue
            if content is None:
                yield f"{key}: recorded, and {name} is not there"
            elif (len(content), hashlib.sha256(content).hexdigest()) != (file["size"], file["sha256"]):
                yield f"{key}: {name} is not what was recorded"
        if record["type"] == "DIFF" and not has_parent(record, found):
            yield f"{key}: a differential without what it continues"
    for key in files:
        if ARTIFACT.fullmatch(key) and key not in named and key not in ours and key not in strangers:
            yield f"{key}: nobody knows whose it is"
    for key, content in strangers.items():
        if files.get(key) != content:
            yield f"{key}: a stranger's, and not as it was"


def has_parent(record: dict[str, Any], found: Mapping[str, dict[str, Any]]) -> bool:
    """Tell whether what a differential continues is recorded: what its record names, else what ends where it begins."""
    if record["parent"] is not None:
        return record["parent"] in found
    header = record["header"]
    same = (one["header"] for key, one in found.items() if key.rpartition("/")[0] == record["key"].rpartition("/")[0])
    return any(one["database_id"] == header["database_id"] and one["highest"] == header["lowest"] - 1 for one in same)


def broken(files: Files, kept: Collection[str]) -> Iterator[str]:
    """Yield which points that must stay cannot be restored: their chain, back to its full, recorded and whole."""
    found = records(files)
    wrong = {fault.partition(":")[0] for fault in faults(files, ours=set(files), strangers={})}
    for point in kept:
        at: str | None = point
        while at is not None:
            if at not in found or at in wrong:
                yield f"{point}: {at} is not there, or not whole"
                break
            at = found[at]["parent"]
