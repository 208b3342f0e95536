"""The commands that restore a point, by version and place: golden files, and properties of every one."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_agent.cli.restore_lines import ChainSource, script, steps, version_of
from backup_agent.core.artifacts.records import ArtifactFile, Record
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import cypher_name, cypher_string
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.s3 import S3Destination
from backup_agent.stores.s3 import restore_access
from tests.cli.restores import CASES, GOLDEN, VOLUME, record, text
from tests.core.hostile import CANARY, NAMES, TEXTS
from tests.examples import examples
from tests.stores.files import describe


@pytest.mark.parametrize("name", CASES)
def test_the_steps_of_a_restore_match_the_golden_file(name: str) -> None:
    assert (GOLDEN / f"restore-{name}.txt").read_text() == text(name)


def test_every_golden_file_is_used() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"restore-{name}.txt" for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_cluster_is_never_overwritten_and_system_is_never_seeded(name: str) -> None:
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
def test_a_cluster_is_seeded_with_the_commands_of_its_version(version: str, recreate: str, language: str) -> None:
    known = Version.parse(version)
    assert known is not None
    bucket = ChainSource("offsite", "s3://backups/it's/demo")
    lines = [line for step in steps([record()], source=VOLUME, seed=bucket, version=known) for line in step.lines]
    uri = "'s3://backups/it\\'s/demo/default/orders/orders-2026-11-23T02-00-00.backup'"

    assert f"CALL {recreate}('orders', {{seedURI: {uri}}});" in lines
    prefix = "CYPHER 25 " if language == "{seedURI" else ""
    assert f"{prefix}CREATE DATABASE `orders` OPTIONS {language}: {uri}}};" in lines


@pytest.mark.parametrize(
    ("version", "folder"), [("5.26.31", False), ("2025.01.0", False), ("2025.02.0", True), ("2026.09.0", True)]
)
def test_a_folder_is_restored_only_by_versions_that_support_it(version: str, folder: bool) -> None:
    known = Version.parse(version)
    assert known is not None
    found = steps([record()], source=VOLUME, seed=None, version=known)

    assert any("--source-database='orders'" in line for step in found for line in step.lines) == folder


@pytest.mark.parametrize("links", [0, 1])
def test_a_chain_of_system_is_aggregated_and_a_single_full_is_not(links: int) -> None:
    chain = [record("system"), record("system", 3)][: links + 1]
    found = steps(chain, source=VOLUME, seed=None, version=Version(2026, 9))

    assert sum("neo4j-admin backup aggregate" in line for step in found for line in step.lines) == links


def test_a_version_newer_than_the_manual_gets_a_note() -> None:
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
def test_the_version_is_the_one_given_or_that_of_the_backup(
    taken: str | None, asked: str | None, expected: Version
) -> None:
    assert version_of(record(version=taken), asked) == expected


@pytest.mark.parametrize(
    ("taken", "asked", "said"),
    [
        pytest.param(None, None, "the record has no version", id="unknown"),
        pytest.param("unknown", None, "the record has no version", id="unreadable"),
        pytest.param("5.26.31", "latest", "is not a version", id="no version"),
        pytest.param("4.4.12", None, "known from 5.26", id="too old"),
        pytest.param(
            "2026.09.0", "5.26.31", "cannot restore the backup of a newer version", id="older than the backup"
        ),
    ],
)
def test_a_version_is_never_guessed(taken: str | None, asked: str | None, said: str) -> None:
    with pytest.raises(PermanentError, match=said) as refused:
        version_of(record(version=taken), asked)

    assert refused.value.failure.reason in (Reason.NOT_FOUND, Reason.INVALID_REQUEST)


@pytest.mark.parametrize("altered", [False, True])
def test_the_shell_lines_copy_the_chain_and_check_it(tmp_path: Path, altered: bool) -> None:
    """Run the lines before neo4j-admin: they copy the chain, and fail visibly if a file is not as recorded."""
    folder = tmp_path / 'it\'s "mine"' / "default" / "orders"
    folder.mkdir(parents=True)
    chain = []
    for one in (record(), record(hour=3)):
        path = folder / one.files[0].name
        path.write_bytes(one.key.encode() * 9)
        file = describe(path)
        chain.append(
            one.model_copy(update={"files": (ArtifactFile(name=file.name, size=file.size, sha256=file.sha256),)})
        )
    if altered:
        (folder / chain[0].files[0].name).write_bytes(b"other")
    source = ChainSource("local", str(tmp_path / 'it\'s "mine"'))
    _, copying, checking, *_ = steps(chain, source=source, seed=None, version=Version(5, 26))
    lines = "\n".join((*copying.lines, *checking.lines))
    ran = subprocess.run(["bash", "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ran.returncode != 0) == altered
    assert re.findall(r": (OK|FAILED)$", ran.stdout, re.MULTILINE) == ["FAILED" if altered else "OK", "OK"]


STUB = """#!/bin/sh
name=${0##*/}
{ printf '%s\\0' "$name" "$@"; } > "$CALLS/$$"
case $name in
mktemp) printf '%s\\n' "$MADE" ;;
sha256sum) while IFS= read -r line; do printf '%s\\0' "$line"; done > "$CALLS/sums" ;;
esac
"""
ANYWHERE = "a folder by a name of its own"
COMMANDS = ("aws", "cp", "mkdir", "mktemp", "sha256sum", "neo4j-admin", "cat", "cypher-shell", CANARY)


@pytest.fixture(scope="module", name="stubs")
def _stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of commands that only print their arguments."""
    folder = tmp_path_factory.mktemp("stubs")
    for name in COMMANDS:
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    return folder


def run(stubs: Path, lines: str) -> tuple[list[list[str]], list[str], str]:
    """Run lines in a shell that finds only the stubs. Return each call, the input of sha256sum, and stderr."""
    with tempfile.TemporaryDirectory(dir=stubs) as name:
        calls, made = Path(name, "calls"), Path(name, "made")
        calls.mkdir()
        made.mkdir()
        environment = {"PATH": str(stubs), "CALLS": str(calls), "MADE": str(made), "NEO4J_HOME": "/neo4j"}
        options: dict[str, Any] = {"capture_output": True, "cwd": name, "env": environment}
        parsed = subprocess.run(["/bin/sh", "-n"], check=False, input=lines.encode(), **options)
        assert (parsed.returncode, parsed.stderr) == (0, b"")
        ran = subprocess.run(["/bin/sh"], check=False, input=lines.encode(), **options)
        sums = [line for line in read_words(calls / "sums") if line] if (calls / "sums").exists() else []
        (calls / "sums").unlink(missing_ok=True)
        assert sorted(path.name for path in Path(name).iterdir()) == ["calls", "made"]
        called = [read_words(path) for path in calls.iterdir()]
    return [[word.replace(str(made), "FOLDER") for word in words] for words in called], sums, ran.stderr.decode()


def read_words(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\0")[:-1]


def hostile_record(hour: int, set_name: str, database: str, file: str) -> Record:
    """Return a record that no parser would accept: the lines must be safe even then."""
    one = record(hour=hour)
    files = (one.files[0].model_copy(update={"name": f"{file}{hour}"}),)
    key = f"{set_name}/{database}/{file}{hour}"
    return one.model_copy(update={"set": set_name, "database": database, "key": key, "files": files})


@pytest.mark.process
@given(
    names=st.tuples(TEXTS, TEXTS, NAMES, TEXTS),
    options=st.tuples(TEXTS, TEXTS, TEXTS),
    bucket=st.booleans(),
    version=st.sampled_from([Version(5, 26), Version(2025, 2), Version(2026, 9)]),
)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_shell_line_passes_values_unchanged_and_runs_nothing_else(
    stubs: Path, names: tuple[str, ...], options: tuple[str, ...], bucket: bool, version: Version
) -> None:
    root, set_name, database, file = names
    endpoint, region, ca_file = options
    # Bypass the checks of the settings: the lines must be safe with any value.
    given = S3Destination.model_construct(bucket=root, endpoint_url=endpoint, region=region, ca_file=ca_file)  # type: ignore[arg-type]  # any text
    access = restore_access(given, "demo")
    source = ChainSource(root, access.uri, access) if bucket else ChainSource(root, f"/{root}")
    chain = [hostile_record(2, set_name, database, file), hostile_record(3, set_name, database, file)]
    found = steps(chain, source=source, seed=source if bucket else None, version=version)
    shell = tuple(step for step in found if step.language == "sh")
    called, sums, errors = run(stubs, script(chain[-1], shell, source=source, version=version))

    copy = ["aws", "s3", "cp", "--endpoint-url", endpoint, "--region", region, "--ca-bundle", ca_file]
    at, temp = f"--from-path=FOLDER/{file}3", "--temp-path=FOLDER/temp"
    overwrite = ["--overwrite-destination=true", database]
    metadata = [
        ["cat", f"/neo4j/data/scripts/{database}/restore_metadata.cypher"],
        ["cypher-shell", "-d", "system", "--param", f"database => {cypher_string(database)}"],
    ]
    by_folder = ["--from-path=FOLDER", f"--source-database={database}", temp]
    expected = [
        ["mktemp", "-d", ANYWHERE],
        *([*(copy if bucket else ["cp", "--"]), f"{source.root}/{one.key}", "FOLDER/"] for one in chain),
        ["sha256sum", "-c"],
        *[["mkdir", "-p", "FOLDER/temp"]] * 2,
        ["neo4j-admin", "database", "restore", at, temp, *overwrite],
        *([["neo4j-admin", "database", "restore", *by_folder, *overwrite]] if version >= Version(2025, 2) else []),
        ["neo4j-admin", "database", "restore", at, temp, database],
        *metadata * 2,
    ]
    for words in called:
        if words[0] == "mktemp":
            words[-1] = ANYWHERE
    assert sorted(called) == sorted(expected)
    assert "\n".join(sums).split("\n") == [
        line for one in chain for line in f"{one.files[0].sha256}  {one.files[0].name}".split("\n")
    ]
    assert errors == ""


@given(database=NAMES, root=TEXTS, version=st.sampled_from([Version(5, 26), Version(2026, 9)]))
@settings(max_examples=examples(50))
def test_each_cypher_line_has_values_only_in_quotes(database: str, root: str, version: Version) -> None:
    chain = [hostile_record(2, "default", database, "file")]
    seed = ChainSource("offsite", f"s3://{root}")
    quoted = {cypher_name(database), cypher_string(database), cypher_string(f"s3://{root}/default/{database}/file2")}
    usual = steps([record()], source=VOLUME, seed=ChainSource("offsite", "s3://b"), version=version)
    frames = {
        re.sub(r"`[^`]*`|'(?:orders|s3://[^']*)'", "?", line)
        for step in usual
        if step.language == "cypher"
        for line in step.lines
    }
    for step in steps(chain, source=VOLUME, seed=seed, version=version):
        for line in step.lines if step.language == "cypher" else ():
            for value in sorted(quoted, key=len, reverse=True):
                line = line.replace(value, "?")  # noqa: PLW2901  leave the text around the values
            assert line in frames
