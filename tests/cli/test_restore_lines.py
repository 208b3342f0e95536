"""`show --restore`: the lines for 3 a.m., or a plain no."""

from backup_agent.core.names import damage_key
from backup_agent.core.records import Record
from tests.cli.conftest import Place


def present(place: Place, *records: Record) -> None:
    """Put something of the recorded size where the artifacts should be."""
    for record in records:
        (place.root / record.key).write_bytes(bytes(record.size))


def test_a_point_is_restored_with_all_that_it_needs(place: Place) -> None:
    full, differential = place.record(), place.record(1, full=False)
    present(place, full, differential)
    result = place.run("show", "--restore", differential.key)

    assert result.code == 0
    assert all(f"{file.sha256}  {file.name}" in result.out for one in (full, differential) for file in one.files)
    assert f'--from-path="$FOLDER/{differential.files[0].name}"' in result.out


def test_a_point_whose_full_is_damaged_is_not_promised(place: Place) -> None:
    full, differential = place.record(), place.record(1, full=False)
    present(place, full, differential)
    (place.root / damage_key(full.key)).write_bytes(b"{}")
    result = place.run("show", "--restore", differential.key)

    assert (result.code, result.out) == (1, "")
    assert "missing or damaged" in result.err


def test_a_point_whose_full_is_missing_is_not_promised(place: Place) -> None:
    full, differential = place.record(), place.record(1, full=False)
    present(place, differential)
    result = place.run("show", "--restore", differential.key)

    assert (result.code, result.out) == (1, "")
    assert full.key not in result.out


def test_what_is_not_recorded_has_no_lines(place: Place) -> None:
    assert place.run("show", "--restore", "nightly").code == 1
