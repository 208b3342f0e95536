"""When a lease may be taken."""

import json

import pytest

from backup_agent.core.ownership.lease import HOLD_PERIODS, MOST, TAKE_PERIODS, Lease, may_take

HELD = Lease(holder="a", agent="a", token="t", number=7, renewal=3, period=10, seat="boot:1:2")


@pytest.mark.parametrize(
    ("found", "unchanged", "expected"),
    [
        pytest.param(None, 0, True, id="nothing there"),
        pytest.param(HELD.given_up(), 0, True, id="given up"),
        pytest.param(HELD.model_copy(update={"seat": "ours"}), 0, True, id="its holder has ended"),
        pytest.param(HELD, 29.9, False, id="not watched for three periods"),
        pytest.param(HELD, 30.0, True, id="silent for three periods"),
        pytest.param(HELD.model_copy(update={"period": 60}), 30.0, False, id="its own period counts"),
    ],
)
def test_a_lease_may_be_taken_if_it_is_free_or_its_holder_is_dead_or_silent(
    found: Lease | None, unchanged: float, expected: bool
) -> None:
    assert may_take(found, seat="ours", unchanged=unchanged) is expected


def test_a_lease_counts_as_lost_before_another_agent_may_take_it() -> None:
    assert HOLD_PERIODS < TAKE_PERIODS


def test_each_write_of_a_lease_has_another_content() -> None:
    written = [HELD, HELD.renewed(), HELD.renewed().renewed(), HELD.renewed().given_up()]

    assert len({lease.to_json() for lease in written}) == len(written)
    assert {lease.number for lease in written} == {7}


def test_a_lease_survives_a_round_trip_through_json() -> None:
    assert Lease.from_json(HELD.to_json()) == HELD


def test_a_lease_of_a_newer_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        Lease.from_json(HELD.to_json().replace(b'"schema": 1', b'"schema": 2'))


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"number": MOST + 1}, id="a number that records cannot be signed with"),
        pytest.param({"number": 10**30}, id="a number of 31 digits"),
        pytest.param({"period": 1e300}, id="a period that never ends"),
        pytest.param({"period": 3601}, id="a period of more than an hour"),
    ],
)
def test_a_lease_that_no_agent_would_write_is_refused(forged: dict[str, float]) -> None:
    document = {**json.loads(HELD.to_json()), **forged}

    with pytest.raises(ValueError, match=next(iter(forged))):
        Lease.from_json(json.dumps(document).encode())
