"""`backup-agent drill`."""

import os
import queue
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from backup_agent import processes
from backup_agent.catalog.place import place_of
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.options import PLACE, checked_name, json_option, settings_option
from backup_agent.cli.restore import origin_code
from backup_agent.core.artifacts.names import DEFAULT_SET, SetName, command_id, name_of_set
from backup_agent.core.drill.evidence import Evidence
from backup_agent.core.drill.levels import Level
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.events import ArtifactDrilled, DrillBegun, PassReport, StageBegun
from backup_agent.core.requests.tasks import DrillTask
from backup_agent.core.restore.asked import parse_asked
from backup_agent.settings.model import Settings
from backup_agent.supervisor.children.process import Child, Ended, Told

MODULE = "backup_agent.jobs.drill"
_END_SECONDS = 10.0


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent drill orders --level query", "backup-agent drill --all --from offsite --evidence"),
    exits={
        DONE: "every drill passed",
        FAILED: "a drill did not pass or could not be done, or there is no such restore point",
        WARNED: "passed, but the agent does not recognise the records",
    },
)
@click.argument("what", metavar="[DATABASE|ARTIFACT]", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Drill every database, the oldest proof first, within drill.budget."
)
@click.option("--from", "place", metavar=PLACE, help="`local` or a destination. Default: drill.place.")
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    help="How far the drill goes. Default: drill.level of the settings.",
)
@click.option("--history", metavar="ID", help="An older history of a database that was replaced since.")
@click.option(
    "--set",
    "set_name",
    metavar="SET",
    callback=checked_name(name_of_set),
    default=DEFAULT_SET,
    show_default=True,
    help="The set with the artifacts of the database.",
)
@click.option("--evidence", is_flag=True, help="Store the evidence at the place, below the prefix .drills/.")
@settings_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    what: str | None,
    everything: bool,
    place: str | None,
    level: str | None,
    history: str | None,
    set_name: SetName,
    evidence: bool,
    as_json: bool,
) -> int:
    """Restore an artifact in a scratch folder, check it and query it.

    Needs only the settings file and the place: neither the agent nor its volume nor Bolt. The scratch data are removed
    at the end.
    """
    if (what is None) != everything:
        raise click.UsageError("name a database or an artifact, or give --all")
    try:
        _ = parse_asked(what) if what is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    settings = loaded(context).settings
    chosen = place_of(place, settings).name if place is not None else settings.drill.place
    if chosen is None and everything:
        chosen = settings.drilled_place
    task = DrillTask(
        run=command_id(datetime.now(UTC), os.getpid()),
        place=chosen,
        what=what,
        set=set_name,
        history=history,
        databases=settings.databases,
        sets=tuple(sorted(settings.declared_sets)),
        level=Level(level) if level is not None else settings.drill.level,
        evidence="prefix" if evidence else "none",
        settings=settings.model_dump(mode="json"),
    )
    return _Following(as_json=as_json).run(task, settings)


def _owner(scratch: Path) -> str:
    """Return the marker of the command's processes. By it, the next command ends those that a killed one has left."""
    return f"drill:{scratch}"


class _Following:
    """Follows the child process of the drills, and prints what it tells."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._drilled: list[ArtifactDrilled] = []
        self._failure: Failure | None = None
        self._inbox: queue.SimpleQueue[Told | Ended] = queue.SimpleQueue()

    def run(self, task: DrillTask, settings: Settings) -> int:
        """Run the drills and return the exit code. If the command is interrupted, the child ends too.

        The child's standard input ends with this process, whatever ends it. Then the child kills its whole session.
        """
        owner = _owner(settings.drill.scratch or settings.storage.root)
        processes.end_left_behind(owner)
        keep, other = os.pipe()  # a child inherits a descriptor: in the agent, that of the root's lock
        content = task.model_dump_json().encode()
        child = Child(task.run, MODULE, content, self._inbox.put, root=owner, keep=keep, remote=True)
        try:
            self._follow()
        except KeyboardInterrupt:
            child.ask_to_end()
            with suppress(queue.Empty):
                while not isinstance(self._inbox.get(timeout=_END_SECONDS), Ended):
                    pass
            raise
        finally:
            child.kill()
            os.close(keep)
            os.close(other)
        return self._end()

    def _follow(self) -> None:
        while not isinstance(message := self._inbox.get(), Ended):
            match message.event:
                case DrillBegun() as begun:
                    self._say(f"drilling {begun.key} from {begun.place}, level {begun.level.value}")
                case StageBegun() as stage if printing.is_terminal(err=True):
                    self._say(f"  {stage.stage}")
                case ArtifactDrilled() as drilled:
                    self._drilled.append(drilled)
                    if not self._as_json:
                        printing.lines(text_of(drilled))
                case PassReport(result=result) if result.reason is not None:
                    self._failure = Failure(result.reason, result.error or "", result.hint or "")
                case _:
                    pass
        if message.code != 0 and self._failure is None:
            text = f"the process of the drill ended with exit code {message.code}"
            self._failure = Failure(Reason.INTERNAL, text)

    def _say(self, text: str) -> None:
        printing.line(text, err=True)

    def _end(self) -> int:
        if self._as_json:
            printing.as_json([document(one) for one in self._drilled])
        if self._failure is not None:
            failure = self._failure
            printing.complaint(failure.error, failure.reason, failure.advice, as_json=self._as_json)
            return FAILED
        return origin_code(proven=all(one.evidence.proven for one in self._drilled))


def document(drilled: ArtifactDrilled) -> dict[str, object]:
    """Return the result of a drill as JSON: its evidence, and whether this was stored."""
    return {"evidence": drilled.evidence.model_dump(mode="json", by_alias=True), "unwritten": drilled.unwritten}


def text_of(drilled: ArtifactDrilled) -> Iterator[str]:
    """Yield the lines that describe the result of a drill."""
    one = drilled.evidence
    reached = f", reached {one.reached.value}" if one.reached is not None and one.reached is not one.level else ""
    seconds = (one.since - one.started).total_seconds()
    yield f"{one.key} at {one.place}: {one.outcome.value} (level {one.level.value}{reached}) in {seconds:.1f} s"
    yield from (f"  {line}" for line in facts_of(one))
    if drilled.unwritten is not None:
        yield f"  evidence not stored: {drilled.unwritten}"


def facts_of(one: Evidence) -> Iterator[str]:
    """Yield what a drill has measured and found, one fact a line."""
    yield f"chain: {printing.counted(len(one.chain), 'artifact', 'artifacts')}, {printing.size(one.size)}"
    if one.restore_seconds is not None:
        yield f"restored after {one.restore_seconds:.1f} s"
    if one.counts is not None:
        yield f"{one.counts.nodes} nodes, {one.counts.relationships} relationships"
    for query in one.queries:
        yield f"query {query.name}: {'as expected' if query.as_expected else 'NOT as expected'}"
    for skipped in one.skipped:
        yield f"skipped {skipped.step}: {skipped.why}"
    yield from (f"remark: {remark}" for remark in one.remarks)
