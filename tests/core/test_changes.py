"""The changes of an answer: applied to its stored form, they give the last answer."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, DatabaseResult, Outcome, State
from backup_agent.core.requests.changes import changes_of, with_changes

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
NAMES = ("customers", "neo4j", "orders")
QUEUED = Answer(id="nightly", state=State.QUEUED, intake="i", received=NOW, position=3, request={"type": "FULL"})
SELECTED = QUEUED.with_results(dict.fromkeys(NAMES, DatabaseResult()), (), {})
ENDED = DatabaseResult(outcome=Outcome.SUCCEEDED, attempts=1, artifact="default/orders/o.backup", stages={"run": 1.5})


def step(answer: Answer, name: str, what: int) -> Answer:
    """Return the answer after one thing that happens to a database, or to the whole request."""
    match what:
        case 0:
            return answer.with_result(name, answer.databases[name].model_copy(update={"outcome": Outcome.RUNNING}))
        case 1:
            return answer.with_result(name, ENDED)
        case 2:
            return answer.with_result(name, answer.databases[name].failed(Failure(Reason.DISK_FULL, "é\n"), NOW))
        case 3:
            return answer.model_copy(update={"stage": "run", "progress": {"database": name, "bytes": 7}})
        case 4:
            return answer.model_copy(update={"stage": None, "progress": None, "position": None})
        case _:
            return answer.model_copy(update={"files": (*answer.files, name), "started": NOW + timedelta(what)})


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 6)), max_size=12), st.booleans())
def test_an_entry_with_its_changes_is_the_last_answer(steps: list[tuple[str, int]], from_the_start: bool) -> None:
    answers = [QUEUED, SELECTED] if from_the_start else [SELECTED]
    for name, what in steps:
        answers.append(step(answers[-1], name, what))
    lines = b"".join(changes_of(before, after) for before, after in pairwise(answers))

    assert Answer.from_json(with_changes(answers[0].to_json(), lines)) == answers[-1]


def test_a_line_names_only_what_has_changed() -> None:
    line = changes_of(SELECTED, SELECTED.with_result("orders", ENDED).model_copy(update={"position": None}))

    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "position": None,
        "databases": {"orders": json.loads(ENDED.model_dump_json(exclude_none=True))},
    }


def test_a_line_that_is_cut_off_is_skipped_and_the_others_count() -> None:
    first = SELECTED.with_result("neo4j", ENDED)
    last = first.with_result("orders", ENDED)
    cut = changes_of(SELECTED, SELECTED.with_result("customers", ENDED))[:-20]
    lines = changes_of(SELECTED, first) + cut + b"\n" + b"[]\n7\n" + changes_of(first, last) + cut

    assert Answer.from_json(with_changes(SELECTED.to_json(), lines)) == last


def test_keys_of_a_newer_agent_stay() -> None:
    entry = {**json.loads(SELECTED.to_json()), "approved_by": "the DBA"}
    lines = changes_of(SELECTED, SELECTED.with_result("orders", ENDED))

    assert json.loads(with_changes(json.dumps(entry).encode(), lines))["approved_by"] == "the DBA"
