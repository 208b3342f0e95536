"""The drill of one restore point: fetch, read, restore, check, query. The first step that fails ends it."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_agent import __version__
from backup_agent.artifact.reading import read_container
from backup_agent.artifact.zstd import UnknownFormatError
from backup_agent.catalog.record_notes import digest_of
from backup_agent.cgroup import memory_limit
from backup_agent.core.artifacts.names import SYSTEM
from backup_agent.core.artifacts.records import Header, Record
from backup_agent.core.capabilities import Version
from backup_agent.core.drill.admin_output import cause_of, how_it_ended, is_same_refusal, knows_no_command
from backup_agent.core.drill.evidence import LONGEST_TEXT, EntityCounts, Evidence, QueryOutcome, Skipped
from backup_agent.core.drill.levels import Level
from backup_agent.core.drill.memory import drill_memory, least_memory
from backup_agent.core.drill.outcomes import DrillOutcome, DrillStoppedError, StopCause
from backup_agent.core.neo4j.command import MIB, Launch
from backup_agent.core.neo4j.progress import Transcript
from backup_agent.core.neo4j.selection import matches
from backup_agent.core.neo4j.verdict import Completed, did_not_start
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.jobs.drill_scratch import ScratchFolder
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.stages import Stages
from backup_agent.neo4j_admin.program import AdminProgram
from backup_agent.neo4j_admin.scratch import ScratchNeo4j, is_community
from backup_agent.restore.fetching import fetch_to_folder
from backup_agent.restore.finding import FoundPoint
from backup_agent.settings.drill import Drill

QUERY_SECONDS = 300.0
"""Longest time that a query may take."""

UNPACKED = 4
"""Size of a store as a multiple of its artifact, if the record does not say how many bytes are unpacked."""

_LOOK_SECONDS = 1.0
_TRIES = 2
_BLOCK = 1 << 20
_STAND_IN = "stand-in"


@dataclass(frozen=True)
class Means:
    """What a drill works with."""

    drill: Drill
    programs: tuple[AdminProgram, ...]
    """The ways to start neo4j-admin; none at the level `read`."""
    version: Version | None
    environ: dict[str, str]
    writer: EventWriter
    cancel: threading.Event
    share: int
    """Number of JVMs that share the memory."""
    reserved: int
    """Bytes of the scratch folder's volume that must stay free for a backup."""


@dataclass
class Findings:
    """What a drill has found so far."""

    reached: Level | None = None
    counts: EntityCounts | None = None
    server_version: str | None = None
    report_sha256: str | None = None
    queries: list[QueryOutcome] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    restored_after: float | None = None
    """Seconds from the beginning of the fetch to the end of the restore, or of the start of the server."""


class PointDrill:
    """The drill of one restore point, in a scratch folder of its own."""

    def __init__(self, found: FoundPoint, level: Level, means: Means) -> None:
        self._found, self._level, self._means = found, level, means
        self._stages = Stages(means.writer)
        self._deadline = time.monotonic() + means.drill.timeout.total_seconds()
        self._began = time.monotonic()
        self._started = datetime.now(UTC)
        self.findings = Findings()

    def run(self, scratch: ScratchFolder) -> None:
        """Carry out the drill. Raise DrillStoppedError at the first step that fails."""
        self._check_limits(scratch)
        self._fetch(scratch)
        self._read(scratch)
        if self._level is Level.READ:
            return
        neo4j = self._neo4j(scratch)
        neo4j.configure()
        neo4j = self._restore(neo4j, scratch)
        scratch.remove_chain()
        if self._level in (Level.CHECK, Level.QUERY):
            self._check(neo4j)
        if self._level is Level.QUERY:
            self._query(neo4j)

    def evidence(self, stopped: DrillStoppedError | None) -> Evidence:
        """Return the evidence of the drill. `stopped` says why it ended early."""
        failure = stopped.stop.as_failure if stopped is not None else None
        chain, found = self._found.chain, self.findings
        return Evidence(
            key=chain[-1].key,
            since=datetime.now(UTC),
            place=self._found.place.name,
            level=self._level,
            reached=found.reached,
            outcome=stopped.stop.outcome if stopped is not None else DrillOutcome.PASSED,
            reason=failure.reason if failure is not None else None,
            error=failure.error[:LONGEST_TEXT] if failure is not None else None,
            started=self._started,
            seconds=self._stages.seconds(),
            restore_seconds=None if found.restored_after is None else round(found.restored_after, 3),
            size=self._size,
            chain={record.key: digest_of(record.to_json()) for record in chain},
            damaged=stopped.artifact if stopped is not None and stopped.artifact != chain[-1].key else None,
            proven=self._found.proven,
            admin_version=str(self._means.version) if self._means.version else None,
            server_version=found.server_version,
            agent_version=__version__,
            counts=found.counts,
            report_sha256=found.report_sha256,
            queries=tuple(found.queries),
            skipped=tuple(found.skipped),
            remarks=tuple(found.remarks),
        )

    @property
    def _last(self) -> Record:
        return self._found.chain[-1]

    @property
    def _size(self) -> int:
        return sum(record.size for record in self._found.chain)

    @property
    def _left(self) -> timedelta:
        """The time that is left. Raise DrillStoppedError if the time is over."""
        left = self._deadline - time.monotonic()
        if self._means.cancel.is_set():
            raise DrillStoppedError(StopCause.CANCELLED, "the drill was ended")
        if left <= 0:
            raise DrillStoppedError(StopCause.TIMEOUT, f"the drill took longer than {self._means.drill.timeout}")
        return timedelta(seconds=left)

    def _check_limits(self, scratch: ScratchFolder) -> None:
        """Raise DrillStoppedError if size, memory or room do not allow the drill."""
        drill = self._means.drill
        if drill.max_size is not None and self._size > drill.max_size:
            raise DrillStoppedError(
                StopCause.TOO_LARGE, f"the chain has {self._size} bytes, and drill.max_size is {drill.max_size}"
            )
        launch = self._means.programs[0].launch if self._means.programs else Launch.DIRECT
        limit, least = self._memory_limit, least_memory(self._level, launch)
        if limit is not None and limit < least:
            raise DrillStoppedError(
                StopCause.NO_MEMORY,
                f"the level {self._level.value} needs {least // MIB} MiB, and the memory limit is {limit // MIB} MiB",
            )
        unpacked = sum(record.raw_size or UNPACKED * record.size for record in self._found.chain)
        need = self._size + (unpacked if self._level is not Level.READ else 0) + self._means.reserved
        if (free := scratch.free) < need:
            kept = f", of which {self._means.reserved} for the next full backup" if self._means.reserved else ""
            raise DrillStoppedError(StopCause.NO_ROOM, f"{scratch.folder}: {free} bytes free, {need} needed{kept}")

    @property
    def _memory_limit(self) -> int | None:
        limit = memory_limit()
        return None if limit is None else limit // self._means.share

    def _fetch(self, scratch: ScratchFolder) -> None:
        """Fetch the chain, and compare every byte with the records."""
        self._stages.enter("fetch")
        for record in self._found.chain:
            with self._named(record):
                fetch_to_folder(self._found.place, (record,), scratch.chain, self._counting(self._size))

    @contextmanager
    def _named(self, record: Record) -> Iterator[None]:
        """Turn an error of the place into the end of the drill."""
        try:
            yield
        except BackupError as error:
            failure = error.failure
            changed = failure.reason in (Reason.CHECKSUM_MISMATCH, Reason.NOT_FOUND)
            cause = StopCause.CHANGED if changed else _CAUSES.get(failure.reason, StopCause.NOT_FETCHED)
            raise DrillStoppedError(cause, failure.error, None if changed else failure, record.key) from error

    def _counting(self, total: int) -> Callable[[int], None]:
        done = 0

        def count(size: int) -> None:
            nonlocal done
            _ = self._left
            done += size
            self._means.writer.progress(done, total)

        return count

    def _read(self, scratch: ScratchFolder) -> None:
        """Read the containers to their end, and compare their headers with the records."""
        self._stages.enter("read")
        for record in self._found.chain:
            try:
                header = read_container(scratch.chain / record.files[0].name, self._counting(self._size))
            except UnknownFormatError as error:
                raise DrillStoppedError(StopCause.UNKNOWN_FORMAT, error.failure.error) from error
            except PermanentError as error:
                raise DrillStoppedError(StopCause.BAD_CONTAINER, error.failure.error, artifact=record.key) from error
            if any(getattr(header, name) != getattr(record.header, name) for name in Header.model_fields):
                raise DrillStoppedError(
                    StopCause.OTHER_HEADER,
                    f"{record.key}: its header is that of {header.database} of {header.taken}, and not as recorded",
                    artifact=record.key,
                )
        self.findings.reached = Level.READ

    def _neo4j(self, scratch: ScratchFolder) -> ScratchNeo4j:
        means = self._means
        return ScratchNeo4j(
            program=means.programs[0],
            folder=scratch.folder,
            database=self._last.database,
            memory=drill_memory(self._memory_limit),
            environ=means.environ,
            accept_license=means.drill.accept_license,
            cancel=means.cancel,
            on_line=self._hear,
            pass_fds=(scratch.lock,),
        )

    def _hear(self, line: str) -> None:
        if _STAND_IN in line and line not in self.findings.remarks:
            self.findings.remarks.append(line)

    def _restore(self, neo4j: ScratchNeo4j, scratch: ScratchFolder) -> ScratchNeo4j:
        """Make a store of the chain. Return the Neo4j that did: if the JVM does not start directly, the script's."""
        self._stages.enter("restore")
        refusals: list[Completed] = []
        while len(refusals) < _TRIES:
            completed = self._restored(neo4j, scratch)
            if did_not_start(completed, Transcript()) and neo4j.program is not self._means.programs[-1]:
                neo4j = neo4j.started_by(self._means.programs[-1])
                continue
            if completed.exit_code == 0 and completed.ended_by is None:
                self.findings.restored_after = time.monotonic() - self._began
                self.findings.reached = Level.RESTORE
                return neo4j
            if (cause := cause_of(completed)) is not None:
                raise DrillStoppedError(cause, how_it_ended(completed))
            refusals.append(completed)
        same = is_same_refusal(*refusals)
        raise DrillStoppedError(
            StopCause.REFUSED_TWICE if same else StopCause.REFUSED_DIFFERENTLY, how_it_ended(refusals[-1])
        )

    def _restored(self, neo4j: ScratchNeo4j, scratch: ScratchFolder) -> Completed:
        """Restore the chain once: by `restore`, or on Community, which has no such command, by `load`."""
        artifact = scratch.chain / self._last.files[0].name
        if not is_community(neo4j.program):
            completed = neo4j.restore(artifact, self._left)
            if not knows_no_command(completed):
                return completed
        if len(self._found.chain) > 1:
            raise DrillStoppedError(StopCause.COMMUNITY, "this neo4j-admin restores no differentials")
        return neo4j.load(artifact, self._left, split=len(self._last.files) > 1)

    def _check(self, neo4j: ScratchNeo4j) -> None:
        self._stages.enter("check")
        if is_community(neo4j.program) and _BLOCK_FORMAT in self._last.header.store_id:
            raise DrillStoppedError(StopCause.COMMUNITY, "this neo4j-admin opens no block store")
        completed = neo4j.check(self._left)
        cause = cause_of(completed)
        if cause is StopCause.NEEDS_RECOVERY and self._level is Level.QUERY:
            self.findings.skipped.append(Skipped(step="check", why="the store needs recovery, which the server does"))
            return
        self.findings.report_sha256 = _digest_of_files(neo4j.folder / "report")
        if completed.exit_code != 0 or completed.ended_by is not None:
            raise DrillStoppedError(cause or StopCause.PROGRAM_FAILED, how_it_ended(completed))
        self.findings.reached = Level.CHECK

    def _query(self, neo4j: ScratchNeo4j) -> None:
        """Start a server with the store, count, and compare the results of the settings' queries."""
        from backup_agent.cluster.scratch_bolt import ScratchBolt  # noqa: PLC0415  only this level loads the driver

        if neo4j.accept_license is None:
            raise DrillStoppedError(StopCause.NO_LICENCE, "a scratch server is started only if its licence is accepted")
        if self._last.database == SYSTEM:
            text = "a server with the system database of another cluster would look for that cluster's databases"
            self.findings.skipped.append(Skipped(step="query", why=text))
            return
        self._stages.enter("start")
        with neo4j.serving(self._left) as server:
            bolt = ScratchBolt(server.port, self._last.database)
            while not bolt.is_online():
                if (ended := server.ended) is not None:
                    cause = cause_of(server.completed) if server.completed is not None else None
                    raise DrillStoppedError(cause or StopCause.NO_SERVER, ended)
                _ = self._left
                self._means.cancel.wait(_LOOK_SECONDS)
            self.findings.restored_after = time.monotonic() - self._began
            self._stages.enter("query")
            self.findings.server_version = bolt.version()
            self.findings.counts = bolt.counts(self._seconds)
            for query in self._means.drill.queries:
                if any(matches(self._last.database, pattern) for pattern in query.databases):
                    as_expected = bolt.is_expected(query.cypher, query.expect, self._seconds)
                    self.findings.queries.append(QueryOutcome(name=query.name, as_expected=as_expected))
            self._stages.enter("stop")
        if wrong := [query.name for query in self.findings.queries if not query.as_expected]:
            raise DrillStoppedError(
                StopCause.UNEXPECTED, f"queries with another result than expected: {', '.join(wrong)}"
            )
        self.findings.reached = Level.QUERY

    @property
    def _seconds(self) -> float:
        return min(QUERY_SECONDS, self._left.total_seconds())


_BLOCK_FORMAT = "block"

_CAUSES = {
    Reason.DISK_FULL: StopCause.NO_ROOM,
    Reason.OUT_OF_MEMORY: StopCause.NO_MEMORY,
    Reason.CANCELLED: StopCause.CANCELLED,
}


def _digest_of_files(folder: Path) -> str | None:
    """Return the SHA-256 of the contents of a folder's files, one after another, or None if the folder is empty."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest() if paths else None
