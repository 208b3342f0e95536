"""Drills with real Neo4j Community: a full of the stand-in, which holds a real store, is restored, checked and queried.

What a drill finds without Neo4j is tested in tests/jobs/test_drill.py: a missing tail, a changed byte, another header.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from backup_agent.core.drill.evidence import EntityCounts, QueryOutcome
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.outcomes import DrillOutcome
from backup_agent.core.reasons import Reason
from tests.components.neo4j_community import CommunityHome
from tests.components.pins import NEO4J_VERSIONS
from tests.jobs.drills import Vault
from tests.polling import until

pytestmark = pytest.mark.components

Home = Callable[[str], CommunityHome]
Chosen = Callable[[str], None]

OLDER, NEWER = NEO4J_VERSIONS
FIRST, SECOND = "2026-11-23T02:00:00", "2026-11-24T02:00:00"

newer_line = pytest.mark.parametrize(
    "neo4j_version", [pytest.param(OLDER, marks=pytest.mark.nightly), NEWER], indirect=True
)
"""Marks a test that `make test` runs with the newer line of Neo4j only, and `make long` with both."""


@pytest.fixture(name="use")
def _use(community_home: Home, monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Let drills find a version of Community."""

    def use(version: str) -> None:
        for name, value in community_home(version).environment.items():
            monkeypatch.setenv(name, value)

    return use


def vault_of(folder: Path, version: str, **drill: object) -> Vault:
    return Vault(folder / "vault", version=version, admin=False, drill=drill)


@newer_line
def test_a_full_is_drilled_to_queries_with_the_right_counts(use: Chosen, neo4j_version: str, tmp_path: Path) -> None:
    use(neo4j_version)
    queries = [
        {"name": "orders", "cypher": "MATCH (o:Order) RETURN count(o)", "expect": 12},
        {"name": "another database's", "databases": ["sales"], "cypher": "RETURN false"},
    ]
    vault = vault_of(tmp_path, neo4j_version, level="query", accept_license="evaluation", queries=queries)
    vault.back_up("FULL", FIRST)

    found = vault.run(level="query").only.evidence

    assert found.error is None
    assert (found.outcome, found.reached) == (DrillOutcome.PASSED, Level.QUERY)
    assert found.counts == EntityCounts(nodes=24, relationships=12)
    assert found.queries == (QueryOutcome(name="orders", as_expected=True),)
    assert (found.admin_version, found.server_version) == (neo4j_version, neo4j_version)
    assert set(found.seconds) == {"fetch", "read", "restore", "check", "start", "query", "stop"}
    assert vault.left == []


@newer_line
def test_check_finds_an_inconsistent_store_and_the_restore_point_still_counts(
    use: Chosen, neo4j_version: str, tmp_path: Path
) -> None:
    use(neo4j_version)
    vault = vault_of(tmp_path, neo4j_version)
    vault.back_up("FULL", FIRST)
    full = vault.back_up("FULL", SECOND)
    (vault.root / f"{full.key}.json").unlink()
    vault.damage_store(vault.root / full.key)
    vault.record(vault.root / full.key)

    drilled = vault.run().only

    assert (drilled.evidence.outcome, drilled.evidence.reason) == (DrillOutcome.CONTENT_FAILED, Reason.INCONSISTENT)
    assert drilled.evidence.reached is Level.RESTORE
    assert drilled.evidence.report_sha256 is not None
    assert not drilled.marked


def test_a_drill_of_an_artifact_of_a_newer_version_is_not_done(use: Chosen, tmp_path: Path) -> None:
    use(OLDER)
    vault = vault_of(tmp_path, NEWER)
    vault.back_up("FULL", FIRST)

    found = vault.run(level="restore").only.evidence

    assert (found.outcome, found.reason) == (DrillOutcome.NOT_DONE, Reason.VERSION_MISMATCH)


@pytest.mark.nightly
def test_community_restores_no_chain(use: Chosen, tmp_path: Path) -> None:
    use(NEWER)
    vault = vault_of(tmp_path, NEWER)
    full = vault.back_up("FULL", FIRST)
    vault.back_up("DIFF", "2026-11-23T03:00:00", parent=full)

    found = vault.run(level="restore").only.evidence

    assert (found.outcome, found.reason) == (DrillOutcome.NOT_DONE, Reason.ADMIN_MISSING)


@pytest.mark.nightly
def test_a_query_with_another_result_fails_the_drill_and_one_that_needs_a_plugin_is_not_done(
    use: Chosen, tmp_path: Path
) -> None:
    use(NEWER)
    wrong = {"name": "changed", "cypher": "MATCH (n) RETURN count(n)", "expect": 25}
    absent = {"name": "apoc", "cypher": "CALL apoc.meta.stats() YIELD nodeCount RETURN nodeCount", "expect": 24}
    found = []
    for name, query in (("wrong", wrong), ("absent", absent)):
        vault = vault_of(tmp_path / name, NEWER, level="query", accept_license="evaluation", queries=[query])
        vault.back_up("FULL", FIRST)
        evidence = vault.run(level="query").only.evidence
        found.append((evidence.outcome, evidence.reason))
        assert "25" not in evidence.to_json().decode().partition('"queries"')[2].partition('"skipped"')[0]

    assert found == [
        (DrillOutcome.CONTENT_FAILED, Reason.UNEXPECTED_RESULT),
        (DrillOutcome.NOT_DONE, Reason.PLUGIN_MISSING),
    ]


@pytest.mark.nightly
@pytest.mark.parametrize("version", NEO4J_VERSIONS)
def test_the_scratch_server_of_a_killed_drill_is_ended_by_the_next_drill(
    use: Chosen, tmp_path: Path, version: str
) -> None:
    use(version)
    vault = vault_of(tmp_path, version, accept_license="evaluation")
    vault.back_up("FULL", FIRST)
    process = vault.command("orders", "--level", "query")
    until(lambda: servers(vault), "scratch server", 120)
    agents = set(vault.programs) - servers(vault)
    for pid in (*agents, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    left = servers(vault)
    data = list(vault.left)
    again = vault.command("orders", "--level", "read")
    again.communicate(timeout=120)

    assert left, "it outlives the agent's processes"
    assert len(data) == 1
    assert again.returncode == 0
    assert servers(vault) == set()
    assert vault.left == []


def servers(vault: Vault) -> set[int]:
    found = set()
    for pid in vault.programs:
        with suppress(OSError):
            if b"--console-mode" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found
