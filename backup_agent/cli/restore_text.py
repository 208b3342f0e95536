"""The plan of a restore as text for people, and as a JSON document."""

from collections.abc import Iterator
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from backup_agent.cli import printing
from backup_agent.core.escaping import printable
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.restore.plan import RATE, RestorePlan
from backup_agent.core.restore.ways import Way

ORIGIN_NOT_PROVEN = "ORIGIN NOT PROVEN: this agent neither wrote nor accepted the records that this plan follows"

_WIDTH = 110


def text(plan: RestorePlan) -> str:
    """Return the plan as text: prose as comments, then the lines of each step."""
    return "\n".join(_lines(plan)) + "\n"


def document(plan: RestorePlan) -> dict[str, Any]:
    """Return the plan as a JSON document."""
    scene, source = plan.scene, plan.scene.source
    return {
        "database": scene.source.last.database,
        "target": scene.target,
        "rehearsal": scene.rehearsal,
        "artifacts": [one.key for one in source.chain],
        "place": source.place,
        "origin_proven": source.proven,
        "until": source.until and printing.utc(source.until),
        "before_tx": source.before_tx,
        "lacking_since": source.lacking_since and printing.utc(source.lacking_since),
        "way": scene.way,
        "version": str(scene.known.version),
        "expected_seconds": plan.duration.total_seconds(),
        "room": [asdict(one) for one in plan.room],
        "lost": plan.lost,
        "steps": [asdict(one) for one in plan.blocks],
        "afterwards": plan.afterwards,
        "notes": plan.notes,
    }


def _lines(plan: RestorePlan) -> Iterator[str]:
    scene, source = plan.scene, plan.scene.source
    if not source.proven:
        yield from _prose(ORIGIN_NOT_PROVEN)
    over = f"as {scene.target}" if scene.rehearsal is None and scene.way is not Way.SYSTEM else "over the existing one"
    yield from _prose(f"Restore {source.last.database} {over}: {source.point}")
    size = printing.size(sum(one.size for one in source.chain))
    count = printing.counted(len(source.chain), "artifact", "artifacts")
    yield from _prose(f"from {source.last.key} ({artifact_id(source.last.key)}) at {source.place}: {count}, {size}")
    yield from _prose(
        f"for Neo4j {scene.known.version}, by way {scene.way}. From Neo4j's manual; not run on Neo4j Enterprise here"
    )
    rate = f"{RATE // 10**6} MB/s"
    yield from _prose(f"about {printing.age(plan.duration)} at {rate}, which is assumed and was not measured")
    if scene.rehearsal is not None:
        yield from _prose(f"It is restored as {scene.rehearsal} first, so that you can check it before you replace it")
    for name, values in (
        ("ROOM", [f"{printing.size(one.size)} on {one.where}: {one.why}" for one in plan.room]),
        ("LOST", plan.lost),
        ("NOTE", plan.notes),
    ):
        for value in values:
            yield from _prose(f"{name}: {value}")
    for number, block in enumerate(plan.blocks, start=1):
        yield ""
        yield from _prose(f"{number}. [{block.where}] {block.title}")
        yield from block.lines
    yield ""
    for value in plan.afterwards:
        yield from _prose(f"AFTERWARDS: {value}")


def _prose(value: str) -> Iterator[str]:
    yield from wrap(printable(value), _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)
