"""The watch on the requests folder notices requests, and knows whether it still watches the folder."""

import ctypes
import errno
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers import Observer, inotify_c
from watchdog.observers.api import BaseObserver

from backup_agent.supervisor.requests.watch import Bell
from tests.polling import until

HEARD_SECONDS = 5.0


class Listener:
    """A watch on a folder, and its calls of `ring`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rings: queue.Queue[None] = queue.Queue()
        self.bell = Bell(folder, lambda: self.rings.put(None))
        self.bell.listen()

    def heard(self) -> None:
        """Wait for a call of `ring`. Raise queue.Empty if none comes."""
        self.rings.get(timeout=HEARD_SECONDS)


@pytest.fixture(name="listener")
def _listener(tmp_path: Path) -> Iterator[Listener]:
    folder = tmp_path / "requests"
    folder.mkdir()
    listener = Listener(folder)
    yield listener
    listener.bell.close()


def test_a_file_written_into_the_folder_is_noticed(listener: Listener) -> None:
    subprocess.run(["sh", "-c", f"echo '{{}}' > {listener.folder}/x.request"], check=True)

    listener.heard()


def test_a_file_moved_into_the_folder_is_noticed(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    (tmp_path / "x").rename(listener.folder / "x.json")

    listener.heard()


def test_a_rename_within_the_folder_is_noticed(listener: Listener) -> None:
    (listener.folder / ".x.tmp").write_text("{}")
    (listener.folder / ".x.tmp").rename(listener.folder / "x.request")

    listener.heard()


def test_answers_cause_no_events(listener: Listener) -> None:
    (listener.folder / "x.status.json").write_text("{}")

    with pytest.raises(queue.Empty):
        listener.rings.get(timeout=0.2)


def test_reading_an_answer_causes_no_events(listener: Listener) -> None:
    """The kernel shows which events are watched, so the test need not wait for the absence of an event."""
    reading = 0x1 | 0x10 | 0x20  # IN_ACCESS, IN_CLOSE_NOWRITE, IN_OPEN
    inode = f"ino:{listener.folder.stat().st_ino:x} "
    texts = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    watches = [line for text in texts for line in text.splitlines() if line.startswith("inotify") and inode in line]
    masks = [int(line.partition("mask:")[2].split()[0], 16) for line in watches]

    assert masks
    assert not any(mask & reading for mask in masks)


def test_a_folder_with_the_name_of_a_request_is_noticed(listener: Listener) -> None:
    (listener.folder / "x.request").mkdir()

    listener.heard()


def test_a_watched_folder_counts_as_watched(listener: Listener) -> None:
    assert listener.bell.still_hears()


def test_a_folder_made_again_counts_as_unwatched_until_it_is_watched_again(listener: Listener) -> None:
    shutil.rmtree(listener.folder)
    listener.folder.mkdir()
    until(
        lambda: not listener.bell.still_hears(), "bell that knows that it hears nothing"
    )  # if the new folder has the same inode, only the event of the deletion shows it, a moment later
    listener.bell.listen()
    (listener.folder / "x.json").write_text("{}")

    assert listener.bell.still_hears()
    listener.heard()


def test_a_folder_moved_away_counts_as_unwatched(listener: Listener, tmp_path: Path) -> None:
    listener.folder.rename(tmp_path / "elsewhere")
    listener.folder.mkdir()

    assert not listener.bell.still_hears()


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_folder_mounted_over_counts_as_unwatched(listener: Listener) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", str(listener.folder)], check=False)
    if mounted.returncode:
        pytest.skip("mount is refused here")
    try:
        assert not listener.bell.still_hears()
        listener.bell.listen()
        (listener.folder / "x.json").write_text("{}")
        listener.heard()
        listener.bell.close()
    finally:
        subprocess.run(["umount", str(listener.folder)], check=True)


def test_the_identity_of_a_folder_that_cannot_be_watched_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each scan would take the folder for a new one and remove `backup.status`."""

    def refuse(_observer: BaseObserver) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(Observer, "start", refuse)
    bell = Bell(tmp_path, lambda: None)
    with pytest.raises(OSError, match="limit"):
        bell.listen()

    assert (False, True) == (bell.still_hears(), bell.same_folder())
    bell.close()
    assert not bell.same_folder()


def test_refused_attempts_to_watch_leave_no_threads_or_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watching is tried again every five seconds."""

    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.ENOSPC)  # max_user_watches are used up
        return -1

    monkeypatch.setattr(inotify_c, "inotify_add_watch", refuse)
    bell = Bell(tmp_path, lambda: None)

    def attempt() -> tuple[int, int]:
        with pytest.raises(OSError, match="watch limit reached"):
            bell.listen()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    assert attempt() == attempt() == attempt()
