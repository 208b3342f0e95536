"""The databases that a request selects, with and without Bolt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.kinds import OF_TYPE
from backup_agent.core.neo4j.selection import ROLE_HINT, DiscoverySource, Knowledge, Selection, Target, matches, select
from backup_agent.core.neo4j.topology import Copy, Topology
from backup_agent.core.reasons import Failure, Reason
from tests.builders import ORDERS, a_copy, a_topology

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
SHARDED = Definition(shards=("web-g000", "web-p000"))
DAY = timedelta(days=1)
SILENT = Failure(Reason.SOURCE_UNREACHABLE, "demo-client:7687 refused the connection", "look")


def topology(*databases: str, **fields: Any) -> Topology:
    """Return a topology; `orders=offline` sets a status, `fabric=composite` a type, `web=sharded` a definition."""
    definitions = {name.partition("=")[0]: SHARDED for name in databases if name.endswith("=sharded")}
    return a_topology(*map(copy_from, databases), definitions=definitions, **fields)


def copy_from(database: str) -> Copy:
    name, _, state = database.partition("=")
    if state in OF_TYPE:
        return a_copy(database=name, type=state)
    if state == "sharded":
        return a_copy(database=name)
    return a_copy(database=name, status=state or "online", database_id=None if state else f"ID-{name}")


def with_bolt(asked: list[str] | None, *databases: str, default: list[str] | None = None, **known: Any) -> Selection:
    fields = {"aliases": known.pop("aliases", {})}
    knowledge = Knowledge(topology(*databases, **fields), **known)
    return select(asked, default or ["*"], knowledge, now=NOW, max_topology_age=DAY)


def without_bolt(asked: list[str], last: Topology | None, *, static: bool = True, **known: Any) -> Selection:
    knowledge = Knowledge(None, last=last, static=static, bolt_failure=SILENT, **known)
    return select(asked, ["*"], knowledge, now=NOW, max_topology_age=DAY)


def names(selection: Selection) -> list[str]:
    return [target.name for target in selection.databases]


def reasons(selection: Selection) -> dict[str, Reason]:
    return {name: failure.reason for name, failure in selection.failures.items()}


CLUSTER = ("neo4j", "orders", "orders-2024.q1", "system", "fabric=composite")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(None, ["neo4j", "orders", "orders-2024.q1", "system"], id="no-names-mean-the-default"),
        pytest.param(
            ["*"], ["neo4j", "orders", "orders-2024.q1", "system"], id="a-star-includes-system-not-composites"
        ),
        pytest.param(["orders"], ["orders"], id="a-name"),
        pytest.param(["ORDERS", "orders", "Orders"], ["orders"], id="names-in-any-case-once"),
        pytest.param(["orders*"], ["orders", "orders-2024.q1"], id="a-glob"),
        pytest.param(["system", "o*", "orders"], ["system", "orders", "orders-2024.q1"], id="in-the-order-asked"),
        pytest.param(["neo?j"], ["neo4j"], id="a-question-mark"),
        pytest.param(["*", "!system", "!orders-*"], ["neo4j", "orders"], id="exclusions"),
        pytest.param(["!SYSTEM"], ["neo4j", "orders", "orders-2024.q1"], id="exclusions-alone-mean-all-but"),
    ],
)
def test_listed_databases_are_selected(asked: list[str] | None, expected: list[str]) -> None:
    selection = with_bolt(asked, *CLUSTER)

    assert names(selection) == expected
    assert (selection.failures, selection.warnings) == ({}, ())


def test_a_target_has_its_database_id_and_its_source() -> None:
    selection = with_bolt(["orders"], *CLUSTER)

    assert selection.databases == (Target(ORDERS, "ID-orders", DiscoverySource.BOLT),)


@pytest.mark.parametrize(
    ("asked", "failed", "reason", "words"),
    [
        pytest.param(["hr"], "hr", Reason.NO_SUCH_DATABASE, "lists no database hr", id="a-name-not-listed"),
        pytest.param(["hr*"], "hr*", Reason.NO_SUCH_DATABASE, "matches no database", id="a-glob-without-match"),
        pytest.param(["fab*"], "fab*", Reason.NO_SUCH_DATABASE, "only composite database fabric", id="only-composite"),
        pytest.param(["sho*"], "sho*", Reason.NO_SUCH_DATABASE, "only alias shop", id="only-an-alias"),
        pytest.param(["fabric"], "fabric", Reason.INVALID_REQUEST, "composite", id="a-composite-named"),
        pytest.param(["Shop"], "shop", Reason.INVALID_REQUEST, "shop is an alias", id="an-alias-named"),
        pytest.param(
            ["orders", "!orders"], "orders", Reason.NO_SUCH_DATABASE, "excluded by !orders", id="named-and-excluded"
        ),
        pytest.param(
            ["orders*", "!o*"], "orders*", Reason.NO_SUCH_DATABASE, "excluded by !o*", id="all-matches-excluded"
        ),
        pytest.param(["off"], "off", Reason.SOURCE_UNREACHABLE, "server-0:7687: offline", id="offline"),
        pytest.param(["of*"], "off", Reason.SOURCE_UNREACHABLE, "no online copy", id="offline-by-glob"),
    ],
)
def test_a_name_or_glob_that_cannot_be_backed_up_fails_with_a_reason(
    asked: list[str], failed: str, reason: Reason, words: str
) -> None:
    selection = with_bolt(asked, *CLUSTER, "off=offline", aliases={"shop": "orders"})

    assert names(selection) == []
    assert reasons(selection) == {failed: reason}
    assert words in selection.failures[failed].error


EXCLUDED = ("Fabric=composite", "mirror=replica", "web=sharded", "web-g000=graph shard", "web-p000=property shard")


def test_a_glob_skips_excluded_databases_and_names_them() -> None:
    selection = with_bolt(["*"], "orders", "system", *EXCLUDED)

    assert names(selection) == ["orders", "system"]
    assert (selection.failures, selection.warnings) == ({}, ())
    assert {name: why.partition(":")[0] for name, why in selection.excluded.items()} == {
        "fabric": "is a composite database",
        "mirror": "is a replica of a database in another cluster",
        "web": "is a sharded database",
        "web-g000": "is a shard of a sharded database",
        "web-p000": "is a shard of a sharded database",
    }


def test_a_database_that_the_request_excludes_itself_is_not_named_as_excluded() -> None:
    assert with_bolt(["*", "!web*", "!mirror"], "orders", *EXCLUDED).excluded.keys() == {"fabric"}


@pytest.mark.parametrize("bolt", [True, False], ids=["with Bolt", "without Bolt"])
@pytest.mark.parametrize("name", ["fabric", "Mirror", "web", "web-g000", "web-p000"])
def test_a_request_for_an_excluded_database_by_name_fails(name: str, *, bolt: bool) -> None:
    last = topology("orders", *EXCLUDED)
    selection = with_bolt([name], "orders", *EXCLUDED) if bolt else without_bolt([name], last)

    assert names(selection) == []
    failure = selection.failures[name.lower()]
    assert failure.reason is Reason.INVALID_REQUEST
    assert failure.error.startswith(f"{name.lower()} is a ")
    assert failure.hint


def test_without_bolt_the_stored_topology_tells_which_databases_are_excluded() -> None:
    selection = without_bolt(["*"], topology("orders", *EXCLUDED))

    assert names(selection) == ["orders"]
    assert len(selection.excluded) == len(EXCLUDED)
    old = without_bolt(["*"], topology("orders", *EXCLUDED, seen=NOW - 2 * DAY))
    assert old.excluded == selection.excluded


def test_an_ordinary_database_may_be_named_like_a_shard() -> None:
    assert names(with_bolt(["*"], "orders-g000", "orders-p000")) == ["orders-g000", "orders-p000"]


def test_the_failure_of_an_alias_names_its_database() -> None:
    selection = with_bolt(["shop", "far"], *CLUSTER, aliases={"shop": "orders", "far": None})

    assert selection.failures["shop"].hint == "request orders instead"
    assert "refers to" in selection.failures["far"].hint


def test_one_failure_does_not_affect_other_databases() -> None:
    selection = with_bolt(["hr", "orders", "x*"], *CLUSTER)

    assert names(selection) == ["orders"]
    assert reasons(selection) == {"hr": Reason.NO_SUCH_DATABASE, "x*": Reason.NO_SUCH_DATABASE}


def test_a_database_with_one_online_copy_is_selected() -> None:
    both = Topology(
        seen=NOW,
        copies=(
            Copy(database=ORDERS, status="quarantined"),
            Copy(database=ORDERS, status="online", database_id="ID"),
        ),
    )
    selection = select(["orders"], ["*"], Knowledge(both), now=NOW, max_topology_age=DAY)

    assert selection.databases == (Target(ORDERS, "ID", DiscoverySource.BOLT),)


def test_an_account_that_sees_only_system_causes_failures_and_warnings() -> None:
    last = topology("neo4j", "orders", "system")
    selection = with_bolt(["*", "orders*", "hr"], "system", last=last, recorded=["orders", "hr"])

    assert names(selection) == ["system"]
    assert reasons(selection) == {"orders*": Reason.NO_SUCH_DATABASE, "hr": Reason.NO_SUCH_DATABASE}
    assert {failure.hint for failure in selection.failures.values()} == {ROLE_HINT}
    assert [warning.split()[0] for warning in selection.warnings] == ["neo4j", "orders"]
    assert selection.missing == ("hr", "neo4j", "orders")


def test_warnings_are_for_requested_databases_and_missing_has_all() -> None:
    selection = with_bolt(["orders"], "orders", "system", recorded=["HR", "orders"])

    assert selection.warnings == ()
    assert selection.missing == ("hr",)


def test_an_excluded_database_that_is_missing_causes_no_warning() -> None:
    assert with_bolt(["*", "!hr"], "orders", recorded=["hr"]).warnings == ()


def test_without_bolt_names_are_not_checked() -> None:
    selection = without_bolt(["orders", "HR"], topology("orders", seen=NOW - 30 * DAY))

    assert selection.databases == (
        Target(ORDERS, "ID-orders", DiscoverySource.LAST_TOPOLOGY),
        Target(DatabaseName("hr"), None, DiscoverySource.STATIC),
    )
    assert (selection.failures, selection.warnings, selection.missing) == ({}, (), ())


def test_without_bolt_globs_are_matched_against_the_last_topology() -> None:
    selection = without_bolt(["o*"], topology("orders", "off=offline", "system", seen=NOW - DAY))

    assert [(target.name, target.discovery) for target in selection.databases] == [
        ("off", DiscoverySource.LAST_TOPOLOGY),
        ("orders", DiscoverySource.LAST_TOPOLOGY),
    ]
    assert selection.failures == {}
    assert "2026-11-22T02:00:00Z" in selection.warnings[0]
    assert SILENT.error in selection.warnings[0]


def test_globs_against_a_topology_that_is_too_old_are_backed_up_and_fail() -> None:
    selection = without_bolt(["*", "hr"], topology("orders", "system", seen=NOW - DAY - timedelta(seconds=1)))

    assert names(selection) == ["orders", "system", "hr"]
    assert reasons(selection) == {"*": Reason.DISCOVERY_STALE}
    assert SILENT.error in selection.failures["*"].error


def test_without_any_topology_globs_fail_and_names_are_backed_up() -> None:
    selection = without_bolt(["orders", "o*"], None)

    assert selection.databases == (Target(ORDERS, None, DiscoverySource.STATIC),)
    assert reasons(selection) == {"o*": Reason.SOURCE_UNREACHABLE}
    assert SILENT.error in selection.failures["o*"].error


def test_without_any_address_a_name_fails_too() -> None:
    selection = without_bolt(["orders"], None, static=False)

    assert reasons(selection) == {"orders": Reason.SOURCE_UNREACHABLE}
    assert "neo4j.servers" in selection.failures["orders"].error


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param("x*", Reason.NO_SUCH_DATABASE, id="glob-without-match"),
        pytest.param("fab*", Reason.NO_SUCH_DATABASE, id="glob-of-composites"),
        pytest.param("fabric", Reason.INVALID_REQUEST, id="composite"),
        pytest.param("shop", Reason.INVALID_REQUEST, id="alias"),
    ],
)
def test_without_bolt_aliases_and_excluded_databases_are_refused_as_well(asked: str, reason: Reason) -> None:
    selection = without_bolt([asked], topology("orders", "fabric=composite", aliases={"shop": "orders"}))

    assert names(selection) == []
    assert reasons(selection) == {asked: reason}


def test_a_failure_is_reported_even_if_the_fault_of_bolt_is_unknown() -> None:
    selection = select(["*"], ["*"], Knowledge(None), now=NOW, max_topology_age=DAY)

    assert selection.failures["*"].error.startswith("Bolt did not answer and never has")


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("orders", "orders", True),
        ("Orders", "oRD*", True),
        ("orders", "order", False),
        ("orders-2024.q1", "orders-2024?q1", True),
        ("ordersx", "orders.", False),
        ("", "*", True),
        ("o[x]", "o[x]", True),
        ("ox", "o[x]", False),
        # With an expression that backtracks, none of these ends.
        pytest.param("orders", "*" * 126 + "x", False, id="126 stars"),
        pytest.param("a" * 128, "*a" * 60 + "b", False, id="stars and letters"),
    ],
)
def test_a_pattern_matches(name: str, pattern: str, *, expected: bool) -> None:
    assert matches(name, pattern) is expected


NAMES = st.sampled_from(["neo4j", "orders", "orders-old", "system", "hr", "fabric=composite", "off=offline"])
PATTERNS = st.sampled_from(["*", "orders", "orders*", "hr", "!system", "!orders*", "x*", "fabric", "off", "missing"])


@given(
    asked=st.lists(PATTERNS, min_size=1, max_size=4),
    now=st.none() | st.lists(NAMES, unique=True),
    last=st.none() | st.lists(NAMES, unique=True),
    recorded=st.lists(st.sampled_from(["orders", "hr", "gone"]), unique=True),
    static=st.booleans(),
)
def test_every_requested_name_is_selected_or_fails(
    asked: list[str], now: list[str] | None, last: list[str] | None, recorded: list[str], *, static: bool
) -> None:
    knowledge = Knowledge(
        None if now is None else topology(*now),
        last=None if last is None else topology(*last),
        recorded=list(map(DatabaseName, recorded)),
        static=static,
    )
    selection = select(asked, ["*"], knowledge, now=NOW, max_topology_age=DAY)

    wanted = [pattern for pattern in asked if not pattern.startswith("!")] or ["*"]
    for pattern in wanted:
        touched = [name for name in (*names(selection), *selection.failures) if matches(name, pattern)]
        assert touched
    assert len(set(names(selection))) == len(names(selection))
    for target in selection.databases:
        assert any(matches(target.name, pattern) for pattern in wanted)
        assert not any(matches(target.name, pattern[1:]) for pattern in asked if pattern.startswith("!"))
