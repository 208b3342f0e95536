"""The plans of the golden files. `python -m tests.cli.restores` rewrites the files: then read every line again."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup_agent.cli.restore_text import text
from backup_agent.core.artifacts.names import PlaceName, artifact_name, database_name
from backup_agent.core.artifacts.records import ArtifactFile, Definition, Record
from backup_agent.core.capabilities import Version
from backup_agent.core.reasons import Failure
from backup_agent.core.restore.facts import Known, Source, Wanted
from backup_agent.core.restore.machines import Server, agent_of, servers
from backup_agent.core.restore.moments import Moment
from backup_agent.core.restore.plan import RestorePlan, plan
from tests.builders import a_header, a_record

GOLDEN = Path(__file__).with_name("golden")

AT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
AS_IT_WAS = Definition(
    primaries=3,
    secondaries=1,
    default_language="CYPHER 25",
    access="read-write",
    options={"txLogEnrichment": "FULL", "storeFormat": "block"},
    aliases=("sales",),
)
SEEN = datetime(2026, 11, 24, 3, tzinfo=UTC)
PODS = servers("demo", [(f"demo-server-{n}.demo-headless.prod.svc.cluster.local", f"id-{n}") for n in range(4)])
HOSTS = servers("demo", [("neo4j-1.example.com", "id-1"), ("neo4j-2.example.com", "id-2")])
NEEDS = ("credentials that may read and list the bucket", "AWS_REGION='eu-central-1'")

REPLACE, BESIDE = Wanted(replace=True), Wanted()


def record(database: str = "orders", hour: int = 2, **changes: Any) -> Record:
    """Return the record of a full at two, or of the differential at three."""
    taken = a_header(hour - 2, database=database, recovered=True)
    name = artifact_name(database_name(database), taken.taken)
    file = ArtifactFile(name=name, size=1_500_000_000 // hour, sha256=f"{hour:02x}" * 32)
    facts = {"admin_version": "5.26.31", "raw_size": 6_000_000_000 // hour, "definition": AS_IT_WAS, **changes}
    return a_record(database=database, header=taken, files=(file,), **facts)


def source(place: str = "local", database: str = "orders", **changes: Any) -> Source:
    """Return a full and a differential on the volume or at a destination."""
    chain = (record(database, 2), record(database, 3, last_committed_tx=4711))
    access = {} if place == "local" else {"uri": "s3://backups/neo4j/demo", "server_needs": NEEDS}
    if (until := changes.get("until")) is not None:
        changes["moment"] = Moment(until)
    return Source(**{"chain": chain, "place": PlaceName(place), **access, **changes})


def known(version: str, machines: tuple[Server, ...] = PODS, **changes: Any) -> Known:
    """Return a cluster with the database and its alias."""
    found = Version.parse(version)
    assert found is not None
    facts = {
        "cluster": len(machines) > 1,
        "databases": frozenset(map(database_name, ("neo4j", "orders", "sales", "system"))),
        "aliases": (database_name("sales"),),
        "seen": SEEN,
        **changes,
    }
    return Known(version=found, servers=machines, agent=agent_of("demo", machines), **facts)


CASES: dict[str, tuple[Source, Known, Wanted]] = {
    "5.26-volume": (source(), known("5.26.31"), BESIDE),
    "5.26-bucket": (source("offsite"), known("5.26.31"), BESIDE),
    "5.26-bucket-replace": (source("offsite"), known("5.26.31"), REPLACE),
    "5.26-system": (source(database="system"), known("5.26.31"), REPLACE),
    "2025.04-bucket-moment": (source("offsite", until=AT), known("2025.04.0"), BESIDE),
    "2026.03-volume-replace": (source(), known("2026.03.0"), REPLACE),
    "2026.09-volume": (source(), known("2026.09.0"), BESIDE),
    "2026.09-volume-replace": (source(), known("2026.09.0"), REPLACE),
    "2026.09-volume-moment": (source(until=AT, lacking_since=AT), known("2026.09.0"), BESIDE),
    "2026.09-bucket-moment-replace": (source("offsite", until=AT), known("2026.09.0"), REPLACE),
    "2026.09-system": (source("offsite", "system"), known("2026.09.0"), REPLACE),
    "2026.09-machines": (source(), known("2026.09.0", HOSTS, databases=(), seen=None), BESIDE),
    "2026.09-unknown": (
        source(chain=(record(definition=None),), proven=False),
        known("2026.09.0", (), cluster=True, databases=(), aliases=(), seen=None),
        BESIDE,
    ),
    "2026.09-standalone": (source(before_tx=4700), known("2026.09.0", HOSTS[:1]), BESIDE),
    "2026.09-standalone-replace": (source(until=AT), known("2026.09.0", HOSTS[:1]), REPLACE),
}
"""Name of the golden file -> the facts and the wishes from which the plan is made."""


def planned(name: str) -> RestorePlan:
    """Return the plan of a case."""
    found = plan(*CASES[name])
    assert not isinstance(found, Failure), found
    return found


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"restore-{case}.txt").write_text(text(planned(case)))
