"""Small files: read within a limit and without waiting, if they are regular files; written whole or not at all."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent import durable


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # a socket's path has at most 107 bytes
        listener.bind(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "FIFO": (fifo, "a FIFO"),
    "directory": (Path.mkdir, "a directory"),
    "socket": (bound_socket, "a socket"),
    "link to a device": (device, "a symbolic link"),
    "link to a file": (lambda path: path.symlink_to(__file__), "a symbolic link"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
}


@pytest.fixture(autouse=True)
def _same_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", PLANTED)
def test_opening_a_file_that_is_not_regular_fails_at_once_and_names_it(tmp_path: Path, name: str) -> None:
    plant, kind = PLANTED[name]
    plant(tmp_path / "x")

    with pytest.raises(durable.RefusedFileError, match=f"{kind}, not a regular file"):
        durable.read(tmp_path / "x")


@pytest.mark.parametrize("name", PLANTED)
def test_a_file_that_is_not_regular_is_not_opened_for_writing(tmp_path: Path, name: str) -> None:
    plant, kind = PLANTED[name]
    plant(tmp_path / "x")

    for flags in (os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT):
        with pytest.raises(durable.RefusedFileError, match=f"{kind}, not a regular file"):
            durable.open_regular(tmp_path / "x", flags)
    assert not (tmp_path / "nowhere").exists()


def test_a_link_is_followed_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "password").write_bytes(b"secret")
    (tmp_path / "password").symlink_to("..data/password")

    assert durable.read(tmp_path / "password", follow=True) == b"secret"


def test_a_link_is_followed_to_a_regular_file_only(tmp_path: Path) -> None:
    device(tmp_path / "device")
    fifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")

    with pytest.raises(durable.RefusedFileError, match="a device"):
        durable.read(tmp_path / "device", follow=True)
    with pytest.raises(durable.RefusedFileError, match="a FIFO"):
        durable.read(tmp_path / "link", follow=True)


def test_a_file_as_large_as_the_limit_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1000)

    assert durable.read(tmp_path / "x", 1000) == b"x" * 1000
    with pytest.raises(durable.TooLargeError, match="larger than 999 bytes"):
        durable.read(tmp_path / "x", 999)


def test_a_file_that_grows_while_it_is_read_is_not_read_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    read, sizes = os.read, list[int]()

    def growing(descriptor: int, size: int) -> bytes:
        sizes.append(size)
        with path.open("ab") as file:
            file.write(b"x" * 600)
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", growing)

    with pytest.raises(durable.TooLargeError):
        durable.read(path, 1000)
    assert sum(sizes) <= 2 * 1001


def test_a_huge_file_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**30)
    program = (
        "import re, sys; from pathlib import Path; from backup_agent import durable\n"
        "try: durable.read(Path(sys.argv[1]))\n"
        "except OSError as error: print(error.strerror, end=' ')\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )

    printed = subprocess.check_output([sys.executable, "-c", program, str(tmp_path / "huge")], text=True)

    assert printed.startswith("larger than 1048576 bytes ")
    assert int(printed.split()[-1]) < 64 * 1024


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    assert durable.names(tmp_path / "absent") == []
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionError):
        durable.names(tmp_path)


def test_a_secret_is_written_to_a_new_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    durable.create_secret(tmp_path / "secret", b"hidden")

    assert (tmp_path / "secret").read_bytes() == b"hidden"
    assert (tmp_path / "secret").stat().st_mode & 0o7777 == 0o600
    with pytest.raises(FileExistsError):
        durable.create_secret(tmp_path / "secret", b"other")


def test_a_secret_that_could_not_be_written_whole_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        durable.create_secret(tmp_path / "secret", b"hidden")

    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_file_that_cannot_be_written_and_not_the_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "orders.json"
    target.mkdir()
    with pytest.raises(OSError) as refused:  # noqa: PT011  the name is what is looked at
        durable.write(target, b"{}")

    assert refused.value.filename == str(target)
    assert [path.name for path in tmp_path.iterdir()] == ["orders.json"]
