"""Golden files of all rendered objects, so that a change of the code shows what it changes in them.

tests/k8s/specs.py writes them.
"""

import pytest

from backup_agent.k8s import manifests
from tests.k8s.specs import (
    ALERTS,
    DASHBOARD,
    EXAMPLE,
    GOLDEN,
    NAMES,
    SMALLEST,
    alerts_file,
    dashboard_file,
    parsed,
    spec,
)


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_renders_its_golden_file(name: str) -> None:
    assert (GOLDEN / f"{name}.yaml").read_text() == manifests.stream(spec(name))


def test_the_smallest_spec_is_in_the_golden_files() -> None:
    assert (GOLDEN / "smallest.spec.yaml").read_text() == SMALLEST


def test_the_example_is_what_its_spec_renders() -> None:
    expected = manifests.files(parsed((EXAMPLE / "spec.yaml").read_text()))

    assert {path.name: path.read_text() for path in (EXAMPLE / "demo").iterdir()} == expected


def test_the_file_of_alerts_has_the_rules_that_are_rendered() -> None:
    assert ALERTS.read_text() == alerts_file()


def test_the_file_of_the_dashboard_has_the_panels_of_the_table() -> None:
    assert DASHBOARD.read_text() == dashboard_file()
