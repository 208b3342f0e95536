from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.settings.addresses import split_address
from backup_agent.settings.grammar import size, written_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1B", 1), ("4KiB", 4096), ("50MiB", 52428800), ("2GiB", 2 * 1024**3), ("1TiB", 1024**4)],
)
def test_a_size_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "50", "50M", "50MB", "512m", "50 MiB", "0MiB", "1.5GiB", "-1B", 50, None])
def test_an_invalid_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="512MiB"):
        size(text)


@given(st.integers(1, 2**50 - 1))
def test_a_size_reads_back_as_it_was_written(value: int) -> None:
    assert size(written_size(value)) == value


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (written_size, 52428800, "50MiB"),
        (written_size, 1025, "1025B"),
    ],
)
def test_values_are_written_in_the_largest_unit_that_fits(
    write: Callable[[object], str], value: object, expected: str
) -> None:
    assert write(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo-client:7687", ("demo-client", 7687)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("[fe80::1]", ("fe80::1", None)),
        ("server.example.com.", ("server.example.com.", None)),
    ],
)
def test_an_address_has_a_host_and_maybe_a_port(text: str, expected: tuple[str, int | None]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "host:",
        "host:65536",
        "host:x",
        "::1",
        "[::1",
        "[zz]:1",
        "a b",
        "user@host:1",
        "-x",
        "host/path",
        "x" * 254,
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        split_address(text)
