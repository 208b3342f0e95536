"""The card of a store: processes share its findings through a file, and each finding is used for a day."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.stores.features import BELIEVED, Feature, StoreCard, StoreFeatures

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return tmp_path / "stores" / "offsite" / "card.json"


def test_the_findings_of_one_process_are_known_to_the_next(card: Path, clock: Clock) -> None:
    StoreFeatures(card, "here", clock).note(Feature.CHECKSUMS, has=False, how="PutObject: HTTP 501")

    assert StoreFeatures(card, "here", clock).has(Feature.CHECKSUMS) is False
    assert StoreCard.read(card, "here").features["checksums"].how == "PutObject: HTTP 501"


def test_findings_about_another_store_are_ignored(card: Path, clock: Clock) -> None:
    StoreFeatures(card, "here", clock).note(Feature.CHECKSUMS, has=True, how="x")

    assert StoreFeatures(card, "there", clock).has(Feature.CHECKSUMS) is None


@pytest.mark.parametrize(
    ("age", "known"),
    [(timedelta(0), True), (BELIEVED - timedelta(seconds=1), True), (BELIEVED, None), (timedelta(seconds=-1), None)],
    ids=str,
)
def test_a_finding_is_used_for_a_day(card: Path, clock: Clock, age: timedelta, known: bool | None) -> None:
    features = StoreFeatures(card, "here", clock)
    features.note(Feature.CHECKSUMS, has=True, how="x")

    clock.now += age

    assert features.has(Feature.CHECKSUMS) is known


def test_two_processes_do_not_overwrite_each_others_findings(card: Path, clock: Clock) -> None:
    first, second = StoreFeatures(card, "here", clock), StoreFeatures(card, "here", clock)
    first.note(Feature.CHECKSUMS, has=True, how="x")
    clock.now += timedelta(hours=1)
    second.note(Feature.CHECKSUMS, has=False, how="y")
    second.note(Feature.UPLOAD_LISTS, has=True, how="z")
    first.note(Feature.OLD_VERSIONS, has=True, how="x")

    assert [first.has(one) for one in (Feature.CHECKSUMS, Feature.UPLOAD_LISTS, Feature.OLD_VERSIONS)] == [
        False,
        True,
        True,
    ]


def test_a_known_finding_is_not_written_again(card: Path, clock: Clock) -> None:
    features = StoreFeatures(card, "here", clock)
    features.note(Feature.CHECKSUMS, has=True, how="x")
    written = card.stat()

    features.note(Feature.CHECKSUMS, has=True, how="y")

    assert card.stat() == written


def test_a_finding_that_is_forgotten_is_unknown_to_all_processes(card: Path, clock: Clock) -> None:
    features = StoreFeatures(card, "here", clock)
    features.note(Feature.CHECKSUMS, has=True, how="x")

    features.forget(Feature.CHECKSUMS)
    features.forget(Feature.UPLOAD_LISTS)

    assert features.has(Feature.CHECKSUMS) is None
    assert StoreFeatures(card, "here", clock).has(Feature.CHECKSUMS) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2, "identity": "here"}', b"[]", b"\xff" * 100])
def test_a_card_that_cannot_be_read_is_made_anew(card: Path, clock: Clock, content: bytes) -> None:
    card.parent.mkdir(parents=True)
    card.write_bytes(content)
    features = StoreFeatures(card, "here", clock)

    assert features.has(Feature.CHECKSUMS) is None
    features.note(Feature.CHECKSUMS, has=True, how="x")
    assert StoreFeatures(card, "here", clock).has(Feature.CHECKSUMS) is True


def test_findings_that_cannot_be_written_are_known_to_this_process(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "stores").write_bytes(b"no folder")
    features = StoreFeatures(tmp_path / "stores" / "card.json", "here", clock)

    features.note(Feature.CHECKSUMS, has=True, how="x")
    features.note(Feature.UPLOAD_LISTS, has=False, how="x")

    assert (features.has(Feature.CHECKSUMS), features.has(Feature.UPLOAD_LISTS)) == (True, False)
