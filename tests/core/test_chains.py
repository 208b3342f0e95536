"""Chains: examples in letters (tests/core/letters.py), and properties."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.core.artifacts.chain_limits import ChainLimits
from backup_agent.core.artifacts.chains import (
    Ancestry,
    Chain,
    TypeDecision,
    TypeReason,
    chains,
    continues,
    decide,
    everything_needed,
    histories,
    history_id,
    holes,
    live_chain,
    parent_of,
    possible_parents,
)
from backup_agent.core.artifacts.records import BackupType, Record
from tests.builders import record_of
from tests.core.letters import DATABASE_IDS, START, entries


def records(text: str, **more: Any) -> dict[str, Record]:
    """Return the records of artifacts in letters, by name."""
    return {line.key.rpartition("/")[2]: record_of(line).model_copy(update=more) for line in entries(text)}


def a_record(word: str) -> Record:
    """Return the record of one artifact in letters."""
    (one,) = records(word).values()
    return one


def names(members: Iterable[Record]) -> str:
    return " ".join(member.files[0].name for member in members)


def chain_names(found: Iterable[Chain[Record]]) -> list[str]:
    return [names(chain.records) + "".join(f" +{name}" for name in names(chain.empty).split()) for chain in found]


@pytest.mark.parametrize(
    ("text", "expected", "loose"),
    [
        pytest.param("", [], "", id="nothing"),
        pytest.param("F1[1-10]", ["F1"], "", id="a full alone"),
        pytest.param("F1[1-10] D1[11-15] D2[16-16]", ["F1 D1 D2"], "", id="each starts where the previous one ends"),
        pytest.param("D1[11-15]", [], "D1", id="no full"),
        pytest.param("F1[1-10] D2[16-20]", ["F1"], "D2", id="a hole"),
        pytest.param("F1[1-10] D1[11-15] D3[21-25] D4[26-30]", ["F1 D1"], "D3 D4", id="everything after a hole is loose"),
        pytest.param("F1[1-10] E1 D1[11-15] E2", ["F1 D1 +E1 +E2"], "", id="empty differentials change nothing"),
        pytest.param("E1 F1[1-10]", ["F1"], "", id="an empty one before everything"),
        pytest.param("F1[1-10] E1:b", ["F1"], "", id="an empty one of another database"),
        pytest.param("F1[1-10] D1[11-15] F2[1-20] D2[21-25]", ["F1 D1", "F2 D2"], "", id="a full starts a new chain"),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25]", ["F1 D1 D2", "F2 D2"], "", id="2026.02: the first may overlap its full"
        ),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25] D3[26-30]",
            ["F1 D1 D2 D3", "F2 D2 D3"], "", id="2026.02: a full between does not break the older chain",
        ),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25]@2026.02.0", ["F1 D1 D2", "F2 D2"], "", id="2026.02 itself"
        ),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25]@2026.01.4",
            ["F1 D1", "F2"], "D2", id="before 2026.02 a full between breaks the chain",
        ),
        pytest.param("F1[1-20] D1[16-25]@5.26.31", ["F1"], "D1", id="before 2026.02 no differential overlaps"),
        pytest.param("F1[1-20] D1[16-25]@none", ["F1 D1"], "", id="with an unknown version it may"),
        pytest.param("F1[1-10] D1[11-20] D2[16-25]", ["F1 D1"], "D2", id="a later one must not overlap"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15] D2[16-20]@5.26.31", ["F1 D1", "F2 D2"], "", id="5.26: an idle full between"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15] D2[16-20]", ["F1 D1 D2", "F2 D2"], "", id="2026.02: an idle full between"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15] D2[16-20]<F2", ["F1 D1", "F2 D2"], "", id="the recorded parent decides"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15] D2[16-20]<D1@5.26.31", ["F2", "F1 D1 D2"], "", id="the recorded parent decides before 2026.02"),
        pytest.param("F1[1-10] D1[11-15]<F9", ["F1 D1"], "", id="a recorded parent that is missing"),
        pytest.param("F1[1-10] D1[11-15] D2[16-20]<F1", ["F1 D1 D2"], "", id="a recorded parent that does not fit"),
        pytest.param("F1[1-10] D1[11-15] D2[11-18] D3[19-20]", ["F1 D1", "F1 D2 D3"], "", id="two ends of one full"),
        pytest.param("F1[1-20] D1[15-18] D2[19-25]", ["F1 D1", "F1 D2"], "", id="the shortest way from a full"),
        pytest.param("F1[1-10] F2[1-10] D1[11-15]", ["F1", "F2 D1"], "", id="the newest of equal fulls"),
        pytest.param("F1[1-10] D1[11-15]:b", ["F1"], "D1", id="another database id"),
        pytest.param("F1[1-10] D1[11-15]/2.0", ["F1"], "D1", id="another store"),
        pytest.param("F1[1-10] D1[11-15]/1.2", ["F1 D1"], "", id="the store's minor version grew"),
        pytest.param("F1[1-10]/1.2 D1[11-15]/1.1", ["F1"], "D1", id="the store's minor version shrank"),
        pytest.param("F1[1-10] D1[11-15] D2[16-14]", ["F1 D1"], "D2", id="a range that runs backwards"),
        pytest.param("F1[9-8] D1[9-15]", ["F1"], "D1", id="a full's range that runs backwards"),
        pytest.param("D1[11-15]~3 F1[1-10]~9", ["F1 D1"], "", id="a clock that was set back"),
        pytest.param("F1[1-10] E1<D1 D1[11-15] E2<F1", ["F1 D1 +E1 +E2"], "", id="an empty one with a recorded parent"),
        pytest.param("F1[1-10] F2[1-10]:b E1<F2 E2", ["F1 +E2", "F2"], "", id="an empty one's parent is of its database"),
        pytest.param("F1[1-10] E1<gone E2", ["F1 +E2"], "", id="an empty one whose recorded parent is missing"),
    ],
)  # fmt: skip
def test_chains_follow_from_ids_and_append_indexes(text: str, expected: list[str], loose: str) -> None:
    found = records(text).values()

    assert chain_names(chains(found)) == expected
    assert names(hole.record for hole in holes(found)) == loose


GAPS = [
    pytest.param("F1[1-10] D1[11-15] E1", {}, {}, id="none"),
    pytest.param("D1[11-15]<F1 D2[16-20]<D1 E1<D2", {}, dict.fromkeys(("D1", "D2", "E1"), "it needs F1, which is missing"), id="full missing"),
    pytest.param("F1[1-10] D2[16-20]<D1", {}, {"D2": "it needs D1, which is missing"}, id="link missing"),
    pytest.param("F1[1-10] D2[16-20]", {}, {"D2": "it starts at append index 16, but no artifact ends at 15"}, id="link missing, named by no record"),
    pytest.param("E1", {}, {"E1": "no artifact of its store was taken before it"}, id="empty alone"),
    pytest.param("F1[1-10] D1[11-15] D2[16-20]", {"F1": "cut"}, dict.fromkeys(("D1", "D2"), "it needs F1: cut"), id="full damaged"),
    pytest.param("F1[1-10] D1[8-12]@5.26.1", {}, {"D1": "the artifacts that end where it starts do not belong to its chain"}, id="no overlap before 2026.02"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "unsound", "expected"), GAPS)
def test_a_gap_names_what_the_chain_of_an_artifact_lacks(
    text: str, unsound: dict[str, str], expected: dict[str, str]
) -> None:
    lines = list(entries(text))
    faults = {f"default/orders/{name}": fault for name, fault in unsound.items()}
    ancestry = Ancestry(lines, faults)
    found = {
        one.key.rpartition("/")[2]: gap.replace("default/orders/", "")
        for one in lines
        if one.key not in faults and (gap := ancestry.gap(one, faults))
    }

    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("F1[1-10] D2[16-20]", "but the previous chain ends at 10", id="hole"),
        pytest.param("D2[16-20]", "but no chain of its store ends before that", id="no full"),
        pytest.param(
            "F1[30-40] D2[16-20]@5.26.0", "but no chain of its store ends before that", id="too early"
        ),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25]@5.26.0",
            "but a full was taken after the end of the previous chain", id="a full between",
        ),
    ],
)  # fmt: skip
def test_a_hole_names_its_differential_and_what_is_missing(text: str, expected: str) -> None:
    (hole,) = holes(records(text).values())

    assert str(hole) == f"default/orders/D2 starts at append index 16, {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("F1[1-10] D1[11-15]", [None], id="none"),
        pytest.param("F1[1-10] D1[11-15] D3[21-25] D4[26-30]", ["D3"], id="the first one"),
        pytest.param("F1[1-10] D2[16-20] D1[11-25]", [None], id="a hole before the end"),
        pytest.param("F1[1-10] D2[16-20] F2[1-30]", ["D2", None], id="a full begins a new chain"),
        pytest.param(
            "F1[1-10] F2[1-20] D9[90-99]", [None, "D9"], id="a hole after the last full belongs to the live chain"
        ),
        pytest.param("F1[1-10] D1[11-15]:b", ["D1"], id="a differential of a database without a full"),
    ],
)
def test_a_chain_has_the_hole_that_follows_it(text: str, expected: list[str | None]) -> None:
    found = chains(records(text).values())

    assert [chain.hole and chain.hole.record.files[0].name for chain in found] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("D1[11-15]", None, id="no full"),
        pytest.param("F1[1-10] D1[11-15]", "F1 D1", id="one chain"),
        pytest.param("F1[1-10] D1[11-15] F2[1-20]", "F2", id="the newest full"),
        pytest.param(
            "F1[1-10] D1[11-15] F2[1-20] D2[16-25]", "F2 D2", id="the newer full, if two chains have the same end"
        ),
        pytest.param("F1[1-10] D1[11-15] F2[1-20] E1<D1", "F2", id="an empty one does not make its chain newer"),
        pytest.param("F1[1-10] F2[1-3]:b", "F2", id="another database under the same name"),
    ],
)
def test_the_live_chain_is_that_of_the_newest_artifact(text: str, expected: str | None) -> None:
    chain = live_chain(records(text).values())

    assert (chain and names(chain.records)) == expected


LIMITS = ChainLimits(max_links=3, max_age=timedelta(days=7), max_diff_share=0.5)
LATER = START + timedelta(hours=12)


def decision(requested: str, text: str, **facts: Any) -> tuple[str, str]:
    size = facts.pop("size", 10)
    found = records(text, database_id="DB", server_version="2026.09.0")
    sized = [
        item.model_copy(
            update={"files": (item.files[0].model_copy(update={"size": 100 if item.header.full else size}),)}
        )
        for item in found.values()
    ]
    given_facts = {"database_id": "DB", "version": "2026.09.1", "limits": LIMITS, "now": LATER, **facts}
    decided = decide(BackupType(requested), live_chain(sized), **given_facts)
    return decided.type.value, decided.reason.value


ONE = "F1[1-10] D1[11-15]"


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        pytest.param("", {}, "no_chain", id="no artifact"),
        pytest.param("D1[11-15]", {}, "no_chain", id="no full"),
        pytest.param(ONE, {"database_id": "NEW"}, "database_recreated", id="recreated"),
        pytest.param(ONE, {"version": "5.26.31"}, "version_changed", id="another major version"),
        pytest.param("F1[1-10] D2[16-20]", {}, "chain_broken", id="hole"),
        pytest.param("F1[1-10] D1[11-15] D2[16-20] D3[21-25]", {}, "too_long", id="as many links as allowed"),
        pytest.param(ONE, {"now": START + timedelta(days=7)}, "too_old", id="as old as allowed"),
        pytest.param(ONE, {"size": 51}, "too_large", id="differentials too large"),
        pytest.param(
            "F1[1-10] D2[16-20]", {"database_id": "NEW", "version": "5.26.1"}, "database_recreated", id="the first reason counts"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("requested", ["DIFF", "AUTO"])
def test_a_full_is_taken_if_the_chain_cannot_be_continued(
    requested: str, text: str, facts: dict[str, Any], expected: str
) -> None:
    assert decision(requested, text, **facts) == ("FULL", expected)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        pytest.param(ONE, {}, id="no objection"),
        pytest.param(ONE, {"database_id": None, "version": None}, id="Bolt does not answer"),
        pytest.param(ONE, {"version": "2026.10.0"}, id="upgraded by a month"),
        pytest.param(ONE, {"version": "2027.01.0"}, id="upgraded by a year"),
        pytest.param(ONE, {"version": "nightly"}, id="a version that cannot be read"),
        pytest.param(ONE, {"now": START + timedelta(days=7, seconds=-1)}, id="just young enough"),
        pytest.param(ONE, {"now": START - timedelta(days=1)}, id="a chain from the future"),
        pytest.param(ONE, {"size": 50}, id="just small enough"),
        pytest.param(ONE + " D2[16-20] E1 E2 E3", {"size": 20}, id="empty ones do not count"),
    ],
)
def test_otherwise_the_chain_is_continued(text: str, facts: dict[str, Any]) -> None:
    assert decision("AUTO", text, **facts) == ("DIFF", "chain_continues")
    assert decision("DIFF", text, **facts) == ("DIFF", "asked")


@pytest.mark.parametrize("text", ["", ONE], ids=["nothing sound", "sound up to its end"])
@pytest.mark.parametrize("requested", ["AUTO", "DIFF"])
def test_a_chain_with_a_damaged_or_missing_artifact_is_not_continued(requested: str, text: str) -> None:
    assert decision(requested, text, broken=True) == ("FULL", "chain_broken")
    assert decision("FULL", text, broken=True) == ("FULL", "asked")


@pytest.mark.parametrize("text", ["", ONE, "F1[1-10] D2[16-20]"])
def test_a_request_for_a_full_gets_a_full(text: str) -> None:
    assert decision("FULL", text) == ("FULL", "asked")


def test_facts_missing_in_a_record_are_no_reason_for_a_full() -> None:
    chain = live_chain(records("F1[1-10]").values())
    decided = decide(BackupType.AUTO, chain, database_id="DB", version="2026.09.0", limits=LIMITS, now=LATER)

    assert decided == TypeDecision(BackupType.DIFF, TypeReason.CHAIN_CONTINUES)


@pytest.mark.parametrize(
    ("chain", "taken", "version", "expected"),
    [
        pytest.param(ONE, "D2[16-20]", "5.26.31", None, id="contiguous"),
        pytest.param(ONE, "E9", "5.26.31", None, id="empty"),
        pytest.param(ONE, "D2[11-20]", "5.26.31", None, id="from an earlier member"),
        pytest.param("F1[1-10]", "D1[9-12]~5", "2026.02.0", None, id="the first one overlaps"),
        pytest.param(
            "F1[1-10]", "D1[9-12]~5", "2026.01.0",
            ("diff_does_not_continue", "it holds append indexes 9 to 12, but the chain ends at 10"), id="an older version",
        ),
        pytest.param(
            "F1[1-10]", "D1[9-12]~5", None,
            ("diff_does_not_continue", "it holds append indexes 9 to 12, but the chain ends at 10"), id="an unknown version",
        ),
        pytest.param(
            ONE, "D2[14-20]", "2026.09.0",
            ("diff_does_not_continue", "it holds append indexes 14 to 20, but the chain ends at 15"), id="a later one overlaps",
        ),
        pytest.param(
            ONE, "D2[17-20]", "2026.09.0",
            ("diff_does_not_continue", "it holds append indexes 17 to 20, but the chain ends at 15"), id="gap",
        ),
        pytest.param(
            ONE, "D2[16-20]:b", "2026.09.0",
            ("database_recreated", f"its database id is {DATABASE_IDS['b']}, but the chain has {DATABASE_IDS['a']}"), id="database id",
        ),
        pytest.param(
            ONE, "D2[16-20]/1.2", "2026.09.0",
            ("store_changed", "its store id is 4-5-record-aligned-1.2, but the chain has 4-5-record-aligned-1.1"), id="store id",
        ),
        pytest.param(
            ONE, "F2[1-20]", "2026.09.0", ("diff_does_not_continue", "it is a full and continues no artifact"), id="a full"
        ),
    ],
)  # fmt: skip
def test_a_new_differential_is_checked_against_the_live_chain(
    chain: str, taken: str, version: str | None, expected: tuple[str, str] | None
) -> None:
    live = live_chain(records(chain).values())
    new = a_record(taken)
    assert live
    objection = continues(live, new.header, version)

    assert (objection and (objection.reason.value, objection.text)) == expected


@pytest.mark.parametrize(
    ("text", "child", "expected"),
    [
        pytest.param("F1[1-10] D1[11-15]", "D2[16-20]~9", "D1", id="the one that ends before it"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15]", "D2[16-20]~9", "F2", id="the newest of two"),
        pytest.param("F1[1-10] D1[11-15] F2[1-15]~9", "D2[16-20]~5", "D1", id="preferably one that was taken before"),
        pytest.param("F1[1-10] D1[11-15]~9", "D2[16-20]~5", "D1", id="one from the future, if there is no other"),
        pytest.param("F1[1-10] D1[11-15]", "E9~9", "D1", id="an empty one: the newest"),
        pytest.param("F1[1-10] E1", "D1[11-15]~9", "F1", id="never an empty one"),
        pytest.param("F1[1-10]", "F2[11-15]~9", None, id="a full has none"),
        pytest.param("F1[1-20]~9", "D1[11-15]~5", None, id="a full taken later is not overlapped"),
        pytest.param("", "D1[11-15]", None, id="no artifact"),
    ],
)
def test_a_parent_follows_from_ids_and_append_indexes(text: str, child: str, expected: str | None) -> None:
    new = a_record(child)
    parent = parent_of(new.header, records(text).values(), "2026.09.0")

    assert (parent and parent.files[0].name) == expected


def test_every_possible_parent_is_returned() -> None:
    found = records("F1[1-10] D1[11-15] F2[1-20] D2[16-25]@5.26.31 D3[26-30]")

    assert names(possible_parents(found["D2"], found.values())) == "F2 D1"
    assert names(possible_parents(found["F2"], found.values())) == ""


LAW = settings(deadline=None)  # the machine may be busy


@st.composite
def chained_records(draw: st.DrawFn) -> list[Record]:
    """Fulls and differentials, most of them contiguous, some overlapping or with a hole between them."""
    words: list[str] = []
    last = 0
    for number in range(draw(st.integers(0, 10))):
        kind = draw(st.sampled_from("FDDDE"))
        lowest = max(0, last + 1 + draw(st.sampled_from((0, 0, 0, 0, -3, 2))))
        last = max(1, last, lowest + draw(st.integers(0, 5)))
        span = "" if kind == "E" else f"[{1 if kind == 'F' else lowest}-{last}]"
        parent = draw(st.sampled_from(("", *(f"<{word[:2]}" for word in words))))
        database, version = draw(st.sampled_from("aaaab")), draw(st.sampled_from(("5.26.31", "2026.09.0", "none")))
        words.append(f"{kind}{number}{span}{parent}:{database}@{version}")
    return list(records(" ".join(words)).values())


@LAW
@given(chained_records())
def test_each_link_starts_where_the_previous_one_ends(history: list[Record]) -> None:
    for chain in chains(history):
        assert chain.full.header.full
        for place, (before, after) in enumerate(zip(chain.records, chain.links, strict=False)):
            assert before.header.database_id == after.header.database_id
            overlapping = place == 0 and after.header.lowest <= before.header.highest
            assert after.header.lowest == before.header.highest + 1 or (
                overlapping and after.admin_version != "5.26.31"
            )


@LAW
@given(chained_records(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(history: list[Record], random: Any) -> None:
    shuffled = random.sample(history, len(history))

    assert chains(shuffled) == chains(history)
    assert holes(shuffled) == holes(history)


@LAW
@given(chained_records(), st.integers(0, 12), st.sampled_from("ab"))
def test_an_empty_differential_changes_no_chain(history: list[Record], hour: int, database: str) -> None:
    empty = a_record(f"Enew:{database}~{hour}")

    before, after = chains(history), chains([*history, empty])

    assert [(chain.records, chain.hole) for chain in after] == [(chain.records, chain.hole) for chain in before]
    assert holes([*history, empty]) == holes(history)


@LAW
@given(chained_records())
def test_every_non_empty_artifact_belongs_to_a_chain_or_is_a_hole(history: list[Record]) -> None:
    in_chains = {member.key for chain in chains(history) for member in chain.records}
    loose = {hole.record.key for hole in holes(history)}

    assert in_chains | loose == {item.key for item in history if not item.header.empty}
    assert not in_chains & loose


@LAW
@given(chained_records())
def test_each_link_is_a_possible_parent_of_the_next(history: list[Record]) -> None:
    for chain in chains(history):
        for before, after in zip(chain.records, chain.links, strict=False):
            assert before in possible_parents(after, history)


@LAW
@given(chained_records(), st.integers(1, 20))
def test_a_differential_that_continues_the_live_chain_becomes_its_end(history: list[Record], length: int) -> None:
    live = live_chain(history)
    if live is None or live.hole or live.full.header.database_id != UUID(DATABASE_IDS["a"]):
        return
    lowest = live.last.header.highest + 1
    new = a_record(f"Dnew[{lowest}-{lowest + length}]<{live.last.key.rpartition('/')[2]}~99")

    assert continues(live, new.header, "5.26.31") is None
    longer = live_chain([*history, new])
    assert longer
    assert longer.records == (*live.records, new)


def test_a_thousand_records_form_their_chains() -> None:
    words = [
        f"F{number}[1-{10 + number}]" if number % 25 == 0 else f"D{number}[{10 + number}-{10 + number}]"
        for number in range(1_000)
    ]
    found = records(" ".join(words)).values()

    assert len(chains(found)) == 40


@pytest.mark.parametrize(
    ("text", "point", "expected"),
    [
        pytest.param("F1[1-10] D1[11-15]<F1 D2[16-20]<D1", "D2", "F1 D1", id="by records"),
        pytest.param("F1[1-10] D1[11-15] D2[16-20]", "D2", "F1 D1", id="by append indexes"),
        pytest.param("F1[1-10] D1[11-15]", "F1", "", id="a full"),
        pytest.param("F1[1-10] D1[11-15] E1<D1", "E1", "F1 D1", id="an empty one"),
        pytest.param("F1[1-10] D2[16-20]<D1", "D2", "D1", id="the stated parent, even if missing"),
        pytest.param("F1[1-10] D1[11-15]<F0", "D1", "F1", id="a possible parent instead of a missing one"),
        pytest.param("D2[16-20]", "D2", "", id="no parent known"),
        pytest.param("F1[1-10] F2[1-10] D1[11-15]", "D1", "F1 F2", id="all possible parents"),
        pytest.param("F1[1-10] D1[11-15] D2[11-15] D3[16-20]", "D3", "F1 D1 D2", id="each once"),
    ],
)
def test_everything_that_a_point_needs_is_returned_parents_first(text: str, point: str, expected: str) -> None:
    lines = {line.key: line for line in entries(text)}
    ancestry = Ancestry(lines.values())
    needed = everything_needed(lines[f"default/orders/{point}"], ancestry.needed_keys, lines.get)

    assert " ".join(sorted(key.rpartition("/")[2] for key in needed)) == " ".join(sorted(expected.split()))
    if len(needed) == 2 and "F2" not in expected:
        assert " ".join(key.rpartition("/")[2] for key in needed) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("F1[1-10] D1[11-20] F2[1-40]", "F1 D1 F2"),
        ("F1[1-10] F2[1-10]:b D2[11-20]:b", "F1 | F2 D2"),
        ("F1[1-10]/1.1 D1[11-20]/1.2", "F1 D1"),
        ("F1[1-10]/1.1 F2[1-10]/2.1 E2/2.1", "F1 | F2 E2"),
        ("F1[1-10] F2[1-10]:b D1[11-20]", "F2 | F1 D1"),
    ],
    ids=["nothing", "one", "another database id", "a newer minor version", "another store", "an old one goes on"],
)
def test_the_present_history_is_the_last_one(text: str, expected: str) -> None:
    found = histories(entries(text))

    assert " | ".join(" ".join(entry.key.rpartition("/")[2] for entry in members) for members in found) == expected
    assert len({history_id(entry) for members in found for entry in members}) == len(found)
