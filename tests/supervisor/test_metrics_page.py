"""docs/metrics.md and docs/alerts.yaml agree with /metrics."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backup_agent.core.reasons import HINTS, Reason
from backup_agent.supervisor.status import metrics
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.status.model import Status
from tests.components.prometheus import promtool

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "metrics.md").read_text()
RULES = DOCS / "alerts.yaml"
ENDINGS = {"counter": "_total", "info": "_info"}
MOMENT = datetime(2026, 11, 23, tzinfo=UTC)
IDLE = Status(
    cluster="demo",
    version="0",
    started=MOMENT,
    now=MOMENT,
    ready=True,
    surveyed=True,
    queue_depth=0,
    retention={"local": {}},
    settings_valid=True,
    settings_loaded=MOMENT,
)


class Row(NamedTuple):
    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def shown() -> list[Row]:
    """Return every metric family, also those without samples."""
    counted = [one for one in vars(Metrics(lambda: IDLE)).values() if hasattr(one, "describe")]
    found = [(family, one._labelnames) for one in counted if hasattr(one, "_labelnames") for family in one.describe()]
    for part in (metrics._agent, metrics._databases, metrics._drills, metrics._schedules, metrics._storage):
        found += [(family, getattr(family, "_labelnames", ())) for family in part(IDLE)]
    return [
        Row(
            f"{family.name}{ENDINGS.get(family.type, '')}",
            family.type,
            ("version", "cluster") if family.type == "info" else tuple(labels),
            family.documentation,
        )
        for family, labels in found
    ]


def told() -> list[Row]:
    rows = re.findall(r"^\| `(neo4j_backup_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    return [Row(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]


def test_the_page_has_the_help_of_each_metric() -> None:
    assert sorted(told()) == sorted(shown())


def test_the_page_has_every_reason_and_its_hint() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", PAGE.partition("## Reasons")[2], re.MULTILINE))

    assert rows == {reason.value: HINTS[reason] for reason in Reason}


def test_alerts_name_metrics_and_labels_that_exist() -> None:
    known = {row.name: {*row.labels, "instance", "job"} for row in shown()}
    expressions = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

    assert expressions
    for expression in expressions:
        for name, matchers in re.findall(r"(neo4j_backup_\w+)(?:\{([^}]*)\})?", expression):
            assert name in known, expression
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= known[name], expression


@pytest.mark.components
def test_promtool_accepts_the_alerts_and_each_fires_as_expected() -> None:
    checked = promtool("check", "rules", "--lint-fatal", str(RULES))
    tried = promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yaml")))

    assert (checked.returncode, tried.returncode) == (0, 0), (
        checked.stdout + checked.stderr + tried.stdout + tried.stderr
    )


def test_every_alert_has_a_test() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    cases = yaml.safe_load(Path(__file__).with_name("alerts_test.yaml").read_text())["tests"]
    expected = [one["labels"] for test in cases for case in test["promql_expr_test"] for one in case["exp_samples"]]
    fired = set(re.findall(r'alertname="(\w+)"', " ".join(expected)))

    assert fired == {rule["alert"] for rule in rules}


def test_a_label_cannot_forge_a_line_of_the_page() -> None:
    hostile = 'x"} 1\nneo4j_backup_ready 0\n# \\'
    page = Metrics(lambda: IDLE.model_copy(update={"missing_databases": (hostile,)})).page()[1].decode()
    told = {
        sample.labels["database"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "neo4j_backup_database_missing"
    }

    assert told == {hostile: 1}
    assert "\nneo4j_backup_ready 0" not in page
