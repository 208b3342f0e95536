"""Fixtures of real servers, and markers of the tests that use them.

If a server cannot be had on this machine, its tests are skipped, and the last line of the output names it. With $CI set
they fail.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from tests.components.cache import MissingComponentError
from tests.components.chromium import Chromium
from tests.components.neo4j_community import CommunityHome, CommunityServer
from tests.components.pins import NEO4J_VERSIONS
from tests.components.prometheus import Prometheus
from tests.components.seaweedfs import SeaweedFS
from tests.examples import FAST, HOUSE

_MISSING = "missing component: "

HERE = Path(__file__).parent

MEMORY = Path("/dev/shm")
ROOM = 1 << 30

PROCESSES = (
    "agent",
    "cli/test_agent.py",
    "cluster/test_child.py",
    "demo",
    "jobs/test_killed_children.py",
    "neo4j_admin/test_process.py",
    "neo4j_admin/test_stand_in.py",
    "standins/test_neo4j_admin_backup.py",
    "standins/test_neo4j_admin_chains.py",
    "standins/test_neo4j_admin_faults.py",
    "standins/test_neo4j_admin_inspect.py",
    "test_bench.py",
    "test_install.py",
    "test_starts.py",
)
"""Folders and files whose tests start programs and wait for them. Elsewhere such tests carry the marker `process`."""


class _MissingComponents:
    """Collects the components that skipped tests lacked, and names them in the last line of the output."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple) and _MISSING in report.longrepr[2]:
            self._missing.add(report.longrepr[2].partition(_MISSING)[2])

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if self._missing:
            config.get_terminal_writer().line(f"NOT EVERYTHING RAN: {'; '.join(sorted(self._missing))}")


def pytest_configure(config: pytest.Config) -> None:
    # No deadline: on a loaded machine a property would fail because it is slow, and shrinking that takes minutes.
    for name, count in (("house", HOUSE), ("fast", FAST)):
        hypothesis.settings.register_profile(
            name,
            max_examples=count,
            deadline=None,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
            print_blob=True,
        )
    hypothesis.settings.load_profile(config.getoption("--hypothesis-profile") or "house")
    config.pluginmanager.register(_MissingComponents())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let no garbage collection go through the thousands of tests, neither while they are collected nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    with _skipped_without_component():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    with _skipped_without_component():
        yield


@contextmanager
def _skipped_without_component() -> Iterator[None]:
    try:
        yield
    except MissingComponentError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{_MISSING}{error}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a component. All tests of a Neo4j version run on one worker, with one server."""
    absent = [name for name in PROCESSES if not (HERE / name).exists()]
    if absent:
        raise pytest.UsageError(f"tests/conftest.py names files that do not exist: {', '.join(absent)}")
    processes = {HERE / name for name in PROCESSES}
    starting = {path: not processes.isdisjoint((path, *path.parents)) for path in {item.path for item in items}}
    for item in items:
        if starting[item.path]:
            item.add_marker(pytest.mark.process)
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"seaweedfs", "seaweedfs_tls", "community_home", "community_server", "prometheus", "chromium"}:
            item.add_marker(pytest.mark.components)
        if fixtures & {"community_home", "community_server"}:
            callspec = getattr(item, "callspec", None)
            values = () if callspec is None else callspec.params.values()
            version = next((value for value in values if value in NEO4J_VERSIONS), NEO4J_VERSIONS[0])
            item.add_marker(pytest.mark.xdist_group(f"neo4j-{version}"))


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of the test's own: in memory, unless the test starts programs.

    The agent syncs each file, tens of thousands of times in the tables of faults; waiting for a disk there proves
    nothing. pytest's own folder is made only for tests on disk, since making it takes a fifth of a short test.
    """
    on_disk = any(map(request.node.get_closest_marker, ("process", "components")))
    if on_disk or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        # pytest reuses the name of a removed folder. A bucket outlives the test, and the name is a prefix in it.
        folder = Path(request.getfixturevalue("tmp_path")) / uuid4().hex[:12]
        folder.mkdir()
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="neo4j-backup-agent-", dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture(params=NEO4J_VERSIONS)
def neo4j_version(request: pytest.FixtureRequest) -> str:
    """Each version of Neo4j Community in turn."""
    return str(request.param)


@pytest.fixture
def community_home(tmp_path: Path) -> Callable[[str], CommunityHome]:
    """Return a function that makes a fresh NEO4J_HOME of a version."""

    def make(version: str) -> CommunityHome:
        return CommunityHome.create(version, tmp_path / f"neo4j-{version}")

    return make


@pytest.fixture(scope="session")
def community_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], CommunityServer]]:
    """Return a function that starts the server of a version. Each worker has one per version, which its tests share."""
    servers: dict[str, CommunityServer] = {}

    def start(version: str) -> CommunityServer:
        if version not in servers:
            home = CommunityHome.create(version, tmp_path_factory.mktemp("neo4j") / version)
            servers[version] = CommunityServer(home).start()
        return servers[version]

    yield start
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server with the bucket `BUCKET`. A test that kills the server must start it again."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def seaweedfs_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server like `seaweedfs`, with TLS and a certificate of its own CA."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs-tls"), tls=True).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A real browser."""
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """Return a function that starts a Prometheus for some `host:port` targets."""
    servers: list[Prometheus] = []

    def start(*targets: str, rules: tuple[Path, ...] = ()) -> Prometheus:
        folder = tmp_path / f"prometheus-{len(servers)}"
        folder.mkdir()
        servers.append(Prometheus(folder, targets, rules=rules))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()
