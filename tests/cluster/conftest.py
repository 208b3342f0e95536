"""A simulated Enterprise cluster that speaks real Bolt over real sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import Cluster, save

Start = Callable[..., BoltServer]


@pytest.fixture
def bolt_server(tmp_path: Path) -> Iterator[Start]:
    """Serve a cluster; every server has its own port, and a test changes the cluster by `change`."""
    with ExitStack() as running:

        def start(cluster: Cluster, **options: Any) -> BoltServer:
            folder = tmp_path / "cluster"
            folder.mkdir()
            save(cluster, folder)
            return running.enter_context(BoltServer(folder, **options))

        yield start
