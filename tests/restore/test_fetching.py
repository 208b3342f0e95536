"""Fetching: every byte is compared with the record, and an interrupted fetch is continued."""

import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.restore import fetching
from backup_agent.restore.fetching import fetch_to_folder, fetch_to_stream
from tests.builders import a_record, content, settings_with
from tests.catalog.places import FilledPlace, filled
from tests.stores.memory_store import MemoryStore


@dataclass
class Progress:
    """Adds up the bytes that were fetched or compared."""

    bytes: int = 0

    def __call__(self, count: int) -> None:
        self.bytes += count


@dataclass
class Watched(MemoryStore):
    """A store that notes from which byte each file was read. Its connection may break."""

    starts: list[tuple[str, int]] = field(default_factory=list)
    breaks_after: int | None = None

    def __post_init__(self) -> None:
        super().__init__("offsite")

    def open(self, key: str, start: int = 0) -> io.BufferedIOBase:
        self.starts.append((key.rpartition("/")[2], start))
        found = super().open(key, start)
        return found if self.breaks_after is None else _Breaking(found.read(), self.breaks_after)


class _Breaking(io.BytesIO):
    """Content whose connection breaks after some bytes."""

    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content)
        self._after = after

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() + (size or 0) > self._after:
            raise PermanentError(Reason.STORAGE_UNREACHABLE, "the connection broke")
        return super().read(size)


@pytest.fixture(name="store")
def _store() -> Watched:
    return Watched()


@pytest.fixture(name="offsite")
def _offsite(tmp_path: Path, store: Watched) -> FilledPlace:
    (tmp_path / "root").mkdir()
    return filled(tmp_path / "root", store, "offsite")


@pytest.fixture(name="chain")
def _chain(offsite: FilledPlace) -> tuple[Record, ...]:
    return (offsite.add(a_record(0, parts=1)), offsite.add(a_record(1)))


def file_names(chain: tuple[Record, ...]) -> list[str]:
    return [file.name for record in chain for file in record.files]


def size(chain: tuple[Record, ...]) -> int:
    return sum(record.size for record in chain)


def key_of(record: Record) -> str:
    return artifact_key(record.set, record.database, record.files[0].name)


def fetch(place: Place, chain: tuple[Record, ...], folder: Path) -> int:
    progress = Progress()
    fetch_to_folder(place, chain, folder, progress)
    return progress.bytes


def test_a_folder_gets_every_file_of_the_chain_for_its_user_alone(
    offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"

    assert fetch(offsite.place, chain, folder) == size(chain)

    assert sorted(path.name for path in folder.iterdir()) == sorted(file_names(chain))
    assert all((folder / name).read_bytes() == content(name) for name in file_names(chain))
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_existing_file_is_compared_and_not_fetched_again(
    offsite: FilledPlace, chain: tuple[Record, ...], store: Watched, tmp_path: Path
) -> None:
    fetch(offsite.place, chain, tmp_path / "folder")
    store.starts.clear()

    assert fetch(offsite.place, chain, tmp_path / "folder") == size(chain)

    assert store.starts == []


def test_an_interrupted_file_is_fetched_from_where_it_broke_off(
    offsite: FilledPlace, chain: tuple[Record, ...], store: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_BLOCK", 10)
    store.breaks_after = 25
    with pytest.raises(PermanentError, match="the connection broke"):
        fetch(offsite.place, chain, tmp_path / "folder")
    first = file_names(chain)[0]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [f"{first}.part"]
    store.breaks_after = None
    store.starts.clear()

    fetch(offsite.place, chain, tmp_path / "folder")

    assert store.starts == [(first, 20), *((name, 0) for name in file_names(chain)[1:])]
    assert all((tmp_path / "folder" / name).read_bytes() == content(name) for name in file_names(chain))


@pytest.mark.parametrize("left", [b"other bytes", b"x" * 10_000], ids=["other bytes", "too many bytes"])
def test_a_part_that_does_not_belong_to_the_file_is_fetched_anew(
    offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path, left: bytes
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    first = file_names(chain)[0]
    (folder / f"{first}.part").write_bytes(left)

    fetch(offsite.place, chain, folder)

    assert (folder / first).read_bytes() == content(first)
    assert sorted(path.name for path in folder.iterdir()) == sorted(file_names(chain))


def test_a_complete_partial_file_is_renamed_without_fetching(
    offsite: FilledPlace, chain: tuple[Record, ...], store: Watched, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    first = file_names(chain)[0]
    (folder / f"{first}.part").write_bytes(content(first))

    fetch(offsite.place, chain, folder)

    assert first not in [name for name, _ in store.starts]
    assert (folder / first).read_bytes() == content(first)


def test_a_file_with_other_content_is_not_overwritten(
    offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    mine = folder / file_names(chain)[1]
    mine.write_bytes(b"mine")
    with pytest.raises(PermanentError) as refused:
        fetch(offsite.place, chain, folder)

    assert refused.value.failure.reason is Reason.ALREADY_EXISTS
    assert refused.value.failure.error == f"{mine} exists with other content, and is not overwritten"
    assert mine.read_bytes() == b"mine"


def fetch_in(form: str, place: Place, chain: tuple[Record, ...], folder: Path, stream: io.BytesIO) -> None:
    """Fetch in one of the two forms."""
    if form == "folder":
        fetch_to_folder(place, chain, folder, Progress())
    else:
        fetch_to_stream(place, chain, stream, Progress())


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        pytest.param(slice(0), "it ends 135 bytes too early", id="empty"),
        pytest.param(slice(134), "it ends 1 bytes too early", id="cut off"),
        pytest.param(slice(None), "it is longer than the recorded 135 bytes", id="too long"),
        pytest.param(slice(1, None), "SHA-256 ", id="other bytes"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_an_artifact_that_differs_from_its_record_is_refused(
    offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path, found: slice, fault: str, form: str
) -> None:
    last, stream = chain[-1], io.BytesIO()
    more = b"x" if found.stop is None else b""
    offsite.put(key_of(last), content(last.files[0].name)[found] + more)
    with pytest.raises(PermanentError) as refused:
        fetch_in(form, offsite.place, chain, tmp_path / "folder", stream)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert refused.value.failure.error.startswith(f"offsite: {key_of(last)} differs from its record: {fault}")
    assert not (tmp_path / "folder" / last.files[0].name).exists()
    assert fetching.SUMS.encode() not in stream.getvalue()


def test_a_folder_without_room_is_refused_before_anything_is_fetched(
    offsite: FilledPlace, store: Watched, tmp_path: Path
) -> None:
    record = a_record(0)
    huge = record.model_copy(update={"files": (record.files[0].model_copy(update={"size": 2**62}),)})
    with pytest.raises(PermanentError) as refused:
        fetch(offsite.place, (huge,), tmp_path / "folder")

    assert refused.value.failure.reason is Reason.DISK_FULL
    assert f"{2**62} needed" in refused.value.failure.error
    assert store.starts == []


def test_a_folder_that_is_a_file_is_refused(offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PermanentError) as refused:
        fetch(offsite.place, chain, tmp_path / "file")

    assert str(tmp_path / "file") in refused.value.failure.error


def test_a_tar_ends_with_the_sums_by_which_its_receiver_checks_it(
    offsite: FilledPlace, chain: tuple[Record, ...], tmp_path: Path
) -> None:
    stream, progress = io.BytesIO(), Progress()
    fetch_to_stream(offsite.place, chain, stream, progress)

    assert progress.bytes == size(chain)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as tar:
        assert tar.getnames() == [*file_names(chain), "SHA256SUMS"]
    subprocess.run(["tar", "-xf", "-"], input=stream.getvalue(), cwd=tmp_path, check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert checked.stdout.splitlines() == [f"{name}: OK" for name in file_names(chain)]
    assert hashlib.sha256((tmp_path / file_names(chain)[0]).read_bytes()).hexdigest() == chain[0].files[0].sha256


@pytest.mark.parametrize(("limit", "few"), [(None, 2), (256 << 20, 2), (64 << 20, 1)])
def test_few_ranges_are_read_at_a_time_unless_the_settings_say_it(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, few: int
) -> None:
    monkeypatch.setattr(fetching, "memory_limit", lambda: limit)
    places = {"a": {"bucket": "backups", "prefix": "a"}, "b": {"bucket": "backups", "prefix": "b", "parallel_parts": 9}}
    settings = settings_with(storage={"destinations": places})
    narrow = fetching.with_few_ranges(settings).storage.destinations

    assert [one.parallel_parts for one in narrow.values()] == [few, 9]
    assert [one.identity for one in narrow.values()] == [one.identity for one in settings.storage.destinations.values()]
