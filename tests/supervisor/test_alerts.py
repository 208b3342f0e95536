"""The alert rules: each fires, clears and has a runbook. A rendered PrometheusRule applies to one agent only."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_agent.core.protection.health import ProblemKind
from backup_agent.k8s.alerts import ALERTS, CRITICAL, groups, prometheus_rule
from tests.components.prometheus import promtool
from tests.k8s.specs import ALERTS as RULES
from tests.k8s.specs import ROOT, SMALLEST, parsed
from tests.supervisor.shown_metrics import shown

CASES = Path(__file__).with_name("alerts_test.yaml")
RUNBOOK = (ROOT / "docs" / "runbooks" / "alerts.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
QUESTIONS = ["What it means", "What to look at", "What to do", "When it may be ignored"]
TARGET = {"job", "instance", "namespace"}
"""Labels of a target in Kubernetes that Prometheus adds to its series, as far as the rules or the tests use them."""


def labels_of(series: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', series))


@cache
def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(CASES.read_text())["tests"]
    return found


def fired() -> Iterator[dict[str, str]]:
    """Yield the labels of each alert that the file of cases expects."""
    for one in cases():
        for case in one["promql_expr_test"]:
            yield from (labels_of(sample["labels"]) for sample in case["exp_samples"])


def check_rules(*arguments: str) -> None:
    completed = promtool(*arguments)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.mark.components
def test_promtool_accepts_the_alerts_and_each_fires_and_clears_as_expected() -> None:
    check_rules("check", "rules", "--lint-fatal", str(RULES))
    check_rules("test", "rules", str(CASES))


def test_every_alert_is_seen_to_fire() -> None:
    assert {one["alertname"] for one in fired()} == {alert.name for alert in ALERTS}


def test_every_case_ends_with_the_expectation_that_no_alert_fires() -> None:
    for one in cases():
        assert one["promql_expr_test"][-1]["exp_samples"] == [], one["name"]


def test_the_cases_show_metrics_with_the_labels_that_the_agent_gives_them() -> None:
    known = {row.name: {*row.labels} | TARGET for row in shown()}

    for one in cases():
        for series in one["input_series"]:
            name = series["series"].partition("{")[0]
            assert labels_of(series["series"]).keys() == known[name], series["series"]


def test_an_alert_names_metrics_and_labels_that_exist() -> None:
    known = {row.name: {*row.labels} | TARGET for row in shown()}
    for alert in ALERTS:
        for name, matchers in re.findall(r"(neo4j_backup_\w+)(?:\{([^}]*)\})?", alert.expression):
            assert name in known, alert.name
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= known[name], alert.name


def test_the_texts_of_an_alert_use_only_labels_that_the_firing_alert_has() -> None:
    for alert in ALERTS:
        named = set(re.findall(r"\{\{ \$labels\.(\w+)", alert.summary + alert.description))
        for one in fired():
            if one["alertname"] == alert.name:
                assert named <= one.keys(), alert.name


def test_an_alert_of_an_agent_has_its_cluster_and_namespace() -> None:
    for alert in ALERTS:
        for one in fired():
            # An agent that was never scraped has no series, so its alert has no labels of a target.
            if one["alertname"] == alert.name and one.keys() != {"alertname", "alertstate", "severity"}:
                assert {"cluster", "namespace"} <= one.keys(), alert.name


def test_an_alert_is_critical_in_three_cases_only() -> None:
    assert [alert.name for alert in ALERTS if alert.severity == CRITICAL] == [
        "Neo4jBackupAgentAbsent",
        "Neo4jBackupStale",
        "Neo4jBackupDamagedEverywhere",
    ]


def test_the_page_of_runbooks_has_a_section_for_each_alert_and_no_other() -> None:
    assert list(SECTIONS) == [alert.name for alert in ALERTS]


def test_a_runbook_answers_the_four_questions() -> None:
    for alert in ALERTS:
        assert re.findall(r"^\*\*(.+?)\.\*\*", SECTIONS[alert.name], re.MULTILINE) == QUESTIONS, alert.name


def test_the_page_of_health_names_a_runbook_for_each_problem_except_a_replaced_database() -> None:
    page = (ROOT / "docs" / "health.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+?) \|$", page, re.MULTILINE)
    named = {problem: re.findall(r"\[(\w+)\]\(runbooks/alerts\.md#(\w+)\)", cell) for problem, cell in rows}

    assert [problem for problem, alerts in named.items() if not alerts] == [ProblemKind.REPLACED]
    for name, anchor in itertools.chain.from_iterable(named.values()):
        assert name in SECTIONS
        assert anchor == name.lower()


def test_the_address_of_a_runbook_leads_to_its_section() -> None:
    for rule in groups("docs/runbooks")[0]["rules"]:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}, rule["alert"]


def test_the_page_says_which_alerts_are_critical() -> None:
    for alert in ALERTS:
        assert SECTIONS[alert.name].startswith("*critical*") == (alert.severity == CRITICAL), alert.name


def write(path: Path, content: Any) -> Path:
    """Write a file of rules or cases. JSON is YAML."""
    path.write_text(json.dumps(content))
    return path


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """Return a series of the agent of `demo`. Other labels replace those of that agent."""
    usual = {"job": "demo-backup", "instance": "10.0.0.1:8080", "namespace": "default"}
    inner = ", ".join(f'{key}="{value}"' for key, value in (usual | labels).items())
    return {"series": f"neo4j_backup_{name}{{{inner}}}", "values": values}


def expect(
    folder: Path, rules: Path, shown: Iterable[dict[str, str]], moment: str, queries: dict[str, Sequence[str]]
) -> None:
    """Let promtool evaluate the rules over the series every 5 minutes, then the queries. Every result must have the value 1."""
    case = {
        "interval": "5m",
        "input_series": list(shown),
        "promql_expr_test": [
            {"eval_time": moment, "expr": query, "exp_samples": [{"labels": one, "value": 1} for one in samples]}
            for query, samples in queries.items()
        ],
    }
    content = {"rule_files": [str(rules)], "evaluation_interval": "5m", "tests": [case]}
    check_rules("test", "rules", str(write(folder / "cases.json", content)))


def agents(values: str) -> Iterator[dict[str, str]]:
    """Yield three agents without Bolt: of another cluster, of another namespace, and of `demo` in `default`."""
    for labels in (
        {"cluster": "shop", "job": "shop-backup", "instance": "10.0.0.2:8080"},
        {"cluster": "demo", "namespace": "test", "instance": "10.0.0.3:8080"},
    ):
        yield series("build_info", "1x24", version="0", **labels)
        yield series("bolt_up", "0x24", **{key: value for key, value in labels.items() if key != "cluster"})
    yield series("build_info", values, cluster="demo", version="0")
    yield series("bolt_up", values.replace("1", "0", 1))


@pytest.mark.components
def test_a_rendered_rule_applies_only_to_the_agent_of_its_cluster_and_namespace(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules.json", prometheus_rule(parsed(SMALLEST))["spec"])

    def fires(shown: Iterable[dict[str, str]], *samples: str) -> None:
        query = 'sum without (instance, job) (ALERTS{alertstate="firing"})'
        expect(tmp_path, rules, shown, "110m", {query: samples})

    check_rules("check", "rules", "--lint-fatal", str(rules))
    of_demo = 'alertstate="firing", cluster="demo", namespace="default"'
    fires(agents("1x24"), f'{{alertname="Neo4jBackupBoltDown", {of_demo}, severity="warning"}}')
    fires(agents("_x24"), f'{{alertname="Neo4jBackupAgentAbsent", {of_demo}, severity="critical"}}')


DAY = 288
"""Samples of a day: one every 5 minutes."""
ORDERS_ALONE = {"set": "default", "database": "orders"}
ORDERS = {"cluster": "demo"} | ORDERS_ALONE
PILOT = ORDERS | {"database": "pilot"}


def quiet_time(days: int) -> Iterator[dict[str, str]]:
    """Yield the series of an agent while harmless things happen, one every `days` days.

    The agent is updated, its node is drained, its bucket does not answer for an hour, a backup fails and the next one
    succeeds, a database is created and dropped, and a drill does not fit.
    """

    def at(number: int, hour: int) -> int:
        return number * days * DAY + hour * 12

    update, drain, bucket, failure, created, dropped, drill = (at(number, 10) for number in range(1, 8))
    end = at(8, 0)
    first_backup = (created // DAY + 1) * DAY

    def deadline(sample: int) -> float:
        """Return the end of the next night with two hours of grace."""
        return ((sample // DAY + 1) * 24 + 2) * 3600

    def pilot(sample: int) -> str | None:
        if created <= sample < dropped:
            return "waiting" if sample < first_backup else "protected"
        return "missing" if dropped <= sample < dropped + 36 else None

    facts: list[tuple[str, dict[str, str], Callable[[int], float | None]]] = [
        ("ready", {}, lambda sample: 0 if sample in {update + 2, drain + 2} else 1),
        ("damaged_everywhere", {}, lambda _: 0),
        ("artifacts_damaged", {"place": "local"}, lambda _: 0),
        ("verify_oldest_timestamp_seconds", {"place": "local"}, lambda sample: (sample - 20 * DAY) * 300),
        ("copies_owed", {"destination": "offsite"}, lambda sample: 4 if bucket <= sample < bucket + 12 else 0),
        ("drill_overdue", ORDERS_ALONE, lambda sample: 1 if drill <= sample < drill + 100 else None),
        (
            "last_attempt_timestamp_seconds",
            ORDERS,
            lambda sample: max(failure if sample >= failure else 0, sample // DAY * DAY) * 300,
        ),
        (
            "last_failure_timestamp_seconds",
            ORDERS | {"reason": "timeout"},
            lambda sample: failure * 300 if failure <= sample < failure // DAY * DAY + DAY else None,
        ),
        ("age_seconds", ORDERS, lambda sample: sample % DAY * 300),
        ("deadline_timestamp_seconds", ORDERS, deadline),
        ("age_seconds", PILOT, lambda sample: sample % DAY * 300 if first_backup <= sample < dropped + 36 else None),
        ("deadline_timestamp_seconds", PILOT, lambda sample: deadline(sample) if created <= sample < dropped else None),
        ("database_missing", {"database": "pilot"}, lambda sample: 1 if pilot(sample) == "missing" else None),
        *(
            ("protection", PILOT | {"state": state}, lambda sample, state=state: 1 if pilot(sample) == state else None)
            for state in ("waiting", "protected", "missing")
        ),
    ]
    # Each pod has its own address. Between two pods the metrics are absent for ten minutes.
    pods = (("0", 0, update), ("1", update + 2, drain), ("1", drain + 2, end))
    for number, (version, begin, stop) in enumerate(pods, 1):
        pod = {"instance": f"10.0.0.{number}:8080"}
        yield series(
            "build_info",
            f"{f'_x{begin} ' if begin else ''}1x{stop - begin - 1}",
            cluster="demo",
            version=version,
            **pod,
        )
        for name, labels, fact in facts:
            values = ["_"] * begin + [_value(fact(sample)) for sample in range(begin, stop)]
            yield series(name, " ".join(values), **labels, **pod)


def _value(value: float | None) -> str:
    return "_" if value is None else str(value)


@pytest.mark.components
@pytest.mark.parametrize("days", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_in_a_quiet_time_nothing_critical_fires(tmp_path: Path, days: int) -> None:
    warnings = ("Neo4jBackupDatabaseMissing", "Neo4jBackupDrillOverdue", "Neo4jBackupFailed")
    fired_once = "group by (alertname) (last_over_time(ALERTS{alertstate='firing'}[40d]))"
    critical = "last_over_time(ALERTS{alertstate='firing', severity='critical'}[40d])"

    expect(
        tmp_path,
        RULES,
        quiet_time(days),
        f"{8 * days}d",
        {critical: (), fired_once: [f'{{alertname="{name}"}}' for name in warnings]},
    )
