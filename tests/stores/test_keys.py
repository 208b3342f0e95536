"""Valid and invalid keys, and the keys that are listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.keys import is_listed, parts_of

NO_KEYS = [
    pytest.param("", id="empty"),
    pytest.param("/etc/passwd", id="absolute"),
    pytest.param("../outside", id="parent"),
    pytest.param("a/../../outside", id="parent in the middle"),
    pytest.param("a//b", id="empty part"),
    pytest.param("a/./b", id="dot"),
    pytest.param("a/", id="slash at the end"),
    pytest.param("a\0b", id="nul"),
    pytest.param("a\nb", id="line break"),
    pytest.param("a\x7fb", id="delete"),
    pytest.param("a\udc80b", id="surrogate"),
    pytest.param("a\\b", id="backslash"),
    pytest.param("x" * 256, id="part too long"),
    pytest.param("/".join(["x" * 200] * 5), id="key too long"),
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_an_invalid_key_is_refused_and_never_listed(key: str) -> None:
    with pytest.raises(PermanentError) as refused:
        parts_of(key)

    assert refused.value.failure.reason is Reason.INVALID_REQUEST
    assert not is_listed(key)


@given(st.text(max_size=40))
def test_a_valid_key_stays_below_its_root(key: str) -> None:
    try:
        parts = parts_of(key)
    except PermanentError:
        return

    assert "/".join(parts) == key
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize("key", ["a/b.backup", "owner.json", "default/naïve/x y"])
def test_a_key_is_listed(key: str) -> None:
    assert parts_of(key) == tuple(key.split("/"))
    assert is_listed(key)


def test_the_lost_and_found_of_a_file_system_is_not_listed() -> None:
    assert not is_listed("lost+found/#12")
    assert is_listed("lost+found.txt")


@pytest.mark.parametrize("key", [".agent/x", "default/.x", "default/.hidden/x"])
def test_the_agents_own_names_are_valid_and_not_listed(key: str) -> None:
    assert parts_of(key)
    assert not is_listed(key)
