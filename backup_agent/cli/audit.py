"""`backup-agent audit`."""

from pathlib import Path

import click

from backup_agent.catalog.audit_reading import AuditSource, Examined, examine
from backup_agent.catalog.place import place_of
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.options import json_option, place_option, settings_option, utc_option
from backup_agent.core.audit.examination import GAPS
from backup_agent.signing.keyring import Keyring


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent audit",
        "backup-agent audit --place offsite",
        "backup-agent audit --place offsite --folder /mnt/copy/neo4j/demo",
    ),
    exits={
        DONE: "the log is whole",
        FAILED: "the log or the records were changed, or the place cannot be read",
        WARNED: "the log has gaps",
    },
)
@place_option
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A copy of the place to examine instead: of the volume, or of what is below prefix and cluster.",
)
@click.option("--head", "heads", multiple=True, metavar="SHA256", help="A line that the log must have, noted before.")
@settings_option
@utc_option
@json_option
@click.pass_context
def command(context: click.Context, place: str, folder: Path | None, heads: tuple[str, ...], *, as_json: bool) -> int:
    """Examine the audit log of a place.

    Shows lines that were altered, removed or reordered, and gaps; deletions without a plan; records that no line
    explains, and artifacts that are gone without a deletion. Needs only the settings file and the place.
    """
    settings = loaded(context).settings
    at = place_of(place, settings)
    source = AuditSource.of_place(at) if folder is None else AuditSource.of_folder(at.name, folder)
    found = examine(source, Keyring(settings), heads)
    if as_json:
        printing.as_json(_document(found, at.name))
    else:
        printing.prose(_lines(found, at.name))
    faults = {one.fault for one in found.findings}
    return 1 if faults - GAPS else 3 if faults else 0


def _document(found: Examined, place: str) -> dict[str, object]:
    seen = found.examination
    return {
        "place": place,
        "lines": seen.lines,
        "segments": found.segments,
        "from": seen.first,
        "to": seen.last,
        "head": seen.head and {"n": seen.head.n, "epoch": seen.head.epoch, "digest": seen.head.digest},
        "sealed": found.sealed,
        "findings": [{"fault": one.fault.value, "where": one.where, "text": one.text} for one in found.findings],
    }


def _lines(found: Examined, place: str) -> list[str]:
    seen = found.examination
    if seen.first is None or seen.last is None or seen.head is None:
        return [f"{place}: there is no audit log", *map(_finding, found.findings)]
    span = f"from {printing.moment(seen.first)} to {printing.moment(seen.last)}"
    sealed = [f"sealed: {count} by {key}" for key, count in found.sealed.items()]
    counts = (
        f"{printing.counted(seen.lines, 'line', 'lines')} in {printing.counted(found.segments, 'segment', 'segments')}"
    )
    end = f"head: line {seen.head.n}, {seen.head.digest}"
    return [f"{place}: {counts}, {span}", end, *sealed, *(map(_finding, found.findings))]


def _finding(one: tuple[str, str, str]) -> str:
    fault, where, text = one
    return f"{fault.upper()}: {where}: {text}"
