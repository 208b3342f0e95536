"""The child process of attempts to back up a database, one after the other. `back_up` shows one from top to bottom.

An artifact is reported as stored only after it was read back. Its record is written only after its data is durable.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from backup_agent import durable, processes, quoting
from backup_agent.artifact.reading import ArtifactReading
from backup_agent.catalog.contents import Contents, of_database
from backup_agent.catalog.place import place_of
from backup_agent.catalog.place_ownership import this_volume
from backup_agent.catalog.recognised import create_on_volume, read_record
from backup_agent.catalog.record_notes import digest_of
from backup_agent.catalog.space import space
from backup_agent.core.artifacts.chains import TypeDecision, TypeReason, decide, live_chain, parent_of
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import BackupType, Record
from backup_agent.core.audit.lines import recorded as recorded_line
from backup_agent.core.capabilities import newest
from backup_agent.core.neo4j.verdict import NextStep as Judged
from backup_agent.core.neo4j.verdict import Verdict, judge
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import CopyState, DatabaseResult, Execution, Outcome
from backup_agent.core.requests.events import ArtifactStored, BackupReport, SetAside, Warned
from backup_agent.core.requests.tasks import BackupTask
from backup_agent.jobs.admin_call import Admin, CallResult, Invocation
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.event_writer import EventWriter, cancel_on_sigterm, serve
from backup_agent.jobs.new_artifacts import NewArtifactReader, ReadingResult
from backup_agent.jobs.signing_state import tell_signing
from backup_agent.jobs.stages import Stages
from backup_agent.jobs.staging import Staging, found, left_since, set_aside
from backup_agent.jobs.summaries import tell_summary
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring

Records = tuple[Record, ...]


@dataclass
class BackupRun:
    """The state of one run."""

    task: BackupTask
    settings: Settings
    writer: EventWriter
    cancel: threading.Event
    execution: Execution = field(default_factory=Execution)
    adopted: bool = False
    """Whether the artifact was finished by an earlier attempt."""
    broken: dict[str, str] = field(default_factory=dict)
    """Artifact of the live chain -> why it cannot be restored, so that the chain is not continued."""

    def __post_init__(self) -> None:
        """Derive the volume, the keyring and the staging folders from the task and the settings."""
        self.volume = place_of(VOLUME, self.settings)
        self.root = self.volume.root
        self.stages = Stages(self.writer)
        self.store = self.volume.store
        self.keyring = Keyring(self.settings)
        self.staging = self.staging_of(self.task.run)
        self.trail = AuditTrail(self.volume, self.writer)

    def staging_of(self, run: str) -> Staging:
        """Return the staging folders of the attempt `run` at this task."""
        return Staging(self.root, run, self.task.set, self.task.database, in_place=not self.task.hard_links)


@dataclass(frozen=True)
class Judgement:
    """An artifact that passed the verdict, with the facts for its record."""

    path: Path
    reading: ArtifactReading
    decision: TypeDecision
    warnings: tuple[str, ...]
    taken: CallResult | None = None
    adopted: bool = False


def back_up(run: BackupRun) -> DatabaseResult:
    """Back up one database. Return the result for the answer: if the set has destinations, copies are still to be made.

    Raise BackupError if there is no verified artifact at the end.
    """
    run.stages.enter("plan")
    contents = of_database(run.volume, run.task.set, run.task.database)
    record = recorded_before(run, contents)
    if record is None:
        recorded = restorable(run, contents)
        judged = adopt(run, recorded)
        if judged is None:
            judged = take(run, recorded)
        run.stages.enter("publish")
        record = publish(run, judged, recorded)
    run.trail.tell(recorded_line(record, digest_of(record.to_json())))
    clear(run)
    return result(run, record)


def recorded_before(run: BackupRun, contents: Contents) -> Record | None:
    """Return the record that an earlier attempt has written, or None. If there is one, only the answer is missing.

    Request ids can be reused after some time, so the record must also be newer than the request.
    """
    for entry in contents.entries.values():
        if entry.finished >= run.task.since:
            record = _read(run, entry)
            if record is not None and record.request == run.task.request:
                run.adopted = True
                return record
    return None


def restorable(run: BackupRun, contents: Contents) -> Records:
    """Return the records on which the next backup is based: the undamaged live chain and the newest of each type.

    Damaged and missing artifacts are left out, so that no differential continues them. `run.broken` says why.
    """
    entries, unsound = contents.entries.values(), contents.unsound
    live = live_chain(entries)
    run.broken = {one.key: unsound[one.key] for one in live.records if one.key in unsound} if live else {}
    sound = sorted((one for one in entries if one.key not in unsound), key=lambda one: (one.taken, one.key))
    chain = live_chain(sound)
    if chain is not None and chain.hole is not None:
        run.broken[chain.hole.record.key] = str(chain.hole)
    wanted = {one.key: one for one in chain.records} if chain else {}
    wanted |= {one.key: one for one in {entry.full: entry for entry in sound}.values()}
    records = []
    for entry in sorted(wanted.values(), key=lambda one: (one.taken, one.key)):
        record = _read(run, entry)
        if record is not None:
            records.append(record)
        else:
            run.broken[entry.key] = "its record cannot be read, or has changed"
    for key, fault in run.broken.items():
        run.writer.tell(Warned(text="chain not continued", because=f"{key}: {fault}"))
    return tuple(records)


def _read(run: BackupRun, entry: Entry) -> Record | None:
    """Return the record of an index entry, or None if it cannot be read or differs from the entry."""
    try:
        record = read_record(run.volume, entry.key)
    except PermanentError:
        return None
    return record if Entry.of(record) == entry else None


def adopt(run: BackupRun, recorded: Records) -> Judgement | None:
    """Return an artifact that an earlier attempt finished and did not record, or None. Set unfinished ones aside.

    Raise PermanentError (`interrupted`) if no artifact can be adopted and the task allows only adoption.
    """
    for earlier in run.task.earlier_runs:
        staging = run.staging_of(earlier)
        for path in found(staging.target, staging.chain):
            run.stages.enter("adopt")
            judged = _adopted(run, path, recorded)
            if judged is not None:
                run.adopted = True
                return judged
    _set_left_aside(run)
    if run.task.adopt_only:
        raise PermanentError(
            Reason.INTERRUPTED,
            f"{len(run.task.earlier_runs)} attempts ended without a result: all their processes were killed at once",
        )
    return None


def _adopted(run: BackupRun, path: Path, recorded: Records) -> Judgement | None:
    """Return the judgement of an unrecorded artifact, or None if it is unfinished or does not belong to this task."""
    one = _reader(run, recorded, None).read(path)
    header = one.found.header
    if one.reading is None or header is None or header.database != run.task.database.lower():
        return None
    if header.taken < run.task.since.replace(microsecond=0) or (not header.full and one.found.chain_break):
        return None
    decision = _decide(run, recorded)
    if header.full and decision.type is not BackupType.FULL:
        decision = TypeDecision(BackupType.FULL, TypeReason.DIFF_FAILED)
    elif not header.full and decision.type is not BackupType.DIFF:
        decision = TypeDecision(BackupType.DIFF, TypeReason.CHAIN_CONTINUES)
    return Judgement(path, one.reading, decision, one.found.warnings, adopted=True)


def take(run: BackupRun, recorded: Records) -> Judgement:
    """Run neo4j-admin until an artifact passes the verdict: once, or twice if a FULL follows a failed DIFF."""
    decision = _decide(run, recorded)
    admin = Admin.find(run.settings.neo4j, os.environ, run.root / ".agent", run.cancel)
    run.execution = Execution(admin_version=str(admin.version) if admin.version else None)
    if not run.task.sources:
        raise PermanentError(
            Reason.SOURCE_UNREACHABLE,
            f"no server is known that can serve a backup of {run.task.database}",
            "Bolt has not answered yet: check neo4j.uri, or name the servers in neo4j.servers",
        )
    while True:
        check_space(run, recorded, decision.type)
        _await_unused_second(run, recorded)
        chain = live_chain(recorded) if decision.type is BackupType.DIFF else None
        try:
            run.staging.prepare(chain.records if chain else ())
        except PermissionError as error:
            if chain is None:
                raise
            decision = _after_no_link(run, error)
            continue
        taken = admin.back_up(_invocation(run, decision), cancel=run.cancel, enter=run.stages.enter)
        run.execution = Execution(
            admin_version=run.execution.admin_version,
            launch=taken.launch,
            exit_code=taken.completed.exit_code,
            source=taken.transcript.server,
        )
        run.stages.enter("verify")
        reader = _reader(run, recorded, admin)
        results = [reader.read(path) for path in run.staging.new()]
        verdict = judge(
            taken.completed,
            taken.transcript,
            tuple(one.found for one in results),
            database=run.task.database,
            asked=decision.type,
        )
        judged = next((one for one in results if verdict.artifact is one.found), None)
        if judged is not None and judged.reading is not None:
            if run.staging.in_place:
                _set_aside(run, but=judged.path)
            warnings = (*admin.warnings, *admin.differs_from(run.task.server_versions), *verdict.warnings)
            return Judgement(judged.path, judged.reading, _as_taken(decision, judged.reading), warnings, taken)
        if verdict.failure is not None and verdict.failure.reason is Reason.DISK_FULL:
            _discard(run)
        else:
            _set_aside(run)
        decision = _after_failure(run, verdict, results)


def _await_unused_second(run: BackupRun, recorded: Records) -> None:
    """Wait until the second of the newest artifact has passed: names have whole seconds, and must be unique."""
    last = max((record.header.taken for record in recorded), default=None)
    now = datetime.now(UTC)
    if last is not None and last <= now < last + timedelta(seconds=1):
        run.cancel.wait((last + timedelta(seconds=1) - now).total_seconds())


def _decide(run: BackupRun, recorded: Records) -> TypeDecision:
    task = run.task
    return decide(
        task.type,
        live_chain(recorded),
        database_id=task.database_id,
        version=newest(task.server_versions),
        limits=run.settings.chain,
        now=datetime.now(UTC),
        broken=bool(run.broken),
    )


def _after_failure(run: BackupRun, verdict: Verdict, results: list[ReadingResult]) -> TypeDecision:
    """Return the decision for a FULL if a differential cannot be taken. Raise any other failure as PermanentError."""
    failure = verdict.failure or Failure(Reason.INTERNAL, "no verdict")
    if verdict.outcome is not Judged.NEEDS_FULL:
        raise PermanentError.of(failure)
    if run.task.promote == "at_next_full":
        hint = "the schedule has `promote: at_next_full`: its next FULL begins a new chain"
        raise PermanentError.of(replace(failure, hint=hint))
    run.writer.tell(Warned(text="differential not taken", because=failure.error.splitlines()[0]))
    objection = next((one.objection for one in results if one.objection), None)
    return TypeDecision(BackupType.FULL, objection.reason if objection else TypeReason.DIFF_FAILED)


def _after_no_link(run: BackupRun, error: PermissionError) -> TypeDecision:
    """Return the decision for a FULL if hard links to the chain are refused.

    Raise PermanentError if the task promotes only at the next FULL of its schedule.
    """
    text = (
        f"{error.filename}: uid {os.getuid()} cannot make a hard link to it: it belongs to another user, and the "
        "agent's group cannot write to it"
    )
    if run.task.promote == "at_next_full":
        raise PermanentError(Reason.CHAIN_BROKEN, text, "run chmod g+rw on it as its owner or root, or take a FULL")
    run.writer.tell(Warned(text="differential not taken", because=text))
    return TypeDecision(BackupType.FULL, TypeReason.DIFF_FAILED)


def _as_taken(decision: TypeDecision, reading: ArtifactReading) -> TypeDecision:
    """Return the decision with the type that was taken: neo4j-admin may take a full instead of a differential."""
    if decision.type is BackupType.DIFF and reading.header.full:
        return replace(decision, type=BackupType.FULL, reason=TypeReason.DIFF_FAILED)
    return decision


def _invocation(run: BackupRun, decision: TypeDecision) -> Invocation:
    return Invocation(
        database=run.task.database,
        backup_type=decision.type,
        sources=run.task.sources,
        to_path=run.staging.target,
        temp_path=run.staging.temp,
        conf=run.staging.conf,
        timeout=run.settings.limits.run_timeout,
        stall_timeout=run.settings.limits.stall_timeout,
        parallel=run.settings.limits.parallel,
        destinations=len(run.settings.storage.destinations),
        written=run.staging.size,
        progress=run.writer.progress,
    )


def _reader(run: BackupRun, recorded: Records, admin: Admin | None) -> NewArtifactReader:
    return NewArtifactReader(
        chain=live_chain(recorded),
        admin_version=run.execution.admin_version,
        cut=bool(run.task.destinations),
        progress=_counted(run.writer),
        ask_admin=partial(admin.inspect, conf=run.staging.conf, cancel=run.cancel) if admin else None,
    )


def _counted(writer: EventWriter) -> Callable[[int], None]:
    """Return a function that adds up bytes and reports the sum as progress."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        writer.progress(done)

    return count


def check_space(run: BackupRun, recorded: Records, type_: BackupType) -> None:
    """Raise PermanentError (`disk_full`) if the volume has no room for a backup as large as the last of its type.

    neo4j-admin's temporary files are estimated as the raw size. Without an earlier backup nothing is checked.
    """
    last = next((record for record in reversed(recorded) if record.type is type_), None)
    if last is None:
        return
    need = (last.size + (last.raw_size or 0)) * run.task.at_once
    free = space(run.root).free
    if free < need:
        raise PermanentError(
            Reason.DISK_FULL,
            f"{run.root}: {free} bytes free, about {need} needed: the last {type_.value} of {run.task.database} had "
            f"{last.size} bytes, unpacked {last.raw_size or 'unknown'}, and {run.task.at_once} can run at once",
        )


def publish(run: BackupRun, judged: Judgement, recorded: Records) -> Record:
    """Link the artifact into its chain's folder, then write its record: data first, record second (invariant 1)."""
    record = _record(run, judged, recorded).bounded()
    keys = tuple(artifact_key(record.set, record.database, file.name) for file in record.files)
    journal = run.volume.journal
    journal.begin_publishing(run.store, record.key, keys, datetime.now(UTC))
    for key, file in zip(keys, record.files, strict=True):
        run.store.put_artifact(key, judged.path.parent / file.name, file, lambda _count: None)
    record = create_on_volume(run.volume, record, run.keyring)
    journal.done(record.key)
    tell_signing(run.keyring, run.writer)
    run.writer.tell(ArtifactStored(place="volume", type=record.type.value, bytes=record.size))
    return record


def _record(run: BackupRun, judged: Judgement, recorded: Records) -> Record:
    task, header, taken = run.task, judged.reading.header, judged.taken
    admin_version = run.execution.admin_version
    parent = None if header.full else parent_of(header, recorded, admin_version)
    return Record(
        key=artifact_key(task.set, task.database, judged.path.name),
        cluster=run.settings.cluster,
        set=task.set,
        database=task.database,
        type=BackupType.FULL if header.full else BackupType.DIFF,
        type_reason=judged.decision.reason.value,
        parent=parent.key if parent else None,
        header=header,
        files=judged.reading.files,
        raw_size=judged.reading.raw_size or None,
        database_id=task.database_id,
        history=header.history,
        # An adopted artifact is older than what Bolt reported in this attempt.
        last_committed_tx=None if judged.adopted else task.last_committed_tx,
        clock_offset=None if judged.adopted else task.clock_offset,
        definition=task.definition,
        request=task.request,
        started=task.since if judged.adopted else (taken.started if taken else task.since),
        finished=datetime.now(UTC),
        source=taken.transcript.server if taken else None,
        server_version=newest(task.server_versions),
        admin_version=admin_version,
        launch=taken.launch if taken else None,
        exit_code=taken.completed.exit_code if taken else None,
        warnings=judged.warnings,
        audit_head=run.trail.head(),
        **task.attribution.model_dump(),
    )


def _set_aside(run: BackupRun, *, but: Path | None = None) -> None:
    for name in run.staging.set_aside(datetime.now(UTC), but=but):
        run.writer.tell(SetAside(run=run.task.run, name=name))


def _discard(run: BackupRun) -> None:
    """Remove the unfinished artifact that filled the volume. If it were set aside, other backups would have no room."""
    for name in run.staging.discard():
        run.writer.tell(Warned(text="unfinished artifact removed", because=f"{name}: the volume is full"))


def clear(run: BackupRun) -> None:
    """Set aside the unfinished artifacts in the staging folders of this task, and remove the folders."""
    for name in (*run.task.earlier_runs, run.task.run):
        staging = run.staging_of(name)
        if staging.folder.exists() and not staging.in_place:
            half = [path for path in found(staging.target, staging.chain) if path.exists()]
            for path in half:
                run.writer.tell(SetAside(run=name, name=path.name))
            if half:
                Staging(run.root, name, run.task.set, run.task.database).set_aside(datetime.now(UTC))
        staging.remove()
    _set_left_aside(run)


def _set_left_aside(run: BackupRun) -> None:
    """Set aside unfinished artifacts in the chain's own folder, if the volume has no hard links.

    neo4j-admin looks there for the parent of a differential, and would read unfinished artifacts. Only files with a
    time at or after the request in their names belong to this task.
    """
    if run.task.hard_links:
        return
    for name in set_aside(run.root, run.task.run, left_since(run.staging.chain, run.task.since), datetime.now(UTC)):
        run.writer.tell(SetAside(run=run.task.run, name=name))


def result(run: BackupRun, record: Record) -> DatabaseResult:
    """Return the result of this database for the answer: final, or `recorded` if destinations are to have a copy.

    A copy that an earlier attempt's answer already waited for may be stored: the queue of the destination then says so.
    """
    foreign = this_volume(run.settings).foreign
    unowned = (f"nothing is deleted here, and nothing is copied from here: {foreign.error}",) if foreign else ()
    unsigned = (f"the record is not signed: {run.keyring.fault}",) if run.keyring.fault else ()
    recorded = DatabaseResult(
        outcome=Outcome.RECORDED,
        type=record.type.value,
        type_reason=record.type_reason,
        artifact=record.key,
        size=record.size,
        sha256={file.name: file.sha256 for file in record.files},
        copies=dict.fromkeys(run.task.destinations, CopyState.WAITING),
        adopted=run.adopted,
        stages=run.stages.seconds(),
        warnings=(*record.warnings, *unowned, *unsigned),
    )
    return recorded if recorded.awaited else recorded.without_copies()


def perform(task: BackupTask, settings: Settings, writer: EventWriter, cancel: threading.Event) -> None:
    """Carry out a task and report its result as the last event. SIGTERM cancels it."""
    cancel_on_sigterm(cancel)
    run = BackupRun(task, settings, writer, cancel)
    try:
        outcome = back_up(run)
    except BackupError as error:
        outcome = _failed(run, error.failure)
    except OSError as error:
        reason = Reason.DISK_FULL if durable.is_full(error) else Reason.INTERNAL
        outcome = _failed(run, Failure(reason, f"{error.filename or run.root}: {error.strerror}"))
    except Exception as error:
        outcome = _failed(run, Failure(Reason.INTERNAL, quoting.shown(error)))
        raise
    finally:
        tell_summary(run.task.set, run.task.database, run.settings, run.writer)
        run.writer.tell(BackupReport(result=outcome, execution=run.execution))


def _failed(run: BackupRun, failure: Failure) -> DatabaseResult:
    try:
        clear(run)
    except OSError as error:
        run.writer.tell(Warned(text="staging not cleared", because=f"{error.filename}: {error.strerror}"))
    return DatabaseResult(stages=run.stages.seconds()).failed(failure, datetime.now(UTC))


def main() -> None:
    """Run as a child process: tasks on stdin, events on stdout."""
    serve(TypeAdapter(BackupTask), perform)


if __name__ == "__main__":
    main()
    processes.leave()
