"""The reserve: made if the volume has plenty of space, and given up file by file if the volume is full."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.catalog.space import VolumeSpace
from backup_agent.supervisor.requests import reserve
from backup_agent.supervisor.requests.reserve import (
    BLOCK,
    FILES,
    PLENTY,
    WHOLE,
    Reserve,
    Size,
    missing,
    nearly_full,
    size_on,
)

MIB = 2**20
LARGE = VolumeSpace(size=100 * 2**30, free=50 * 2**30, files=6_000_000, free_files=5_000_000)

VOLUMES = st.builds(
    VolumeSpace,
    size=st.integers(0, 2**42),
    free=st.integers(0, 2**42),
    files=st.integers(0, 10**7),
    free_files=st.integers(0, 10**7),
)


@pytest.mark.parametrize(
    ("volume", "size"),
    [
        pytest.param(LARGE, Size(FILES, 512 * 1024), id="64 MiB"),
        pytest.param(VolumeSpace(2 * 2**30, 0), Size(FILES, 512 * 1024), id="2 GiB is large enough"),
        pytest.param(VolumeSpace(2**30, 0), Size(FILES, 256 * 1024), id="1 GiB"),
        pytest.param(VolumeSpace(16 * MIB, 0), Size(128, BLOCK), id="16 MiB"),
        pytest.param(VolumeSpace(16 * MIB, 0, files=80), Size(10, BLOCK), id="few inodes"),
        pytest.param(VolumeSpace(64 * 1024, 0), Size(0, BLOCK), id="too small for any"),
    ],
)
def test_the_size_of_a_reserve_depends_on_the_volume(volume: VolumeSpace, size: Size) -> None:
    assert size == size_on(volume)


@pytest.mark.parametrize(
    ("volume", "present", "made"),
    [
        pytest.param(LARGE, 0, FILES, id="all of it"),
        pytest.param(LARGE, 120, 8, id="the rest"),
        pytest.param(LARGE, FILES + 3, 0, id="more than enough"),
        pytest.param(VolumeSpace(100 * 2**30, WHOLE * (1 + PLENTY) - 1), 0, 0, id="nearly full"),
        pytest.param(VolumeSpace(100 * 2**30, WHOLE * (1 + PLENTY)), 0, FILES, id="just enough"),
        pytest.param(
            VolumeSpace(100 * 2**30, 50 * 2**30, 6_000_000, FILES * (1 + PLENTY) - 1), 0, 0, id="few inodes left"
        ),
    ],
)
def test_a_reserve_is_made_only_if_there_is_plenty_of_space(volume: VolumeSpace, present: int, made: int) -> None:
    assert made == missing(volume, present)


@given(VOLUMES, st.integers(0, 150))
def test_making_a_reserve_never_makes_a_volume_nearly_full(volume: VolumeSpace, present: int) -> None:
    made = missing(volume, present)
    after = VolumeSpace(volume.size, volume.free - made * size_on(volume).each, volume.files, volume.free_files - made)

    assert not made or not nearly_full(after)


@pytest.mark.parametrize(
    ("volume", "nearly"),
    [
        (LARGE, False),
        (VolumeSpace(100 * 2**30, WHOLE - 1), True),
        (VolumeSpace(100 * 2**30, WHOLE), False),
        (VolumeSpace(100 * 2**30, 50 * 2**30, 6_000_000, FILES - 1), True),
    ],
)
def test_a_volume_is_nearly_full_if_less_than_the_reserve_is_free(volume: VolumeSpace, nearly: bool) -> None:
    assert nearly == nearly_full(volume)


def test_a_reserve_allocates_its_bytes_and_is_made_once(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "reserve")
    made = kept.make()
    facts = [path.stat() for path in kept.folder.iterdir()]

    assert made == len(facts) > 0
    assert all(fact.st_blocks * 512 >= fact.st_size > 0 for fact in facts)
    assert kept.make() == 0


def test_a_reserve_is_given_up_file_by_file_and_made_again(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "reserve")
    made = kept.make()

    assert [kept.give_up() for _ in range(made + 1)] == [True] * made + [False]
    assert kept.make() == made


def test_without_a_reserve_there_is_nothing_to_give_up(tmp_path: Path) -> None:
    assert not Reserve(tmp_path / "nothing").give_up()


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert Reserve(tmp_path / "file" / "reserve").make() == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_volume_the_reserve_is_given_up_until_writing_succeeds(tmp_path: Path, number: int) -> None:
    kept = Reserve(tmp_path / "reserve")
    made = kept.make()

    def act() -> str:
        if len(list(kept.folder.iterdir())) > made - 3:
            raise OSError(number, os.strerror(number))
        return "done"

    assert kept.insist(act) == "done"
    assert len(list(kept.folder.iterdir())) == made - 3


def test_without_a_reserve_a_full_volume_is_an_error(tmp_path: Path) -> None:
    def act() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Reserve(tmp_path / "reserve").insist(act)


def test_an_error_other_than_a_full_volume_leaves_the_reserve(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "reserve")
    made = kept.make()

    def act() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        kept.insist(act)
    assert len(list(kept.folder.iterdir())) == made


@pytest.mark.parametrize(("free", "left"), [(0, 0), (50 * 2**30, FILES)])
def test_the_whole_reserve_is_given_up_only_on_a_full_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, left: int
) -> None:
    kept = Reserve(tmp_path / "reserve")
    monkeypatch.setattr(reserve, "space", lambda _: LARGE)
    kept.make()
    monkeypatch.setattr(reserve, "space", lambda _: VolumeSpace(100 * 2**30, free))
    kept.clear_the_way()

    assert left == len(list(kept.folder.iterdir()))
