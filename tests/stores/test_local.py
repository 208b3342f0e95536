"""The store on a volume: faults that only a file system has."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.durable import LIMIT
from backup_agent.stores.local import LocalStore
from tests.stores.files import KEY, MIB, describe, ignore, make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    volume = tmp_path / "volume"
    volume.mkdir()
    mounted = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=1m", "none", volume), capture_output=True, text=True, check=False
    )
    if mounted.returncode and not os.environ.get("CI"):
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    yield volume
    subprocess.run(("umount", volume), check=True)


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """Behave as a file system without hard links does."""

    def link(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def names_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_on_one_file_system_an_artifact_is_a_hard_link(store: LocalStore, root: Path, tmp_path: Path) -> None:
    store.put_artifact(KEY, tmp_path / "source", make(tmp_path / "source", MIB), ignore)

    assert (root / KEY).samefile(tmp_path / "source")


def test_across_file_systems_an_artifact_is_a_copy(store: LocalStore, root: Path, small_volume: Path) -> None:
    file = make(small_volume / "source", MIB // 2)
    reported: list[int] = []

    store.put_artifact(KEY, small_volume / "source", file, reported.append)

    assert (root / KEY).read_bytes() == (small_volume / "source").read_bytes()
    assert sum(reported) == file.size
    assert names_below(root) == {KEY}


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV], ids=errno.errorcode.get)
def test_without_hard_links_the_store_copies(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_links(monkeypatch, number)
    file = make(tmp_path / "source", 3 * MIB + 1)

    store.put_artifact(KEY, tmp_path / "source", file, ignore)
    store.put_artifact(KEY, tmp_path / "source", file, ignore)
    store.create(KEY + ".json", b"{}")
    store.create(KEY + ".json", b"{}")
    with pytest.raises(PermanentError):
        store.create(KEY + ".json", b"other")

    assert (root / KEY).read_bytes() == (tmp_path / "source").read_bytes()
    assert not (root / KEY).samefile(tmp_path / "source")
    assert names_below(root) == {KEY, KEY + ".json"}


def test_a_copy_whose_source_has_changed_is_refused(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    file = make(tmp_path / "source", MIB, seed=1)
    make(tmp_path / "source", MIB, seed=2)

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert names_below(root) == set()


def test_another_artifact_is_refused_before_it_is_copied(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch)
    store.put_artifact(KEY, tmp_path / "first", make(tmp_path / "first", MIB, seed=1), ignore)
    reported: list[int] = []

    with pytest.raises(PermanentError):
        store.put_artifact(KEY, tmp_path / "second", make(tmp_path / "second", MIB, seed=2), reported.append)

    assert reported == []


def test_on_a_full_volume_storing_fails_and_leaves_no_files(small_volume: Path, tmp_path: Path) -> None:
    store = LocalStore(small_volume)
    file = make(tmp_path / "source", 2 * MIB)

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.DISK_FULL
    assert KEY in refused.value.failure.error
    assert names_below(small_volume) == set()
    store.create("default/small", b"there is room again")


def test_a_file_beyond_the_limit_of_the_file_system_has_its_own_error_and_leaves_no_files(
    small_volume: Path, tmp_path: Path
) -> None:
    file = make(tmp_path / "source", 2 * MIB)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 4, before[1]))
    try:
        with pytest.raises(PermanentError) as refused:
            LocalStore(small_volume).put_artifact(KEY, tmp_path / "source", file, ignore)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert refused.value.failure.reason is Reason.FILE_TOO_LARGE
    assert names_below(small_volume) == set()


def test_a_volume_without_inodes_is_full(small_volume: Path) -> None:
    subprocess.run(("mount", "-o", "remount,nr_inodes=3", small_volume), check=True)

    with pytest.raises(PermanentError) as refused:
        LocalStore(small_volume).create(KEY, b"x")

    assert refused.value.failure.reason is Reason.DISK_FULL


def test_a_volume_that_became_read_only_is_an_error(small_volume: Path) -> None:
    subprocess.run(("mount", "-o", "remount,ro", small_volume), check=True)

    with pytest.raises(PermanentError) as refused:
        LocalStore(small_volume).create(KEY, b"x")

    assert refused.value.failure.reason is Reason.STORAGE_AUTH
    assert "read-only" in refused.value.failure.advice


@pytest.mark.parametrize("method", ["create", "read", "stat", "list", "delete"])
def test_an_unmounted_volume_is_an_error_and_nothing_is_created(tmp_path: Path, method: str) -> None:
    store = LocalStore(tmp_path / "absent", name="volume")
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(KEY, b"x"),
        "read": lambda: store.read(KEY, LIMIT),
        "stat": lambda: store.stat(KEY),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete(KEY),
    }

    with pytest.raises(PermanentError) as refused:
        calls[method]()

    assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE
    assert "volume" in refused.value.failure.error
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("link", ["default", "default/orders"])
def test_a_symbolic_link_in_the_way_is_not_followed(store: LocalStore, root: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "orders").mkdir(parents=True)
    (outside / "orders" / "secret").write_bytes(b"secret")
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(outside if link == "default" else outside / "orders")

    for attempt in (
        lambda: store.create(KEY, b"x"),
        lambda: store.put_artifact(KEY, tmp_path / "source", make(tmp_path / "source", 1), ignore),
        lambda: store.read("default/orders/secret", LIMIT),
        lambda: store.delete("default/orders/secret"),
    ):
        with pytest.raises(PermanentError) as refused:
            attempt()
        assert refused.value.failure.reason is Reason.STORAGE_UNREACHABLE

    assert names_below(outside) == {"orders/secret"}
    assert list(store.list()) == list(store.list("default/orders/")) == []


def test_a_symbolic_link_under_the_key_is_neither_read_nor_replaced(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(b"outside")
    (root / KEY).parent.mkdir(parents=True)
    (root / KEY).symlink_to(tmp_path / "outside")

    assert store.stat(KEY) is None
    assert list(store.list()) == []
    for attempt in (lambda: store.read(KEY, LIMIT), lambda: store.create(KEY, b"outside")):
        with pytest.raises(PermanentError):
            attempt()

    store.delete(KEY)
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_a_symbolic_link_is_refused_as_source(store: LocalStore, root: Path, tmp_path: Path) -> None:
    file = make(tmp_path / "real", 5)
    (tmp_path / "source").symlink_to(tmp_path / "real")

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.NO_ARTIFACT
    assert names_below(root) == set()


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_a_file_that_is_not_regular_is_not_an_object(store: LocalStore, root: Path, kind: str) -> None:
    (root / KEY).parent.mkdir(parents=True)
    if kind == "folder":
        (root / KEY).mkdir()
    else:
        os.mkfifo(root / KEY)

    assert store.stat(KEY) is None
    assert list(store.list()) == []
    with pytest.raises(BackupError):
        store.read(KEY, LIMIT)
    with pytest.raises(BackupError):
        store.create(KEY, b"x")


def test_a_fifo_is_refused_as_source_without_waiting(store: LocalStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "source")

    with pytest.raises(PermanentError):
        store.put_artifact(KEY, tmp_path / "source", ArtifactFile(name="x", size=1, sha256="0" * 64), ignore)


def store_and_die(root: Path, source: Path, step: int, links: bool) -> None:
    """Store an artifact and its record in a process that is killed before step number `at`."""
    taken = 0

    def counted(real: Callable[..., Any], refused: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            if refused:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1
            return real(*arguments, **options)

        return call

    for name in ("mkdir", "fsync", "link", "rename", "unlink", "write"):
        setattr(os, name, counted(getattr(os, name), refused=name == "link" and not links))
    LocalStore(root).put_artifact(KEY, source, describe(source), ignore)
    LocalStore(root).create(KEY + ".json", b"{}")


@pytest.mark.process
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_killed_at_any_step_a_key_holds_all_or_nothing_and_the_next_try_succeeds(tmp_path: Path, links: bool) -> None:
    source = tmp_path / "source"
    file = make(source, 3 * MIB)
    for step in range(60):
        root = tmp_path / f"root-{step}"
        root.mkdir()
        store = LocalStore(root)
        child = multiprocessing.get_context("fork").Process(target=store_and_die, args=(root, source, step, links))
        child.start()
        child.join()
        contents = {stored.key: store.read(stored.key, 3 * MIB) for stored in store.list()}

        assert contents in ({}, {KEY: source.read_bytes()}, {KEY: source.read_bytes(), KEY + ".json": b"{}"})
        store.put_artifact(KEY, source, file, ignore)
        store.create(KEY + ".json", b"{}")
        assert [stored.key for stored in store.list()] == [KEY, KEY + ".json"]
        shutil.rmtree(root)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    else:
        pytest.fail("it never ended by itself")
    assert step > 8
