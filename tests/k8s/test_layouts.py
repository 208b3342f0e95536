"""An unchanged spec that a newer release renders leaves the pods of the servers as they were (`server.layout`).

Each golden file below layouts/N has the pod template of a spec and the lines of neo4j.conf that require a restart, as the
first release with layout N rendered them. From the first release on, a golden file of a layout is never written anew.
"""

from typing import get_args

import pytest
import yaml

from backup_agent.k8s import neo4j_conf, server
from backup_agent.k8s.changes import compare
from backup_agent.k8s.manifests import objects
from backup_agent.k8s.spec import NEWEST_LAYOUT, OLDEST_LAYOUT, ServerSpec
from tests.k8s.specs import LAYOUTS, NAMES, lasting, of_layout, parsed, text


@pytest.mark.parametrize("layout", range(OLDEST_LAYOUT, NEWEST_LAYOUT + 1))
@pytest.mark.parametrize("name", NAMES)
def test_the_pods_of_a_layout_stay_as_they_were(name: str, layout: int) -> None:
    assert (LAYOUTS / str(layout) / f"{name}.yaml").read_text() == lasting(of_layout(name, layout))


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_that_names_no_layout_has_the_oldest_one(name: str) -> None:
    assert "layout" not in text(name)
    assert objects(parsed(text(name))) == objects(of_layout(name, OLDEST_LAYOUT))


def test_every_layout_that_a_spec_may_name_has_its_golden_files() -> None:
    assert get_args(ServerSpec.model_fields["layout"].annotation) == tuple(range(OLDEST_LAYOUT, NEWEST_LAYOUT + 1))
    assert {int(path.name) for path in LAYOUTS.iterdir()} == set(range(OLDEST_LAYOUT, NEWEST_LAYOUT + 1))


def test_a_golden_file_contains_everything_whose_change_restarts_a_server() -> None:
    spec = of_layout("everything", OLDEST_LAYOUT)
    found = yaml.safe_load(lasting(spec))

    assert found["template"] == server.stateful_set(spec)["spec"]["template"]
    assert found["neo4j.conf"] == neo4j_conf.restart_lines(spec)


def test_rendering_anew_restarts_no_server() -> None:
    for name in NAMES:
        assert compare(objects(parsed(text(name))), objects(parsed(text(name)))).restarts == ()
