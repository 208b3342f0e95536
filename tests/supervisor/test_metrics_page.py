"""docs/metrics.md agrees with /metrics."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backup_agent.core.protection.health import Health, HealthState, Problem, ProblemKind
from backup_agent.core.reasons import HINTS, Reason
from backup_agent.supervisor.status.metrics import Metrics
from tests.supervisor.shown_metrics import IDLE, Row, shown

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def documented() -> list[Row]:
    rows = re.findall(r"^\| `(neo4j_backup_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    return [Row(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]


def test_the_page_has_the_help_of_each_metric() -> None:
    assert sorted(documented()) == sorted(shown())


def test_the_page_has_every_reason_and_its_hint() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", PAGE.partition("## Reasons")[2], re.MULTILINE))

    assert rows == {reason.value: HINTS[reason] for reason in Reason}


def test_a_label_cannot_forge_a_line_of_the_page() -> None:
    hostile = 'x"} 1\nneo4j_backup_ready 0\n# \\'
    page = Metrics(lambda: IDLE.model_copy(update={"missing_databases": (hostile,)})).page()[1].decode()
    samples = {
        sample.labels["database"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "neo4j_backup_database_missing"
    }

    assert samples == {hostile: 1}
    assert "\nneo4j_backup_ready 0" not in page


def problem(kind: ProblemKind, level: HealthState) -> Problem:
    return Problem(kind=kind, level=level, subject="local", text="x", short="x")


@pytest.mark.parametrize(
    ("health", "line"),
    [
        pytest.param(None, None, id="unknown"),
        pytest.param((), "0.0", id="nothing is wrong"),
        pytest.param((ProblemKind.DAMAGED, HealthState.DEGRADED), "0.0", id="another place has a good copy"),
        pytest.param((ProblemKind.DAMAGED, HealthState.FAILING), "1.0", id="no place has a good copy"),
        pytest.param((ProblemKind.NOT_READY, HealthState.FAILING), "0.0", id="another problem"),
    ],
)
def test_damaged_everywhere_is_1_if_damage_makes_the_health_failing(
    health: tuple[ProblemKind, HealthState] | None, line: str | None
) -> None:
    problems = (problem(*health),) if health else ()
    found = None if health is None else Health(state=HealthState.OK, text="OK", problems=problems)
    page = Metrics(lambda: IDLE.model_copy(update={"health": found})).page()[1].decode()

    assert re.findall(r"^neo4j_backup_damaged_everywhere (.+)$", page, re.MULTILINE) == ([] if line is None else [line])
