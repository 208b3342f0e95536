import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from backup_agent.core.artifacts.records import Header
from backup_agent.core.capabilities import Capabilities, Version
from backup_agent.core.neo4j.command import Launch, Memory
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.neo4j_admin.inspection import inspect, table
from backup_agent.neo4j_admin.program import AdminProgram

# Outputs from Neo4j's manual: of 5.26, and of 2025.09 with both newer columns.
OLD = """\
Picked up JAVA_TOOL_OPTIONS: -Dx=y
|                                              FILE | DATABASE |                          DATABASE ID |          TIME (UTC) |  FULL | COMPRESSED | LOWEST TX | HIGHEST TX |
|  file:///backups/neo4j-2024-10-07T16-05-37.backup |    neo4j | 7dcb1d0c-4374-4476-b8ae-d3c3f124683f | 2024-10-07T16:05:37 |  true |       true |         1 |          3 |
| file:///backups/london-2024-10-07T16-04-05.backup |   london | d4dae73c-dfef-4d28-88cd-fe6cc88ddca1 | 2024-10-07T16:04:05 | false |       true |         6 |          6 |
"""
NEW = """\
|                                                 FILE | DATABASE |                          DATABASE ID |                TIME | FULL | COMPRESSED | LOWEST TX | HIGHEST TX | STORE ID HASH | RECOVERED |
| file:///mnt/backups/neo4j-2025-09-10T08-14-56.backup |    neo4j | 4e98fab8-6ae6-46cc-84c0-61ee8a8db60a | 2025-09-10T08:14:56 | true |       true |         1 |          3 |    -116350002 |     false |
"""


def ask(folder: Path, output: str, name: str, code: int = 0) -> Header:
    (folder / "output").write_text(output)
    program = folder / "neo4j-admin"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/output\nexit {code}\n')
    program.chmod(0o755)
    return inspect(
        folder / name,
        "BZV9",
        AdminProgram(Launch.SCRIPT, str(program)),
        Capabilities.of(Version(5, 26, 31)),
        Memory(None, None),
        env={"PATH": "/usr/bin:/bin"},
        cancel=threading.Event(),
    )


def test_the_row_of_the_artifact_becomes_its_header(tmp_path: Path) -> None:
    header = ask(tmp_path, OLD, "london-2024-10-07T16-04-05.backup")

    assert header == Header(
        magic="BZV9",
        database="london",
        database_id=UUID("d4dae73c-dfef-4d28-88cd-fe6cc88ddca1"),
        store_id="",
        taken=datetime(2024, 10, 7, 16, 4, 5, tzinfo=UTC),
        lowest=6,
        highest=6,
        full=False,
        compressed=True,
        recovered=False,
    )
    assert (tmp_path / "asked").read_text().startswith("backup inspect --empty --show-metadata /")


def test_newer_columns_are_found_by_name(tmp_path: Path) -> None:
    header = ask(tmp_path, NEW, "neo4j-2025-09-10T08-14-56.backup")

    assert (header.full, header.recovered, header.highest) == (True, False, 3)


@pytest.mark.parametrize(
    ("output", "name", "code", "text"),
    [
        (
            "Failed to list archive files\n",
            "x.backup",
            1,
            "neo4j-admin cannot read it either\nFailed to list archive files",
        ),
        (OLD, "other.backup", 0, "neo4j-admin cannot read it either"),
        ("| FILE |\n| file:///x.backup |\n", "x.backup", 0, "table cannot be read: KeyError"),
        (NEW.replace("true", "maybe"), "neo4j-2025-09-10T08-14-56.backup", 0, "expected true or false"),
    ],
    ids=["refused", "not listed", "names only", "nonsense"],
)
def test_an_artifact_that_inspect_does_not_list_is_a_bad_artifact(
    tmp_path: Path, output: str, name: str, code: int, text: str
) -> None:
    with pytest.raises(PermanentError, match=text) as refused:
        ask(tmp_path, output, name, code)

    assert refused.value.failure.reason is Reason.BAD_ARTIFACT


def test_a_line_that_is_not_a_row_of_the_table_is_skipped() -> None:
    assert list(table(["| A | B |", "| 1 | 2 |", "| 1 |", "| 3 | 4 |"])) == [{"A": "1", "B": "2"}, {"A": "3", "B": "4"}]
