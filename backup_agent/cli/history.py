"""`backup-agent history`."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

import click

from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.catalog.place import place_of
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, DocumentedCommand
from backup_agent.cli.options import PLACE, checked_name, json_option, moment_option, settings_option, utc_option
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, database_name
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.audit.period import Period, begin_of, end_of
from backup_agent.core.audit.report_text import shown
from backup_agent.core.reasons import PermanentError, Reason

_TOLD = ("version", "type", "size", "level", "outcome", "keys", "sources", "to", "heads", "until", "fingerprint")
"""Facts that the table shows."""


@click.command(
    cls=DocumentedCommand,
    examples=(
        "backup-agent history --database orders --kind deleted",
        "backup-agent history --from 2026-10-01 --to 2026-10-31 --place offsite --json",
    ),
    exits={DONE: "shown", FAILED: "the place cannot be read"},
)
@click.option("--from", "begin", callback=moment_option(begin_of), metavar="DATE", help="From this day or time on.")
@click.option("--to", "end", callback=moment_option(end_of), metavar="DATE", help="Up to this day or time.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in AuditKind]),
    help="Only lines of this kind.",
)
@click.option(
    "--database", callback=checked_name(database_name), metavar="DATABASE", help="Only lines about this database."
)
@click.option("--artifact", metavar="KEY", help="Only lines about this artifact.")
@click.option("--request", metavar="ID", help="Only lines of this request.")
@click.option("--plan", metavar="ID", help="Only deletions of this plan.")
@click.option(
    "--place",
    default=VOLUME,
    show_default=True,
    metavar=PLACE,
    help="The place whose log is read: `local` or a destination.",
)
@settings_option
@utc_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    begin: datetime | None,
    end: datetime | None,
    kinds: tuple[str, ...],
    database: DatabaseName | None,
    artifact: str | None,
    request: str | None,
    plan: str | None,
    place: str,
    as_json: bool,
) -> int:
    """Show the audit log.

    Shows what was backed up, copied, deleted, held, fetched and changed, when, why, and who asked. Who asked is taken
    from the request, and is not proven. With --json each line is printed as it is stored.
    """
    period = Period(begin, end)

    def wanted(line: AuditLine) -> bool:
        return (
            period.has_line(line)
            and (not kinds or line.kind in kinds)
            and (database is None or line.is_of(database))
            and (artifact is None or artifact in line.artifacts)
            and (request is None or line.request == request)
            and (plan is None or line.plan == plan)
        )

    source = AuditSource.of_place(place_of(place, loaded(context).settings))
    lines = source.lines()
    first = next(lines, None)
    if first is None:
        raise PermanentError(
            Reason.NOT_FOUND, f"{place}: there is no audit log", "--place NAME reads the log at a destination"
        )
    matches = filter(wanted, chain((first,), lines))
    found = next(matches, None)
    if found is None:
        printing.line(f"no line of the log at {place} matches", err=True)
        return 0
    for line in chain((found,), matches):
        if as_json:
            printing.as_json(line.model_dump(mode="json", exclude_defaults=True), indent=None)
        else:
            printing.prose(("  ".join(_columns(line)),))
    return 0


def _columns(line: AuditLine) -> Iterator[str]:
    yield printing.moment(line.at) if line.at else "-"
    yield line.kind.ljust(len(AuditKind.COPY_GIVEN_UP))
    if line.place is not None:
        yield f"at {line.place}"
    yield from line.artifacts[:1]
    if len(line.artifacts) > 1:
        yield f"and {len(line.artifacts) - 1} more"
    facts = {name: line.facts[name] for name in ("database", *_TOLD) if name in line.facts}
    yield from (f"{name}={shown(value)}" for name, value in facts.items())
    for name, value in (("plan", line.plan), ("request", line.request), ("claimed by", line.claimed)):
        if value is not None:
            yield f"{name} {value}"
    if line.why is not None:
        yield f": {line.why}"
