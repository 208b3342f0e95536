"""The specs that the tests render. `python -m tests.k8s.specs` writes golden files and the example anew.

It never writes a file of `layouts` anew: delete one by hand, as long as nothing with this layout has been released.
"""

import json
from pathlib import Path

from backup_agent.cli.main import code
from backup_agent.k8s import alerts, dashboard, manifests, neo4j_conf, server
from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.names import Object
from backup_agent.k8s.reading import read
from backup_agent.k8s.spec import NEWEST_LAYOUT, OLDEST_LAYOUT, ClusterSpec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "k8s"
LAYOUTS = Path(__file__).with_name("layouts")
"""Pod templates of the servers, by layout."""
GOLDEN = Path(__file__).with_name("golden")

ALERTS = ROOT / "docs" / "alerts.yaml"
ALERTS_INTRODUCTION = """\
# Alerts for Prometheus: a rule file for all agents that it scrapes. docs/metrics.md explains each metric.
# `render` makes a PrometheusRule with the same alerts for one agent (monitoring.rules in the spec).
# Put the address where docs/runbooks is published in place of docs/runbooks.
# This file is made from backup_agent/k8s/alerts.py.
"""

DASHBOARD = ROOT / "docs" / "dashboard.json"

SMALLEST = """\
cluster: demo
version: "2026.09.0"
accept_license: "eval"
auth: {secret: demo-auth}
server: {data: {size: 100Gi}}
backup:
  image: registry.example.com/neo4j-backup-agent:0.2.0-2026.09.0
  storage: {size: 200Gi}
  keep_everything: true
"""

NAMES = ("smallest", "everything", "long-term-support", "256Mi")

ALONE = ("helm-chart", "neo4j-operator", "community-operator", "elsewhere")
"""The examples of an agent alone."""


def text(name: str) -> str:
    """Return a spec's text."""
    return (GOLDEN / f"{name}.spec.yaml").read_text()


def spec(name: str) -> ClusterSpec:
    """Return a spec."""
    return parsed(text(name))


def parsed(content: str) -> ClusterSpec:
    """Return the spec in a text."""
    found = read(content.encode(), "spec.yaml")
    assert isinstance(found, ClusterSpec)
    return found


def alone(name: str) -> AloneSpec:
    """Return the spec of an example of an agent alone."""
    found = read((EXAMPLE / "alone" / f"{name}.yaml").read_bytes(), "spec.yaml")
    assert isinstance(found, AloneSpec)
    return found


def of_layout(name: str, layout: int) -> ClusterSpec:
    """Return a spec with a layout of the servers' pods."""
    found = spec(name)
    return found.model_copy(update={"server": found.server.model_copy(update={"layout": layout})})


def lasting(found: ClusterSpec) -> str:
    """Return everything whose change restarts the servers: the pod template, and lines of neo4j.conf."""
    template = server.stateful_set(found)["spec"]["template"]
    return manifests.to_yaml({"neo4j.conf": neo4j_conf.restart_lines(found), "template": template})


def alerts_file() -> str:
    """Return the content of docs/alerts.yaml."""
    return ALERTS_INTRODUCTION + manifests.to_yaml({"groups": alerts.groups("docs/runbooks")})


def dashboard_file() -> str:
    """Return the content of docs/dashboard.json."""
    return json.dumps(dashboard.dashboard("docs/runbooks"), indent=2, sort_keys=True) + "\n"


def rendered(found: Spec) -> dict[str, Object]:
    """Return the objects of a spec, by kind and name."""
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests.objects(found)}


if __name__ == "__main__":
    (GOLDEN / "smallest.spec.yaml").write_text(SMALLEST)
    for one in NAMES:
        (GOLDEN / f"{one}.yaml").write_text(manifests.stream(spec(one)))
    for layout in range(OLDEST_LAYOUT, NEWEST_LAYOUT + 1):
        for one in NAMES:
            path = LAYOUTS / str(layout) / f"{one}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(lasting(of_layout(one, layout)))
    ALERTS.write_text(alerts_file())
    DASHBOARD.write_text(dashboard_file())
    code(["render", str(EXAMPLE / "spec.yaml"), "--out", str(EXAMPLE / "demo")])
