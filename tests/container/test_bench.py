"""The benchmark of the whole pod runs. Its figures are not checked."""

import argparse
import re
from pathlib import Path

import pytest

from bench import pod as bench
from tests.components.containers import Podman
from tests.components.seaweedfs import SeaweedFS
from tests.container.conftest import VERSION


@pytest.mark.nightly
@pytest.mark.usefixtures("image")
def test_the_whole_pod_is_measured(
    podman: Podman, seaweedfs: SeaweedFS, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = argparse.Namespace(version=VERSION, mebibytes=2, memory="256m", cpus="1", launch="direct", show_log=False)

    # In this process, because it holds podman's store.
    bench.run(podman, chosen, tmp_path, seaweedfs)
    printed = capsys.readouterr().out

    assert "launch direct: succeeded" in printed
    assert re.search(r"OOM kills 0, charged at most \d+ MiB", printed)
    assert re.search(r"\d+\.\d MiB  java", printed)
