"""The dashboard: its metrics and labels exist, Grafana can read it, and a rendered one shows one agent."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from backup_agent.k8s.alerts import ALERTS
from backup_agent.k8s.dashboard import COLUMNS, dashboard, dashboard_of, expression
from backup_agent.k8s.dashboard_panels import SECTIONS, PanelKind, PanelQuery
from backup_agent.k8s.names import Object
from tests.k8s.specs import SMALLEST, parsed, rendered, spec
from tests.supervisor.shown_metrics import shown

TARGET = {"namespace", "job", "instance"}
"""Labels of a target that Prometheus adds to its series."""

PANELS = [panel for section in SECTIONS for panel in section.panels]
QUERIES = [(panel, query) for panel in PANELS for query in panel.queries]

TEXT, NUMBER, FLAG = str, int, bool
LINK = {
    "title": TEXT, "url": TEXT, "type": TEXT, "icon": TEXT, "tooltip": TEXT, "tags": [TEXT], "asDropdown": FLAG,
    "includeVars": FLAG, "keepTime": FLAG, "targetBlank": FLAG,
}  # fmt: skip
PLACE = {"h": NUMBER, "w": NUMBER, "x": NUMBER, "y": NUMBER}
SOURCE = {"type": TEXT, "uid": TEXT}
QUERY = {
    "refId": TEXT, "datasource": SOURCE, "editorMode": TEXT, "expr": TEXT, "format": TEXT, "instant": FLAG,
    "range": FLAG, "legendFormat": TEXT,
}  # fmt: skip
PANEL = {"id": NUMBER, "type": TEXT, "title": TEXT, "description": TEXT, "gridPos": PLACE, "options": dict}
SHOWING = PANEL | {
    "datasource": SOURCE,
    "links": [LINK],
    "targets": [QUERY],
    "fieldConfig": {"defaults": dict, "overrides": list},
}
SHAPES = {
    "row": {"id": NUMBER, "type": TEXT, "title": TEXT, "collapsed": FLAG, "gridPos": PLACE, "panels": list},
    "text": PANEL,
    "stat": SHOWING,
    "timeseries": SHOWING,
    "table": SHOWING | {"transformations": [{"id": TEXT, "options": dict}]},
}
"""The keys of each kind of panel, and their types.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""
WHOLE = {
    "annotations": {"list": list}, "description": TEXT, "editable": FLAG, "graphTooltip": NUMBER, "links": [LINK],
    "panels": list, "refresh": TEXT, "schemaVersion": NUMBER, "tags": [TEXT], "templating": {"list": list},
    "time": {"from": TEXT, "to": TEXT}, "timezone": TEXT, "title": TEXT, "uid": TEXT,
}  # fmt: skip


def has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and value.keys() == shape.keys()
            and all(has_shape(value[key], shape[key]) for key in shape)
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(item, shape[0]) for item in value)
    return isinstance(value, shape)


by_model = pytest.mark.parametrize(
    "model", [dashboard("docs/runbooks"), dashboard_of(spec("everything"))], ids=["all agents", "one agent"]
)


def families() -> dict[str, set[str]]:
    """Return the labels of each metric family."""
    return {row.name: {*row.labels} | TARGET for row in shown()}


def named(query: PanelQuery) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that a query names, with the labels by which it selects."""
    for name, matchers in re.findall(r"(neo4j_backup_\w+)(?:\{([^}]*)\})?", expression(query)):
        yield re.sub(r"_(sum|count)$", "", name), set(re.findall(r"(\w+)\s*=~?", matchers))


def test_a_query_names_metrics_and_labels_that_exist() -> None:
    known = families()
    for panel, query in QUERIES:
        for name, labels in named(query):
            assert labels <= known[name], panel.title


def test_a_query_groups_by_labels_that_its_series_have() -> None:
    labels_of = families()
    for panel, query in QUERIES:
        known = {"namespace", "cluster", "alertname", "severity"}.union(*(labels_of[name] for name, _ in named(query)))
        for labels in re.findall(r" by \(([^)]*)\)", expression(query)):
            assert set(labels.split(", ")) <= known, panel.title


def test_a_legend_names_only_labels_by_which_the_query_groups() -> None:
    for panel, query in QUERIES:
        grouped = set(re.findall(r"\w+", query.across.partition("(")[2]))
        assert set(re.findall(r"\{\{(\w+)\}\}", query.name)) <= grouped, panel.title


def test_each_alert_has_a_panel_that_links_to_its_runbook() -> None:
    linked = set(itertools.chain.from_iterable(panel.alerts for panel in PANELS))
    urls = {link["url"] for panel in dashboard("x")["panels"] for link in panel.get("links", ())}

    assert linked == {alert.name for alert in ALERTS}
    assert urls == {f"${{runbooks:raw}}/alerts.md#{alert.name.lower()}" for alert in ALERTS}


@by_model
def test_the_json_has_the_shape_that_grafana_documents(model: Object) -> None:
    assert has_shape(model, WHOLE)
    for panel in model["panels"]:
        assert has_shape(panel, SHAPES[panel["type"]]), panel["title"]


@by_model
def test_panels_lie_in_the_grid_and_none_over_another(model: Object) -> None:
    taken: set[tuple[int, int]] = set()

    for panel in model["panels"]:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert place["x"] + place["w"] <= COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_and_queries_have_unique_ids() -> None:
    panels = dashboard("x")["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel.title for panel in PANELS}) == len(PANELS)
    for panel in panels:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(references)) == len(references)


def test_a_query_over_time_is_drawn_and_any_other_shows_the_present() -> None:
    for panel in dashboard("x")["panels"]:
        for target in panel.get("targets", ()):
            assert target["range"] == (panel["type"] == PanelKind.SERIES)
            assert target["instant"] != target["range"]


@by_model
def test_the_dashboard_defines_exactly_the_variables_that_it_uses(model: Object) -> None:
    text = json.dumps({**model, "templating": None})
    used = set(re.findall(r"\$\{?([a-z]+)", text))

    assert used == {variable["name"] for variable in model["templating"]["list"]}


def test_a_column_without_a_heading_is_hidden() -> None:
    (databases,) = (panel for panel in dashboard("x")["panels"] if panel["title"] == "Databases")
    (organize,) = (one["options"] for one in databases["transformations"] if one["id"] == "organize")

    assert set(organize["excludeByName"]) == {"Time", "namespace", "Value #A"}
    assert organize["renameByName"]["Value #B"] == "Age"


def config_map(text: str) -> Object:
    return rendered(parsed(text))["ConfigMap/demo-backup-dashboard"]


MONITORED = SMALLEST + "monitoring: {dashboard: true}\n"


def test_a_dashboard_is_rendered_only_if_the_spec_says_so() -> None:
    assert "ConfigMap/demo-backup-dashboard" not in rendered(parsed(SMALLEST))
    assert "ConfigMap/demo-backup-dashboard" in rendered(parsed(MONITORED))


def test_the_sidecar_finds_the_dashboard_by_its_usual_label_or_by_those_of_the_spec() -> None:
    others = rendered(spec("everything"))["ConfigMap/shop-backup-dashboard"]["metadata"]["labels"]

    assert config_map(MONITORED)["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert others["dashboards"] == "neo4j"
    assert "grafana_dashboard" not in others


def test_a_rendered_dashboard_is_that_of_its_cluster_and_namespace() -> None:
    ((name, content),) = config_map(MONITORED)["data"].items()
    model = json.loads(content)
    constants = {one["name"]: one["query"] for one in model["templating"]["list"] if one["type"] == "constant"}

    assert name == "neo4j-backup-default-demo.json"
    assert model == dashboard_of(parsed(MONITORED))
    assert constants == {"namespace": "default", "cluster": "demo", "runbooks": "docs/runbooks"}


def test_dashboards_of_other_clusters_have_other_ids_and_files() -> None:
    models, files = [dashboard("x")], set[str]()
    for text in (MONITORED, MONITORED + "namespace: other\n", MONITORED.replace("cluster: demo", "cluster: demo-2")):
        models.append(dashboard_of(parsed(text)))
        (one,) = (found for name, found in rendered(parsed(text)).items() if name.endswith("-dashboard"))
        files |= one["data"].keys()

    assert len({model["uid"] for model in models}) == 4
    assert max(len(model["uid"]) for model in models) <= 40
    assert len(files) == 3
