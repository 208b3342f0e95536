"""A storage root is locked by one agent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backup_agent.catalog.root_lock import own
from backup_agent.core.reasons import PermanentError, Reason


def test_the_root_is_created_and_locked(tmp_path: Path) -> None:
    os.close(own(tmp_path / "backups"))

    assert "pid" in (tmp_path / "backups" / ".lock").read_text()


def test_a_second_agent_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    descriptor = own(tmp_path)
    with pytest.raises(PermanentError) as caught:
        own(tmp_path)
    os.close(descriptor)

    assert caught.value.failure.reason is Reason.FOREIGN_ROOT
    assert f"pid {os.getpid()}" in caught.value.failure.error


def test_a_process_that_inherited_the_lock_keeps_it(tmp_path: Path) -> None:
    descriptor = own(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,)) as child:
        os.close(descriptor)
        with pytest.raises(PermanentError):
            own(tmp_path)
        child.communicate(b"\n")

    os.close(own(tmp_path))
