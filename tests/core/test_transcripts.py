"""transcripts.yaml: what neo4j-admin printed, and the reason of the failure that the agent derives from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.core.artifacts.names import artifact_name
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.neo4j.causes import TEXTS, VAGUE, explain
from backup_agent.core.neo4j.progress import Transcript
from backup_agent.core.neo4j.verdict import Completed, Condition, NewArtifact, judge
from backup_agent.core.reasons import HINTS, Reason
from tests.builders import ORDERS, a_header


@dataclass(frozen=True)
class Row:
    """One row of the table; the keys are explained there."""

    says: str
    seen: str
    lines: str
    asked: str = "FULL"
    end: str = "exit 1"
    left: str = "nothing"
    becomes: str = "failed"
    reason: str = ""
    hint: str = ""

    @property
    def completed(self) -> Completed:
        return Completed(int(self.end.removeprefix("exit ")), last_lines=tuple(self.lines.splitlines()))


ROWS = [Row(**row) for row in yaml.safe_load(Path(__file__).with_name("transcripts.yaml").read_text())]
NAME = artifact_name(ORDERS, a_header().taken)
LEFT: dict[str, tuple[NewArtifact, ...]] = {
    "nothing": (),
    "full": (NewArtifact(NAME, Condition.SOUND, a_header(database="orders")),),
    "damaged": (NewArtifact(NAME, Condition.DAMAGED, error="the zstd frame ends early"),),
}


def as_2026_prints(lines: tuple[str, ...]) -> tuple[str, ...]:
    return ("-" * 40, "Command Failed", "", *lines, "-" * 40, "Run with '--verbose' for a more detailed error message.")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.says) for row in ROWS])
def test_the_output_of_neo4j_admin_has_the_reason_of_the_table(row: Row) -> None:
    for lines in (row.completed.last_lines, as_2026_prints(row.completed.last_lines)):
        completed = Completed(row.completed.exit_code, last_lines=lines)

        judged = judge(completed, Transcript(), LEFT[row.left], database=ORDERS, asked=BackupType(row.asked))

        failure = judged.failure
        assert (judged.outcome.value, failure.reason.value if failure else "") == (row.becomes, row.reason)
        assert row.hint in (failure.advice if failure else "")


def test_no_hint_for_a_full_says_that_a_full_should_be_taken() -> None:
    for row in ROWS:
        judged = judge(row.completed, Transcript(), (), database=ORDERS, asked=BackupType.FULL)

        assert judged.failure is not None
        assert "take a FULL" not in judged.failure.advice, row.says


@pytest.mark.parametrize("text", [pytest.param(text, id=text) for text, _ in (*TEXTS, *VAGUE)])
def test_every_row_of_the_product_decides_some_transcript(text: Any) -> None:
    causes = {id(cause) for pattern, cause in (*TEXTS, *VAGUE) if pattern is text}

    assert any((found := explain(row.completed.last_lines)) and id(found.cause) in causes for row in ROWS)


def test_every_row_has_a_text_of_its_own_and_its_source() -> None:
    assert len({row.says for row in ROWS}) == len(ROWS)
    assert all(row.seen for row in ROWS)


def test_every_reason_has_a_hint() -> None:
    assert set(HINTS) == set(Reason)
