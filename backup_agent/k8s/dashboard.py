"""The Grafana dashboard, and the ConfigMap with it.

`docs/dashboard.json` is made from the same table (`dashboard_panels`). The JSON is Grafana's classic model, which
Grafana 12 and later read (https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from backup_agent.k8s.alerts import BUILD, OF_CLUSTER, RUNBOOK
from backup_agent.k8s.alone import Spec
from backup_agent.k8s.dashboard_panels import (
    PLAIN,
    SECTIONS,
    DashboardPanel,
    PanelKind,
    PanelQuery,
    Steps,
    Texts,
)
from backup_agent.k8s.names import BACKUP, Object, backup_name, metadata

SCHEMA_VERSION = 42
"""Version of the classic model: jsonschema/dashboard.jsonschema.json in github.com/grafana/grafana-foundation-sdk."""

COLUMNS = 24
"""Width of Grafana's grid."""

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

AGENTS = f'{BUILD}{{cluster=~"$cluster", namespace=~"$namespace"}}'
"""The agents that the variables select."""

RUNBOOKS_PAGE = f"${{runbooks:raw}}/{RUNBOOK}"

HIDDEN_COLUMNS = ("Time", "namespace")

SERIES_OPTIONS: Object = {
    "legend": {"calcs": ["lastNotNull"], "displayMode": "table", "placement": "bottom", "showLegend": True},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
STAT_OPTIONS: Object = {
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "orientation": "auto",
    "percentChangeColorMode": "standard",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "showPercentChange": False,
    "textMode": "auto",
    "wideLayout": True,
}
TABLE_OPTIONS: Object = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
COLUMN: Object = {"align": "auto", "cellOptions": {"type": "color-text"}, "inspect": False}


def dashboard(runbooks: str) -> Object:
    """Return the dashboard for all agents that a Prometheus scrapes.

    `runbooks` is where the folder docs/runbooks is published.
    """
    namespace = _queried("namespace", "Namespace", f"label_values({BUILD}, namespace)")
    cluster = _queried("cluster", "Cluster", f'label_values({BUILD}{{namespace=~"$namespace"}}, cluster)')
    page = {"type": "textbox", "name": "runbooks", "label": "Runbooks at", "hide": 0}
    chosen = {"current": {"text": runbooks, "value": runbooks}, "query": runbooks}
    return _model("neo4j-backup", "Neo4j backups", (namespace, cluster, {**page, **chosen}))


def dashboard_of(spec: Spec) -> Object:
    """Return the dashboard of this spec's agent alone."""
    number = hashlib.sha256(f"{spec.namespace}/{spec.cluster}".encode()).hexdigest()[:16]
    chosen = {"namespace": spec.namespace, "cluster": spec.cluster, "runbooks": spec.monitoring.runbooks}
    fixed = (_constant(name, value) for name, value in chosen.items())
    return _model(f"neo4j-backup-{number}", f"Neo4j backups of {spec.cluster} in {spec.namespace}", fixed)


def config_map(spec: Spec) -> Object:
    """Return the ConfigMap with the dashboard of this spec's agent, for the sidecar of Grafana.

    The sidecar writes the dashboards of all ConfigMaps to one folder, so the name of the file is unique.
    """
    found = metadata(spec, f"{backup_name(spec)}-dashboard", BACKUP)
    content = json.dumps(dashboard_of(spec), separators=(",", ":"), sort_keys=True) + "\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**found, "labels": {**spec.monitoring.dashboard_labels, **found["labels"]}},
        "data": {f"neo4j-backup-{spec.namespace}-{spec.cluster}.json": content},
    }


def expression(query: PanelQuery) -> str:
    """Return the query in PromQL, with the variables `$namespace`, `$cluster` and `$database`."""
    if query.selects_agents:
        return query.expression.format(agents=AGENTS)
    series = OF_CLUSTER.format(expression=query.expression, build=AGENTS)
    found = f"{query.across} (\n{_indented(series)}\n)"
    return f"{found}\n  or\n{query.across} ({AGENTS}) * 0" if query.or_zero else found


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def _model(uid: str, title: str, chosen: Iterable[Object]) -> Object:
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    database = _queried(
        "database",
        "Database",
        'label_values(neo4j_backup_protection{cluster=~"$cluster", namespace=~"$namespace"}, database)',
    )
    return {
        "annotations": {"list": []},
        "description": "The backups of Neo4j clusters, as the backup agent sees them.",
        "editable": True,
        "graphTooltip": 1,
        "links": [_link("Runbooks", RUNBOOKS_PAGE)],
        "panels": list(_panels()),
        "refresh": "1m",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["backup", "neo4j"],
        "templating": {"list": [source, *chosen, database]},
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "browser",
        "title": title,
        "uid": uid,
    }


def _queried(name: str, label: str, query: str) -> Object:
    """Return a variable whose values Prometheus has. All values are selected at first."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": query,
        # A regular expression that matches an absent label too: without Kubernetes no target has a namespace.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        # On each change of the time range, and in alphabetical order.
        "refresh": 2,
        "sort": 1,
    }


def _constant(name: str, value: str) -> Object:
    return {"type": "constant", "name": name, "query": value, "current": {"text": value, "value": value}, "hide": 2}


def _panels() -> Iterator[Object]:
    """Yield a row for each section, and its panels from left to right."""
    identity, top = 0, 0
    for section in SECTIONS:
        identity += 1
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        yield {
            "id": identity,
            "type": "row",
            "title": section.question,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        top += 1
        left, bottom = 0, top
        for panel in section.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, bottom
            identity += 1
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            yield {"id": identity, "gridPos": place, **_panel(panel)}
            left += panel.width
            bottom = max(bottom, top + panel.height)
        top = bottom


def _panel(panel: DashboardPanel) -> Object:
    shown: Object = {"type": panel.kind.value, "title": panel.title, "description": panel.description}
    if panel.kind is PanelKind.TEXT:
        return {**shown, "options": {"mode": "markdown", "content": panel.markdown}}
    shown |= {
        "datasource": DATA_SOURCE,
        "links": [_link(f"Runbook: {alert}", f"{RUNBOOKS_PAGE}#{alert.lower()}") for alert in panel.alerts],
        "targets": [_target(panel, query, number) for number, query in enumerate(panel.queries)],
    }
    defaults = {"unit": panel.unit.value, "mappings": _mappings(panel.texts), "thresholds": _thresholds(panel.steps)}
    match panel.kind:
        case PanelKind.STAT:
            return {**shown, "options": STAT_OPTIONS, "fieldConfig": {"defaults": defaults, "overrides": []}}
        case PanelKind.SERIES:
            lines = {**defaults, "color": {"mode": "palette-classic"}, "custom": _lines(panel)}
            return {**shown, "options": SERIES_OPTIONS, "fieldConfig": {"defaults": lines, "overrides": []}}
        case PanelKind.TABLE:
            return {**shown, **_table(panel, defaults)}


def _lines(panel: DashboardPanel) -> Object:
    return {
        "drawStyle": "line",
        "fillOpacity": 20 if panel.stacked else 0,
        "lineWidth": 1,
        "showPoints": "auto",
        "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
        "thresholdsStyle": {"mode": "line" if len(panel.steps) > 1 else "off"},
    }


def _table(panel: DashboardPanel, defaults: Object) -> Object:
    """Return the parts of a table: one row for each combination of labels, the values of all queries in it."""
    values = {_value_column(panel, number): query for number, query in enumerate(panel.queries)}
    hidden = [*HIDDEN_COLUMNS, *(column for column, query in values.items() if not query.name)]
    named = {column: query.name for column, query in values.items() if query.name}
    columns = [_column(query) for query in values.values() if query.name]
    plain = {**defaults, "custom": COLUMN, "thresholds": _thresholds(((None, PLAIN),))}
    return {
        "options": TABLE_OPTIONS,
        "fieldConfig": {"defaults": plain, "overrides": [one for one in columns if one["properties"]]},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": dict.fromkeys(hidden, True), "renameByName": named}},
        ],
    }


def _value_column(panel: DashboardPanel, number: int) -> str:
    """Return the name that Grafana gives the values of a query in a table."""
    return "Value" if len(panel.queries) == 1 else f"Value #{_reference(number)}"


def _column(query: PanelQuery) -> Object:
    properties: list[Object] = []
    if query.unit is not None:
        properties.append({"id": "unit", "value": query.unit.value})
    if query.texts:
        properties.append({"id": "mappings", "value": _mappings(query.texts)})
    return {"matcher": {"id": "byName", "options": query.name}, "properties": properties}


def _target(panel: DashboardPanel, query: PanelQuery, number: int) -> Object:
    over_time = panel.kind is PanelKind.SERIES
    return {
        "refId": _reference(number),
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "expr": expression(query),
        "format": "table" if panel.kind is PanelKind.TABLE else "time_series",
        "instant": not over_time,
        "range": over_time,
        "legendFormat": query.name,
    }


def _reference(number: int) -> str:
    return chr(ord("A") + number)


def _mappings(texts: Texts) -> list[Object]:
    options = {
        value: {"text": text, "color": color, "index": index} for index, (value, text, color) in enumerate(texts)
    }
    return [{"type": "value", "options": options}] if options else []


def _thresholds(steps: Steps) -> Object:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def _link(title: str, url: str) -> dict[str, Any]:
    return {
        "title": title,
        "url": url,
        "type": "link",
        "icon": "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": True,
    }
