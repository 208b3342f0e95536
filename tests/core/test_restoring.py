"""The lines that restore a point, by version and place: whole texts, and what holds for all of them."""

import re
import subprocess
from pathlib import Path

import pytest

from backup_agent.core.capabilities import Version
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import ArtifactFile
from backup_agent.core.restoring import Source, script, steps, version_of
from tests.core.restores import CASES, GOLDEN, VOLUME, record, text
from tests.stores.files import describe


@pytest.mark.parametrize("name", CASES)
def test_a_restore_reads_as_it_stands_beside_this(name: str) -> None:
    assert (GOLDEN / f"restore-{name}.txt").read_text() == text(name)


def test_no_text_stands_there_for_nothing() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"restore-{name}.txt" for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_no_cluster_is_overwritten_and_system_is_never_seeded(name: str) -> None:
    standalone, _, cluster = text(name).partition("# Cluster")
    if CASES[name][1] == "system":
        assert not cluster
        assert "seedURI" not in standalone
    else:
        assert " --overwrite-destination=true" not in cluster
        assert " --overwrite-destination=true" in standalone


@pytest.mark.parametrize(
    ("version", "recreate", "language"),
    [
        ("5.26.31", "dbms.cluster.recreateDatabase", "{existingData: 'use', seedURI"),
        ("2025.03.0", "dbms.cluster.recreateDatabase", "{existingData: 'use', seedURI"),
        ("2025.04.0", "dbms.recreateDatabase", "{existingData: 'use', seedURI"),
        ("2025.05.0", "dbms.recreateDatabase", "{existingData: 'use', seedURI"),
        ("2025.06.0", "dbms.recreateDatabase", "{seedURI"),
        ("2026.09.0", "dbms.recreateDatabase", "{seedURI"),
    ],
)
def test_a_cluster_is_seeded_in_the_words_of_its_version(version: str, recreate: str, language: str) -> None:
    known = Version.parse(version)
    assert known is not None
    bucket = Source("offsite", "s3://backups/it's/demo")
    lines = [line for step in steps([record()], source=VOLUME, seed=bucket, version=known) for line in step.lines]
    uri = "'s3://backups/it\\'s/demo/default/orders/orders-2026-11-23T02-00-00.backup'"

    assert f"CALL {recreate}('orders', {{seedURI: {uri}}});" in lines
    prefix = "CYPHER 25 " if language == "{seedURI" else ""
    assert f"{prefix}CREATE DATABASE `orders` OPTIONS {language}: {uri}}};" in lines


@pytest.mark.parametrize(
    ("version", "folder"), [("5.26.31", False), ("2025.01.0", False), ("2025.02.0", True), ("2026.09.0", True)]
)
def test_a_folder_is_restored_by_versions_that_can(version: str, folder: bool) -> None:
    known = Version.parse(version)
    assert known is not None
    found = steps([record()], source=VOLUME, seed=None, version=known)

    assert any("--source-database=orders" in line for step in found for line in step.lines) == folder


@pytest.mark.parametrize("links", [0, 1])
def test_a_chain_of_system_becomes_one_full_and_a_full_stays_as_it_is(links: int) -> None:
    chain = [record("system"), record("system", 3, full=False)][: links + 1]
    found = steps(chain, source=VOLUME, seed=None, version=Version(2026, 9))

    assert sum("neo4j-admin backup aggregate" in line for step in found for line in step.lines) == links


def test_a_newer_version_than_these_lines_is_said_to_be_one() -> None:
    newer = Version(2027, 1)

    assert "# NOTE: 2027.01.0 is newer" in script(record(), (), source=VOLUME, version=newer)
    assert "# NOTE" not in script(record(), (), source=VOLUME, version=Version(2026, 9, 4))


@pytest.mark.parametrize(
    ("taken", "asked", "expected"),
    [
        ("5.26.31", None, Version(5, 26, 31)),
        ("5.26.31", "2026.09.0", Version(2026, 9)),
        (None, "5.26.1", Version(5, 26, 1)),
    ],
)
def test_the_version_is_that_of_who_restores_or_that_of_the_backup(
    taken: str | None, asked: str | None, expected: Version
) -> None:
    assert version_of(record(version=taken), asked) == expected


@pytest.mark.parametrize(
    ("taken", "asked", "said"),
    [
        pytest.param(None, None, "does not say which version", id="unknown"),
        pytest.param("unknown", None, "does not say which version", id="unreadable"),
        pytest.param("5.26.31", "latest", "is no version", id="no version"),
        pytest.param("4.4.12", None, "known from 5.26", id="too old"),
        pytest.param("2026.09.0", "5.26.31", "does not restore what a newer version took", id="older than the backup"),
    ],
)
def test_a_version_is_never_guessed(taken: str | None, asked: str | None, said: str) -> None:
    with pytest.raises(PermanentError, match=said) as refused:
        version_of(record(version=taken), asked)

    assert refused.value.failure.reason in (Reason.NOT_FOUND, Reason.INVALID_REQUEST)


@pytest.mark.parametrize("altered", [False, True])
def test_the_lines_for_a_shell_do_what_they_say(tmp_path: Path, altered: bool) -> None:
    """Those before neo4j-admin, run: they copy the chain, and do not go on silently where it is not as recorded."""
    folder = tmp_path / 'it\'s "mine"' / "default" / "orders"
    folder.mkdir(parents=True)
    chain = []
    for one in (record(), record(hour=3, full=False)):
        path = folder / one.files[0].name
        path.write_bytes(one.key.encode() * 9)
        file = describe(path)
        chain.append(
            one.model_copy(update={"files": (ArtifactFile(name=file.name, size=file.size, sha256=file.sha256),)})
        )
    if altered:
        (folder / chain[0].files[0].name).write_bytes(b"other")
    source = Source("local", str(tmp_path / 'it\'s "mine"'))
    _, copying, checking, *_ = steps(chain, source=source, seed=None, version=Version(5, 26))
    lines = "\n".join((*copying.lines, *checking.lines))
    ran = subprocess.run(["bash", "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ran.returncode != 0) == altered
    assert re.findall(r": (OK|FAILED)$", ran.stdout, re.MULTILINE) == ["FAILED" if altered else "OK", "OK"]
