"""Whether backups or the work at destinations may start, by what waits, what runs, and the memory."""

import pytest

from backup_agent.core.requests.turns import Load, Turn, turn


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        pytest.param(Load(2, jvms=1, waits=True, working=1, due=True), Turn(True, 1), id="one more fits"),
        pytest.param(Load(2, jvms=1, waits=True, working=2, due=True), Turn(True, 0), id="no more fits"),
        pytest.param(Load(0), Turn(True, 1), id="small and idle"),
        pytest.param(Load(0, waits=True), Turn(True, 0), id="small, no destination is due"),
        pytest.param(Load(0, waits=True, due=True), Turn(False, 1), id="small, the destination's turn"),
        pytest.param(Load(0, due=True), Turn(False, 1), id="small, only the destination wants to work"),
        pytest.param(Load(0, working=1), Turn(False, 0), id="small, the destination works"),
        pytest.param(
            Load(0, waits=True, working=1, due=True), Turn(False, 0, yields=True), id="small, a backup waits for it"
        ),
        pytest.param(Load(0, jvms=1, waits=True), Turn(True, 0), id="small, a backup runs"),
        pytest.param(Load(0, jvms=1, waits=True, due=True), Turn(False, 0), id="small, destinations wait for it"),
    ],
)
def test_backups_or_destinations_may_start_as_the_table_says(load: Load, expected: Turn) -> None:
    assert turn(load) == expected


@pytest.mark.parametrize("destinations", [1, 3])
@pytest.mark.parametrize("failing", [0, 1], ids=["all work", "one fails"])
def test_a_small_pod_gives_turns_to_backups_and_destinations_all_night(destinations: int, failing: int) -> None:
    """There are always backups and missing copies. Each step ends what ran in the step before."""
    backups = 0
    turns = dict.fromkeys(range(destinations), 0)
    served: set[int] = set()
    for _ in range(1000):
        due = [number for number in turns if number not in served and number >= failing]
        allowed = turn(Load(0, waits=True, due=bool(due)))
        if allowed.backups:
            backups += 1
            served.clear()
        elif allowed.destinations:
            turns[due[0]] += 1
            served.add(due[0])

    working = destinations - failing
    assert backups >= 1000 // (working + 1)
    assert all(turns[number] >= 1000 // (working + 1) for number in range(failing, destinations))
