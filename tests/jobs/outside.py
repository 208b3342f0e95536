"""Checks the files at a place without any code of the agent.

The checks use only what docs/design.md promises of a record: `<set>/<database>/<artifact>.json` beside the artifact, its
files with size and SHA-256, its parent, its range. The journal on the volume names the files that a crash may leave.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes]

RECORD = re.compile(r"[^/.][^/]*/[^/]+/[^/]+\.backup\.json")
LARGEST = 64 * 2**20
"""Larger files are listed without their content."""

ARTIFACT = re.compile(r"[^/.][^/]*/[^/]+/[^/]+\.backup(\.\d+)?")


def of_folder(root: Path) -> dict[str, bytes]:
    """Return the files below a storage root, without the agent's hidden folders."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.stat().st_size <= LARGEST else b""
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def of_bucket(
    client: Any, bucket: str, prefix: str, known: dict[str, bytes], *, hidden: bool = False
) -> dict[str, bytes]:
    """Return the objects below a prefix, with the agent's hidden ones and its audit log if `hidden`. `known` caches content by ETag."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = {}
    for one in (one for page in pages for one in page.get("Contents", [])):
        key = one["Key"].removeprefix(f"{prefix}/")
        if not hidden and any(part == "audit" or part.startswith(".") for part in key.split("/")):
            continue
        if one["ETag"] not in known:
            large = one["Size"] > LARGEST
            known[one["ETag"]] = b"" if large else client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        found[key] = known[one["ETag"]]
    return found


def records(files: Files) -> dict[str, dict[str, Any]]:
    """Return the records by the keys of their artifacts."""
    return {key.removesuffix(".json"): json.loads(content) for key, content in files.items() if RECORD.fullmatch(key)}


def begun(root: Path, place: str) -> set[str]:
    """Return the files that the journal of a place names: those that the agent was publishing or deleting."""
    journals = root.glob(f".agent/journal/{place}@*/*/*/*")
    return {
        file
        for path in journals
        if not path.name.startswith(".")
        for file in json.loads(path.read_text() or "{}").get("files", [])
    }


def faults(files: Files, *, ours: Collection[str], strangers: Files, damaged: Collection[str] = ()) -> Iterator[str]:
    """Yield each violation of an invariant.

    `ours` are files that need no record, `strangers` files of other programs, `damaged` artifacts known to be damaged.
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
                yield f"{key}: {name} is recorded and missing"
            elif (len(content), hashlib.sha256(content).hexdigest()) != (file["size"], file["sha256"]):
                yield f"{key}: {name} is not as recorded"
        if record["type"] == "DIFF" and not has_parent(record, found):
            yield f"{key}: a differential without its parent"
    for key in files:
        if ARTIFACT.fullmatch(key) and key not in named and key not in ours and key not in strangers:
            yield f"{key}: a file without a record"
    for key, content in strangers.items():
        if files.get(key) != content:
            yield f"{key}: a file of another program was changed"


def has_parent(record: dict[str, Any], found: Mapping[str, dict[str, Any]]) -> bool:
    """Return whether the parent of a differential is recorded: by its key, or else by its range."""
    if record["parent"] is not None:
        return record["parent"] in found
    header = record["header"]
    same = (one["header"] for key, one in found.items() if key.rpartition("/")[0] == record["key"].rpartition("/")[0])
    return any(one["database_id"] == header["database_id"] and one["highest"] == header["lowest"] - 1 for one in same)


def broken(files: Files, kept: Collection[str]) -> Iterator[str]:
    """Yield each point of `kept` that cannot be restored, because a part of its chain is missing or damaged."""
    found = records(files)
    wrong = {fault.partition(":")[0] for fault in faults(files, ours=set(files), strangers={})}
    for point in kept:
        at: str | None = point
        while at is not None:
            if at not in found or at in wrong:
                yield f"{point}: {at} is missing or damaged"
                break
            at = found[at]["parent"]
