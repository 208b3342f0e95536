"""Fixtures: podman, and the image, which is built once per session from the working tree."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.containers import Podman
from tests.components.pins import NEO4J_VERSIONS
from tests.container.pod import Pod

VERSION = NEO4J_VERSIONS[-1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests that use podman on one worker, because podman's store is used by one process at a time."""
    for item in items:
        if "podman" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.components)
            item.add_marker(pytest.mark.container)
            item.add_marker(pytest.mark.xdist_group("container"))


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    with Podman() as podman:
        yield podman


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    return podman.agent(VERSION)


@pytest.fixture(scope="module")
def agent(podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """Start the agent's container without privileges and processor limit, with a small store to back up."""
    with Pod(podman, image, VERSION, tmp_path_factory.mktemp("image") / "pod") as pod:
        pod.fill_store(VERSION)
        pod.start()
        yield pod
