"""Copying: who loses the destination meanwhile ends where it stands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.lease import Held, HeldByAnotherError
from backup_agent.core.records import ArtifactFile
from backup_agent.core.tasks import CopyTask
from backup_agent.run.copy import Copying
from backup_agent.run.telling import Teller
from backup_agent.settings.model import Settings
from backup_agent.stores.memory import MemoryStore
from backup_agent.stores.store import Progress, Stored
from tests.run.test_verify import put


def test_a_copy_that_slept_through_a_takeover_is_sent_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    lost = False

    class Losing(Held):
        def check(self) -> None:
            if lost:
                raise HeldByAnotherError("the lease was lost")

    class Sleeping(MemoryStore):
        """Stops in the middle of an artifact, while another agent takes the lease."""

        def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> Stored:
            nonlocal lost
            progress(1)
            lost = True
            progress(1)
            return super().put_artifact(key, source, file, progress)

    @contextmanager
    def hold(*_: Any) -> Iterator[Held]:
        yield Losing()

    monkeypatch.setattr("backup_agent.run.copy.hold_place", hold)
    destinations = {"offsite": {"type": "s3", "bucket": "backups"}}
    given = {
        "cluster": "demo",
        "neo4j": {"uri": "neo4j://demo:7687"},
        "storage": {"root": str(tmp_path), "destinations": destinations},
    }
    store = Sleeping("offsite")
    task = CopyTask(run="copy-1", destination="offsite", sets=("default",), settings={})
    failure = Copying(task, Settings.model_validate(given), store, Teller(lambda _: None)).copy_all()

    assert failure is not None
    assert failure.error == "the lease was lost"
    assert list(store.list()) == []
