"""Whether a volume allows hard links."""

import errno
from pathlib import Path

import pytest

from backup_agent.catalog.space import allows_hard_links


def test_a_local_folder_allows_hard_links_and_keeps_no_probe(tmp_path: Path) -> None:
    assert allows_hard_links(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "allowed"),
    [
        pytest.param(errno.EPERM, False, id="refused"),
        pytest.param(errno.EOPNOTSUPP, False, id="not supported"),
        pytest.param(errno.ENOSPC, True, id="no room for the probe"),
        pytest.param(errno.EDQUOT, True, id="no room in the quota"),
    ],
)
def test_only_a_refused_link_means_that_links_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, allowed: bool
) -> None:
    def fail(_self: Path, _target: Path) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "hardlink_to", fail)

    assert allowed == allows_hard_links(tmp_path)
