"""The section `drill`: how artifacts are drilled."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.drill.levels import Level
from backup_agent.settings.grammar import AbsolutePath, DatabaseGlobs, Fingerprint, PositiveDuration, Size
from backup_agent.settings.section import Section


class DrillQuery(Section):
    """A query to a restored database, and what it must return."""

    name: str = Field(min_length=1, max_length=100, description="name of the query, in evidence and messages")
    databases: DatabaseGlobs = Field(
        ("*",), description="names and globs of the databases that the query is for", examples=[["orders*"]]
    )
    cypher: str = Field(
        min_length=1,
        max_length=10_000,
        description="the query: it must return one row with one value, such as RETURN count(n) > 1000",
        examples=["MATCH (o:Order) RETURN count(o) > 1000"],
    )
    expect: bool | int | float | str | None = Field(
        True, description="the value that the query must return; it is compared, and never stored"
    )


class Drill(Section):
    """How artifacts are drilled: restored in a scratch folder, checked, and queried."""

    level: Level = Field(
        Level.CHECK,
        description="how far: read, restore, check (`database check`), or query (a server on the loopback)",
        examples=["restore"],
    )
    place: PlaceName | None = Field(
        None,
        description="place that the drills prove; without it the first destination, or without destinations the volume",
        examples=["offsite"],
    )
    queries: tuple[DrillQuery, ...] = Field(
        (),
        description="queries of the level `query`, besides the counts of nodes and relationships",
        examples=[[{"name": "orders", "cypher": "MATCH (o:Order) RETURN count(o) > 1000"}]],
    )
    timeout: PositiveDuration = Field(timedelta(hours=2), description="the drill of one artifact is ended after this")
    scratch: AbsolutePath | None = Field(
        None,
        description="folder for scratch data, which are removed when a drill ends; without it below the storage root",
        examples=["/scratch"],
    )
    max_size: Size | None = Field(
        None, description="larger chains are not drilled; without it room alone decides", examples=["1GiB"]
    )
    budget: PositiveDuration = Field(
        timedelta(hours=2), description="no further drill of a run begins after this; the oldest proof comes first"
    )
    accept_license: Literal["commercial", "evaluation"] | None = Field(
        None,
        description="licence of Neo4j Enterprise that you accept; the level `query` starts a server",
        examples=["evaluation"],
        validate_default=True,
    )
    trusted: tuple[Fingerprint, ...] = Field(
        (),
        description="fingerprints of further keys whose signatures on evidence count, such as that of a drill job",
        examples=[["sha256:" + 64 * "1"]],
    )

    @field_validator("accept_license")
    @classmethod
    def _for_a_server(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("level") is Level.QUERY:
            raise ValueError("commercial or evaluation, because drill.level is query: it starts a Neo4j server")
        return value

    @field_validator("queries")
    @classmethod
    def _have_different_names(cls, value: tuple[DrillQuery, ...]) -> tuple[DrillQuery, ...]:
        names = [query.name for query in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"queries with different names ({twice} is given twice)")
        return value
