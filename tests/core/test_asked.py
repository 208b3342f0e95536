"""How a person names an artifact or a restore point."""

import pytest

from backup_agent.core.artifacts.names import database_name
from backup_agent.core.restore.asked import AskedArtifact, AskedDatabase, artifact_id, parse_asked
from backup_agent.core.restore.moments import parse_moment

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
OTHER = "default/old-orders/old-orders-2026-11-23T02-00-00.backup"
ORDERS = database_name("orders")


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"{KEY}.json",
        f"/backups/{KEY}",
        f"/backups/{KEY}.json",
        "orders-2026-11-23T02-00-00.backup",
        "orders-2026-11-23T02-00-00.backup.json",
        "orders-2026-11-23T02-00-00",
        "default/orders/orders-2026-11-23T02-00-00",
    ],
)
def test_an_artifact_is_named_by_its_key_its_path_or_its_file(text: str) -> None:
    asked = parse_asked(text)

    assert isinstance(asked, AskedArtifact)
    assert (asked.names(KEY), asked.names(OTHER)) == (True, False)


def test_an_artifact_is_named_by_the_beginning_of_its_id() -> None:
    asked = parse_asked(artifact_id(KEY))

    assert isinstance(asked, AskedDatabase)
    assert asked.artifact is not None
    assert (asked.artifact.names(KEY), asked.artifact.names(OTHER)) == (True, False)
    assert AskedArtifact(artifact_id(KEY)[:6]).names(KEY)
    assert not AskedArtifact(artifact_id(KEY)[:5]).names(KEY)


def test_a_text_that_is_not_an_id_names_no_artifact() -> None:
    asked = parse_asked("orders")

    assert isinstance(asked, AskedDatabase)
    assert asked.artifact is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("orders", None),
        ("orders@latest", None),
        ("orders@2026-11-28T01:30:00Z", "2026-11-28T01:30:00Z"),
        ("orders@2026-11-28 02:30 Europe/Berlin", "2026-11-28 02:30 Europe/Berlin"),
    ],
)
def test_a_restore_point_is_named_by_its_database_and_a_moment(text: str, moment: str | None) -> None:
    assert parse_asked(text) == AskedDatabase(ORDERS, parse_moment(moment) if moment else None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "names neither a database nor an artifact: write DATABASE, DATABASE@latest"),
        ("or ders", "names neither a database nor an artifact"),
        ("@latest", "'@latest' names neither"),
        ("orders@", "'' is not a time: write it as"),
        ("orders@yesterday", "'yesterday' is not a time: write it as"),
        ("orders@2026-11-28 02:30", "has no time zone"),
    ],
)
def test_a_text_that_names_nothing_is_refused_with_the_possible_forms(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_asked(text)

    assert fault in str(refused.value)
