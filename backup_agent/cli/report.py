"""`backup-agent report`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime

import click

from backup_agent import durable
from backup_agent.catalog import evidence, reported_drills
from backup_agent.catalog.audit_reading import AuditSource, Examined, examine
from backup_agent.catalog.place import Place, place_of
from backup_agent.cli import printing
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand
from backup_agent.cli.options import PLACE, checked_name, moment_option, settings_option
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import artifact_key, database_of, evidence_key
from backup_agent.core.artifacts.names import VOLUME, DatabaseName, SetName, database_name
from backup_agent.core.artifacts.records import Record
from backup_agent.core.audit.examination import GAPS, AuditFault
from backup_agent.core.audit.period import Period, begin_of, end_of
from backup_agent.core.audit.report import AuditReport, DrillFacts, Expected, LogFacts, PointFacts, Sources, report
from backup_agent.core.audit.report_text import markdown
from backup_agent.core.protection.expected import expectation
from backup_agent.core.reasons import PermanentError
from backup_agent.core.retention.outlook import predict
from backup_agent.core.retention.plan import plan
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring

GAPS_OF_EVERY_REPORT = (
    "attempts that failed are not in the audit log: a time without a backup is shown, not why",
    "RPO, RTO and copies are judged by the settings file that was given, for the whole period",
    "who asked is what a request claims; the audit log of the Kubernetes API server has who was authenticated",
    "the artifacts were not read for this report: `verified` and `drilled` say when they were last",
    "times are those of the agent's clock",
)


class RecordedPoints:
    """The artifacts of a place, from its records, with all that the report says of each."""

    def __init__(self, place: Place, source: AuditSource) -> None:
        self._place = place
        self._store = source.store
        self._sizes = {one.key: one.size for one in source.store.list()}
        self._records: dict[str, tuple[Entry, str, str | None]] = {}

    def take(self, record: Record) -> None:
        """Note a record."""
        keys = {artifact_key(record.set, record.database, file.name): file.size for file in record.files}
        wrong = [key for key, size in keys.items() if self._sizes.get(key) != size]
        fault = f"{wrong[0]} is missing or has another size" if wrong else None
        self._records[record.key] = Entry.of(record), record.files[0].sha256, fault

    @property
    def newest(self) -> datetime | None:
        """When the newest artifact was finished, or None if nothing is recorded."""
        return max((entry.finished for entry, _, _ in self._records.values()), default=None)

    def pairs(self) -> set[tuple[SetName, DatabaseName]]:
        """Return the sets and databases that have artifacts."""
        return {database_of(key) for key in self._records}

    def drills(self) -> Iterator[DrillFacts]:
        """Yield the drills of which the place has evidence. Evidence that cannot be read is left out."""
        keyring, reported = Keyring(self._place.settings), reported_drills.listed(self._store)
        for artifact in self._records:
            beside = evidence_key(artifact)
            keys = [beside] if beside in self._sizes else []
            for key in (*keys, *([reported_drills.reported_key(artifact)] if artifact in reported else [])):
                with suppress(PermanentError):
                    content = self._store.read(key, durable.LIMIT)
                    done = evidence.parsed(self._place, key, artifact, content)
                    signed = evidence.signer(self._place, keyring, artifact, content) is not None
                    yield DrillFacts(
                        at=done.since,
                        place=done.place,
                        key=artifact,
                        level=done.level.value,
                        outcome=done.outcome.value,
                        restore_seconds=done.restore_seconds,
                        claimed=not signed,
                    )

    def facts(self, log: LogFacts, now: datetime) -> Iterator[PointFacts]:
        """Yield the facts of each artifact; until when it is kept is predicted as of `now`."""
        groups: dict[tuple[SetName, DatabaseName], list[Entry]] = defaultdict(list)
        for entry, _, _ in self._records.values():
            groups[entry.set, entry.database].append(entry)
        entries = [entry for group in groups.values() for entry in group]
        damaged = {key for key, (_, _, fault) in self._records.items() if fault is not None}
        held = {key: None for key in log.held if key in self._records}
        policy = self._place.policy
        planned = plan(entries, policy, now, held=held, damaged=damaged)
        for key, (entry, sha256, fault) in self._records.items():
            yield PointFacts(
                key=key,
                type="FULL" if entry.full else "DIFF",
                taken=entry.taken,
                finished=entry.finished,
                size=entry.size,
                sha256=sha256,
                kept=predict(planned, key, groups[entry.set, entry.database], policy).text,
                fault=fault,
            )


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent report --from 2026-10-01 --to 2026-10-31 --place offsite > report.md",),
    exits={
        DONE: "printed",
        FAILED: "printed, but the log was changed; or the place cannot be read",
        WARNED: "printed, but the log has gaps",
    },
)
@click.option(
    "--from", "begin", required=True, callback=moment_option(begin_of), metavar="DATE", help="The first day, or a time."
)
@click.option(
    "--to", "end", required=True, callback=moment_option(end_of), metavar="DATE", help="The last day, or a time."
)
@click.option("--database", callback=checked_name(database_name), metavar="DATABASE", help="Only this database.")
@click.option(
    "--place",
    default=VOLUME,
    show_default=True,
    metavar=PLACE,
    help="The place to report from: `local` or a destination.",
)
@click.option(
    "--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True, help="Markdown or JSON."
)
@click.option("--json", "as_json", is_flag=True, help="Like --format json.")
@settings_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    begin: datetime,
    end: datetime,
    database: DatabaseName | None,
    place: str,
    form: str,
    as_json: bool,
) -> int:
    """Print a report for auditors.

    Shows objectives met and missed, restore points with copies, verification and drills, deletions, holds, requests,
    and changes of the settings. Made from the settings file, the records and the audit log of one place, so it needs
    neither the agent nor its volume. The same input gives the same bytes.
    """
    if end < begin:
        raise click.UsageError("--to is before --from")
    settings = loaded(context).settings
    at = place_of(place, settings)
    made, found = _made(at, Period(begin, end), database)
    if as_json or form == "json":
        printing.as_json(made.model_dump(mode="json", by_alias=True))
    else:
        printing.block(markdown(made))
    faults = {one.fault for one in found.findings}
    return 1 if faults - GAPS else 3 if AuditFault.GAP in faults else 0


def _made(place: Place, period: Period, database: DatabaseName | None) -> tuple[AuditReport, Examined]:
    settings = place.settings
    source = AuditSource.of_place(place)
    log, points = LogFacts(period, database), RecordedPoints(place, source)
    found = examine(source, Keyring(settings), on_record=points.take, on_line=log.take)
    for drill in points.drills():
        log.add_drill(drill)
    seen = found.examination
    end = max(filter(None, (seen.last or period.end or begin_of("1970-01-01"), points.newest)))
    sources = Sources.model_validate(
        {
            "cluster": settings.cluster,
            "place": place.name,
            "from": period.begin,
            "to": period.end,
            "database": database,
            "lines": seen.lines,
            "log_from": seen.first,
            "log_to": seen.last,
            "head": seen.head and seen.head.digest,
            "sealed": found.sealed,
            "findings": [f"{one.fault.value}: {one.where}: {one.text}" for one in found.findings],
            "gaps": (*_beyond_the_log(seen.first, seen.last, period), *GAPS_OF_EVERY_REPORT),
        }
    )
    wanted = _expected(settings, {*points.pairs(), *log.backups}, database, end)
    facts = (one for one in points.facts(log, end) if database_of(one.key) in wanted)
    return report(sources, log, facts, wanted), found


def _beyond_the_log(first: datetime | None, last: datetime | None, period: Period) -> Iterator[str]:
    if first is None or last is None:
        yield "there is no audit log at this place"
        return
    if period.begin is not None and first > period.begin:
        yield f"the log begins after the period: {printing.utc(first)}"
    if period.end is not None and last < period.end:
        yield f"the log ends before the period: {printing.utc(last)}"


def _expected(
    settings: Settings, pairs: set[tuple[SetName, DatabaseName]], database: DatabaseName | None, now: datetime
) -> Mapping[tuple[SetName, DatabaseName], Expected]:
    rules = settings.rules()
    wanted: dict[tuple[SetName, DatabaseName], Expected] = {}
    for pair in sorted(pairs):
        if database is not None and pair[1] != database:
            continue
        one = expectation(pair, {}, rules, now)
        objective = one.objective
        wanted[pair] = Expected(
            rpo=one.rpo,
            grace=one.grace,
            rto=objective.rto if objective else None,
            copies=objective.copies if objective else None,
            drilled_every=objective.drilled_every if objective else None,
        )
    return wanted
