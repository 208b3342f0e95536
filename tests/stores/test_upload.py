"""The parts of a file that a resumed upload reads."""

import os
from pathlib import Path

import pytest

from backup_agent.core.artifacts.parts import cut, part_size
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.stores.part_body import PartBody
from backup_agent.stores.s3.digests import base64_of
from backup_agent.stores.s3.upload import Upload
from tests.stores.files import KEY

SIZE = 9_000 * 16 * 1024**2
"""Size of a file with as many parts as an upload may have: 140 GiB. The file is sparse."""


def test_parts_that_the_store_lists_with_checksums_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = cut(SIZE, part_size(SIZE))
    digests = tuple(f"{part.number:064x}" for part in parts)
    (tmp_path / "source").touch()
    os.truncate(tmp_path / "source", SIZE)
    file = ArtifactFile(name="source", size=SIZE, sha256="0" * 64, part_size=part_size(SIZE), parts=digests)
    read: list[int] = []

    def noted(body: PartBody, _size: int = -1) -> memoryview:
        read.append(body._part.number)
        return memoryview(b"")

    monkeypatch.setattr(PartBody, "read", noted)
    listed = [
        {"PartNumber": part.number, "Size": part.size, "ETag": '"x"', "ChecksumSHA256": base64_of(digest)}
        for part, digest in zip(parts, digests, strict=True)
    ]
    listed[4_711]["ChecksumSHA256"] = base64_of("f" * 64)

    upload = Upload(KEY, tmp_path / "source", -1, file)

    assert [part["PartNumber"] for part in listed if not upload.has_sent(part)] == [4_712]
    assert read == []
