"""docs/spec.md describes every key of the spec as the schema does; the examples of the pages can be rendered."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.neo4j.command import MIB, memory
from backup_agent.k8s.alone import schema
from backup_agent.k8s.spec import memory_bytes
from tests.k8s.specs import EXAMPLE, ROOT, parsed

PAGE = (ROOT / "docs" / "spec.md").read_text()
SCHEMA = schema()
KUBERNETES = (ROOT / "docs" / "kubernetes.md").read_text()


def below(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the sections below a key, with the continuation of the path to each."""
    for one in (node, *node.get("anyOf", ())):
        for part, step in ((one, "."), (one.get("items", {}), "[].")):
            name = part.get("$ref", "").rpartition("/")[2]
            if name and "properties" in SCHEMA["$defs"][name]:
                yield name, step


def rows(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the row of each key, in the order of the model."""
    for name, node in section["properties"].items():
        inner = list(below(node))
        if name in section.get("required", ()):
            default = "required"
        elif node.get("default") is None:
            default = "-"
        else:
            default = "…" if inner else f"`{json.dumps(node['default'], ensure_ascii=False)}`"
        yield f"| `{prefix}{name}` | {default} | {node['description'].replace('|', chr(92) + '|')} |"
        for part, step in inner:
            yield from rows(SCHEMA["$defs"][part], f"{prefix}{name}{step}")


CLUSTER, ALONE = SCHEMA["$defs"]["ClusterSpec"], SCHEMA["$defs"]["AloneSpec"]
FULL_PAGE, _, ALONE_PAGE = PAGE.partition("\n## The agent alone\n")


def table(text: str) -> list[str]:
    return re.findall(r"^\| `.*\|$", text, re.MULTILINE)


def test_the_page_describes_every_key_as_the_schema_does() -> None:
    assert table(FULL_PAGE) == list(rows(CLUSTER))


def test_the_page_describes_the_keys_of_an_agent_alone_that_a_cluster_does_not_have() -> None:
    assert table(ALONE_PAGE) == [row for row in rows(ALONE) if row not in set(rows(CLUSTER))]


@pytest.mark.parametrize(
    "row",
    re.findall(r"^\| (\d+[GM]i)(?: \(default\))? \| (\d+) MiB \| (\d+) MiB \|", KUBERNETES, re.MULTILINE),
    ids=str,
)
def test_the_sizing_table_is_true(row: tuple[str, str, str]) -> None:
    limit, heap, pagecache = row
    found = memory(memory_bytes(limit), None, None)

    assert (found.heap, found.pagecache) == (int(heap) * MIB, int(pagecache) * MIB)


def test_the_page_names_the_objects_that_the_example_renders() -> None:
    section = KUBERNETES.partition("## What is rendered")[2].partition("\n\n- ")[0]
    named = {
        f"{kind.lower()}-{name}.yaml"
        for kind, names in re.findall(r"^\| ([A-Z]\w+) (`.+?`) \|", section, re.MULTILINE)
        for name in re.findall(r"`(.+?)`", names)
    }
    files = {path.name for path in (EXAMPLE / "demo").iterdir()} - {"Kustomization"}

    assert named == files | {
        "servicemonitor-demo-backup.yaml",
        "prometheusrule-demo-backup.yaml",
        "configmap-demo-backup-dashboard.yaml",
    }
    assert parsed((EXAMPLE / "spec.yaml").read_text()).cluster == "demo"


MIGRATION = (ROOT / "docs" / "migration.md").read_text()


def test_the_migration_page_says_first_that_it_is_unproven_and_deletes_data() -> None:
    first, *_ = MIGRATION.split("\n\n", 2)[1:]

    assert first.startswith("**Nothing on this page has been run against an operator, and a mistake here deletes data.")


def test_the_migration_page_keeps_the_safe_order() -> None:
    steps = (
        '"retentionPolicy":"Retain"',
        "app.kubernetes.io/instance-",
        "--replicas 0",
        '"path":"/metadata/ownerReferences"',
        "--force-conflicts",
        "demo-server-netpol",
        '"finalizers":null',
        "--cascade=orphan",
        "Scale the operator up again",
        "kubectl delete statefulset",
    )

    found = [MIGRATION.find(step) for step in steps]

    assert -1 not in found
    assert found == sorted(found)


@pytest.mark.parametrize("module", sorted((ROOT / "backup_agent" / "k8s").glob("*.py")), ids=lambda path: path.stem)
def test_pages_that_the_notes_name_exist(module: Path) -> None:
    named = set(re.findall(r"docs/[a-z0-9/-]+\.md", module.read_text()))

    assert [page for page in named if not (ROOT / page).is_file()] == []


RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda path: path.stem)
def test_the_page_links_to_every_runbook(page: Path) -> None:
    assert f"(runbooks/{page.name})" in KUBERNETES


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_names_objects_of_the_example_only(page: Path) -> None:
    objects = {path.stem.partition("-")[2] for path in (EXAMPLE / "demo").iterdir()}
    others = {"demo-auth", "demo-backup-auth", "demo-tls", "demo-old", "demo-old-client"}
    named = re.findall(r"(?<![\w-])demo-[a-z-]*[a-z](?:-(?:\d|N)\b|-\$n)?", page.read_text())

    unknown = [name for name in named if re.sub(r"-(\d|N|\$n)$", "", name) not in objects | others]
    assert unknown == []
