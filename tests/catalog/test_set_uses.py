"""The last request for each ad hoc set is noted on the volume. Unreadable notes do not make a set expire."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_agent.catalog.set_uses import MOST, note_use, uses
from backup_agent.core.artifacts.names import SetName

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_last_use_of_a_set_is_kept(tmp_path: Path) -> None:
    note_use(tmp_path, SetName("test"), NOW)
    note_use(tmp_path, SetName("release"), NOW + HOUR)
    note_use(tmp_path, SetName("test"), NOW - HOUR)  # a clock was set back

    found = uses(tmp_path, NOW)
    assert (found.of(SetName("test")), found.of(SetName("release")), found.of(SetName("never"))) == (
        NOW,
        NOW + HOUR,
        None,
    )


def test_if_uses_cannot_be_read_every_set_counts_as_used_now(tmp_path: Path) -> None:
    note_use(tmp_path, SetName("test"), NOW - 9 * HOUR)
    (tmp_path / ".agent" / "adhoc.json").write_text("{")

    assert uses(tmp_path, NOW).of(SetName("test")) == NOW
    note_use(tmp_path, SetName("release"), NOW)
    assert uses(tmp_path, NOW + HOUR).of(SetName("test")) == NOW


def test_only_the_sets_used_last_are_remembered(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        note_use(tmp_path, SetName(f"set-{number}"), NOW + number * HOUR)

    found = uses(tmp_path, NOW)
    assert len(found.used) == MOST
    assert (found.of(SetName("set-0")), found.of(SetName(f"set-{MOST + 4}"))) == (None, NOW + (MOST + 4) * HOUR)
