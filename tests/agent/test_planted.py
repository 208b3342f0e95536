"""FIFOs, links and huge files under names that the agent uses: the agent neither waits for them nor loads them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.live import FINAL, Live
from tests.polling import until


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def dense(path: Path) -> None:
    """Write an answer of an allowed size with millions of values, each of which takes memory."""
    path.write_bytes(b'{"schema":1,"id":"x","intake":"x","databases":[' + b"{}," * (5 * 2**20) + b"0]}")


PLANTS: dict[str, Callable[[Path], None]] = {
    "FIFO": fifo,
    "link to a device": zeros,
    "link to nothing": lambda path: path.symlink_to(path.parent / "nowhere"),
    "socket": bound_socket,
    "huge file": huge,
    "dense file": dense,
    "folder": folder,
}


def answered(live: Live, name: str, count: int) -> list[str]:
    """Wait for a number of final answers to a dropped file, and return their ids."""

    def look() -> list[str] | None:
        found = [path.stem for path in sorted((live.requests / "answers").glob("*.json"))]
        ids = [one for one in found if name in (answer := live.answer_of(one))["files"] and answer["state"] in FINAL]
        return ids if len(ids) == count else None

    return until(look, f"{count} answers to {name}")


def peak(live: Live) -> int:
    """Return the peak memory of the supervisor in MiB."""
    assert live.process is not None
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def test_no_object_in_the_place_of_an_answer_delays_a_request_before_or_after_a_restart(live: Live) -> None:
    places = {name: live.requests / f"{name}.status.json" for name in PLANTS}
    live.start()

    for name, status in places.items():
        PLANTS[name](status)
        live.drop(f"{name}.request", action="pause")
    for name, status in places.items():
        answered(live, f"{name}.request", 1)
        assert status.is_dir() if name == "folder" else status.is_file() and not status.is_symlink(), name

    assert not (live.requests / "nowhere").exists()
    live.kill()
    for name, status in places.items():
        if name != "folder":
            status.unlink()
            PLANTS[name](status)
        live.drop(f"{name}.request", action="resume")
    live.start()
    for name, status in places.items():
        answered(live, f"{name}.request", 2)
        assert status.is_dir() if name == "folder" else status.is_file() and not status.is_symlink(), name

    assert peak(live) < 100
    assert live.end() == 0


@pytest.mark.parametrize("name", ["FIFO", "link to a device", "link to nothing"])
@pytest.mark.parametrize("where", ["root", "requests"])
def test_if_the_lock_is_not_a_regular_file_the_start_fails_with_an_error_and_changes_nothing(
    live: Live, where: str, name: str
) -> None:
    lock = live.root / ".lock" if where == "root" else live.requests / ".spool" / ".lock"
    lock.parent.mkdir(parents=True)
    precious = lock.parent / "precious"
    precious.write_text("not to be touched")
    if name == "link to a device":
        lock.symlink_to(precious)
    else:
        PLANTS[name](lock)

    live.start(ready=False)
    assert live.process is not None

    assert live.process.wait(timeout=30) == 1
    live.reader.join(timeout=5)
    assert "not a regular file" in "".join(live.text)
    assert str(lock) in "".join(live.text)
    assert precious.read_text() == "not to be touched"
    assert not (lock.parent / "nowhere").exists()


@pytest.mark.parametrize("name", ["FIFO", "link to a device", "huge file"])
def test_a_backup_is_taken_whatever_is_in_the_place_of_the_agents_own_notes(live: Live, name: str) -> None:
    (live.root / ".agent").mkdir(parents=True)
    for file in ("schedules.json", "topology.json", "orders.json", "neo4j-admin.json", "clock.json"):
        PLANTS[name](live.root / ".agent" / file)

    live.start()

    assert live.ask(database="orders")["state"] == "succeeded"
    assert peak(live) < 100
