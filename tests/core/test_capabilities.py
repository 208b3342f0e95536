import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.capabilities import (
    OLDEST,
    TABLE,
    Capabilities,
    Capability,
    Version,
    may_overlap,
    newest,
    other_line,
    same_line,
)
from backup_agent.core.reasons import PermanentError, Reason


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        pytest.param("5.26.31\n", Version(5, 26, 31), "5.26.31", id="long-term"),
        pytest.param("2026.09.0\n", Version(2026, 9, 0), "2026.09.0", id="calendar"),
        pytest.param("2025.11.2", Version(2025, 11, 2), "2025.11.2", id="calendar, two digits"),
        pytest.param("neo4j 5.26.31", Version(5, 26, 31), "5.26.31", id="the command version"),
        pytest.param("neo4j-admin 2026.09.0", Version(2026, 9, 0), "2026.09.0", id="named neo4j-admin"),
        pytest.param("neo4j-5.26.0", Version(5, 26, 0), "5.26.0", id="as an image tag"),
        pytest.param("v5.26", Version(5, 26), "5.26.0", id="without patch"),
        pytest.param("2026.09.0-SNAPSHOT", Version(2026, 9, 0), "2026.09.0-SNAPSHOT", id="suffix"),
        pytest.param("5.26.3-drop02.1+a1b2c3", Version(5, 26, 3), "5.26.3-drop02.1+a1b2c3", id="long suffix"),
        pytest.param(
            "Picked up JAVA_TOOL_OPTIONS: -Dx=1.2.3\nWARNING: Using incubator modules: jdk.incubator.vector\r\n5.26.31\r\n",
            Version(5, 26, 31),
            "5.26.31",
            id="among the JVM's own lines",
        ),
    ],
)
def test_a_version_is_read_from_the_output_of_neo4j_admin(text: str, expected: Version, shown: str) -> None:
    version = Version.parse(text)

    assert expected == version
    assert shown == str(version)


@pytest.mark.parametrize("text", ["", "\n", "neo4j", "five", "usage: neo4j-admin 5.26.31 <command>", "1.2.3.4.5 /x"])
def test_output_without_a_version_gives_none(text: str) -> None:
    assert Version.parse(text) is None


@given(st.text())
def test_any_text_gives_a_version_or_none(text: str) -> None:
    assert isinstance(Version.parse(text), Version | None)


@given(st.builds(Version, st.integers(5, 3000), st.integers(0, 99), st.integers(0, 9999)))
def test_a_version_survives_a_round_trip_through_text(version: Version) -> None:
    assert version == Version.parse(str(version))


def test_versions_are_ordered_by_number_and_not_by_text() -> None:
    texts = ["5.9.0", "5.26.4", "5.26.31", "2025.02.0", "2025.11.0", "2026.01.0"]

    assert [Version.parse(text) for text in texts] == sorted(filter(None, map(Version.parse, reversed(texts))))


def capabilities(text: str) -> set[str]:
    return set(Capabilities.of(Version.parse(text)).has)


@pytest.mark.parametrize(
    ("older", "newer", "added", "removed"),
    [
        ("5.26.0", "2025.01.0", {"backup aggregate"}, set()),
        ("2025.03.0", "2025.04.0", {"--prefer-diff-as-parent"}, set()),
        ("2025.06.2", "2025.07.0", set(), {"--show-metadata"}),
        ("2025.08.0", "2025.09.0", {"--remote-address-resolution"}, set()),
        ("2025.09.0", "2025.10.0", {"--include-metadata=users=..."}, set()),
        ("2025.10.1", "2025.11.0", {"--parallel-download", "--skip-recovery"}, set()),
        ("2026.01.4", "2026.02.0", {"overlap of a full and its first differential"}, set()),
        ("2026.02.0", "2031.12.9", set(), set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_capabilities_are_added_and_removed_between_versions(
    older: str, newer: str, added: set[str], removed: set[str]
) -> None:
    assert added == capabilities(newer) - capabilities(older)
    assert removed == capabilities(older) - capabilities(newer)


def test_the_long_term_version_has_only_the_oldest_options() -> None:
    assert {"--compress", "--temp-path", "backup inspect", "--show-metadata"} == capabilities("5.26.0")


def test_a_pre_release_counts_as_its_release() -> None:
    assert capabilities("2025.11.0") == capabilities("2025.11.0-SNAPSHOT")


def test_a_version_that_is_too_old_is_refused() -> None:
    with pytest.raises(PermanentError) as refused:
        Capabilities.of(Version(5, 25, 1))

    assert refused.value.failure.reason is Reason.ADMIN_MISSING
    assert refused.value.failure.error == "neo4j-admin is version 5.25.1, but 5.26.0 or newer is required"


def test_an_unknown_version_has_the_capabilities_of_all_versions_and_a_warning() -> None:
    unknown = Capabilities.of(None)

    assert {Capability.COMPRESS, Capability.TEMP_PATH, Capability.INSPECT} == unknown.has
    assert list(unknown.warnings) == [
        "the version of neo4j-admin is unknown: only options of every version since 5.26.0 are used"
    ]


def test_every_capability_has_one_row_with_its_source() -> None:
    assert set(Capability) == {row.capability for row in TABLE}
    assert len(Capability) == len(TABLE)
    assert all(row.source for row in TABLE)
    assert str(OLDEST) == "5.26.0"


@pytest.mark.parametrize(
    ("admin", "servers", "expected"),
    [
        pytest.param("5.26.31", ("5.26.4", "5.26.31"), None, id="same line"),
        pytest.param("2026.09.0", ("2026.01.0",), None, id="same year"),
        pytest.param("2026.09.0", (), None, id="servers unknown"),
        pytest.param("2026.09.0", ("nonsense",), None, id="servers unreadable"),
        pytest.param("", ("5.26.4",), None, id="neo4j-admin unknown"),
        pytest.param("2026.09.0", ("2025.12.1",), None, id="a year older"),
        pytest.param(
            "2026.09.0",
            ("5.26.31", "2026.09.0", "5.26.4", "2025.12.1"),
            "neo4j-admin is version 2026.09.0, but servers are version 5.26.4, 5.26.31: "
            "install neo4j-admin of the servers' release line",
            id="another release line",
        ),
    ],
)
def test_servers_of_another_release_line_give_a_warning(
    admin: str, servers: tuple[str, ...], expected: str | None
) -> None:
    assert expected == other_line(Version.parse(admin), servers)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param("5.26.30", "5.26.31", True, id="patches of 5.26"),
        pytest.param("2025.09.0", "2025.10.0", True, id="a month later"),
        pytest.param("2025.12.1", "2026.01.0", True, id="a year later"),
        pytest.param("5.26.31", "2025.01.0", False, id="5.26 and calendar"),
        pytest.param("5.25.1", "5.26.0", False, id="before 5.26"),
        pytest.param(None, "5.26.31", True, id="one unknown"),
        pytest.param("2026.09.0", "nightly", True, id="one unreadable"),
    ],
)
def test_a_chain_continues_within_a_release_line_without_a_warning(one: str | None, other: str, expected: bool) -> None:
    assert same_line(one, other) is same_line(other, one) is expected
    assert (other_line(Version.parse(one or ""), (other,)) is None) is expected


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ((), None),
        (("nightly",), None),
        (("5.26.9", "5.26.31"), "5.26.31"),
        (("5.26.31", "2025.01.0"), "2025.01.0"),
        (("nightly", "2026.9.0", "2026.10.0"), "2026.10.0"),
    ],
)
def test_the_newest_version_is_found_by_number_and_not_by_text(versions: tuple[str, ...], expected: str | None) -> None:
    assert newest(versions) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5.26.31", False),
        ("2026.01.4", False),
        ("2026.02.0", True),
        ("2027.01", True),
        ("neo4j", None),
        (None, None),
    ],
)
def test_a_differential_may_overlap_its_full_since_2026_02(version: str | None, expected: bool | None) -> None:
    assert may_overlap(version) is expected
