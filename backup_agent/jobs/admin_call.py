"""One call of neo4j-admin: the program, its version, memory and configuration, and its output."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_agent import durable, processes
from backup_agent.cgroup import memory_limit
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import BackupType, Header
from backup_agent.core.capabilities import Capabilities, Version, other_line
from backup_agent.core.json_reader import read_json
from backup_agent.core.neo4j import command
from backup_agent.core.neo4j.command import Launch
from backup_agent.core.neo4j.progress import Stage, Transcript, patience
from backup_agent.core.neo4j.verdict import Completed, did_not_start
from backup_agent.neo4j_admin import configuration, inspection, process, program
from backup_agent.neo4j_admin.program import AdminProgram
from backup_agent.settings.model import Neo4j

CACHE = "neo4j-admin.json"
"""The name of the file, in the agent's folder on the volume, that keeps the version of the program."""


@dataclass(frozen=True)
class Invocation:
    """The parameters of one backup by neo4j-admin."""

    database: DatabaseName
    backup_type: BackupType
    sources: tuple[str, ...]
    to_path: Path
    temp_path: Path
    conf: Path
    timeout: timedelta
    stall_timeout: timedelta
    parallel: int
    destinations: int
    """Number of destinations at which children may work meanwhile, if there is memory for them."""
    written: Callable[[], tuple[int, int]]
    """Returns the number of bytes written, and a number that changes with every write."""
    progress: Callable[[int], None]
    """Called with the number of bytes written."""


@dataclass(frozen=True)
class CallResult:
    """How one call ended, and its parsed output."""

    completed: Completed
    transcript: Transcript
    launch: str
    started: datetime


@dataclass
class Admin:
    """The neo4j-admin program of this run."""

    programs: tuple[AdminProgram, ...]
    version: Version | None
    capabilities: Capabilities
    settings: Neo4j
    environ: Mapping[str, str]
    warnings: tuple[str, ...] = field(default=())

    @classmethod
    def find(cls, settings: Neo4j, environ: Mapping[str, str], own: Path, cancel: threading.Event) -> "Admin":
        """Find the program and its version. Raise PermanentError (`admin_missing`) if there is no program.

        `own` is the agent's folder on the volume. The version is cached there for the lifetime of the supervisor.
        """
        programs = program.find(settings.admin, Launch(settings.launch), environ)
        version = _version(programs[0], environ, own, cancel)
        capabilities = Capabilities.of(version)
        return cls(programs, version, capabilities, settings, environ, capabilities.warnings)

    def differs_from(self, servers: tuple[str, ...]) -> tuple[str, ...]:
        """Return a warning if a server belongs to another release line than neo4j-admin."""
        warning = other_line(self.version, servers)
        return (warning,) if warning else ()

    def back_up(self, invocation: Invocation, *, cancel: threading.Event, enter: Callable[[str], None]) -> CallResult:
        """Take a backup. If the JVM cannot be started directly, start it by the neo4j-admin script."""
        for one in self.programs:
            taken = self._run(one, invocation, cancel, enter)
            if not did_not_start(taken.completed, taken.transcript):
                return taken
        return taken

    def inspect(self, artifact: Path, magic: str, conf: Path, cancel: threading.Event) -> Header:
        """Return the header of an artifact of unknown format, from `neo4j-admin backup inspect`. Raise BackupError."""
        one = self.programs[-1]
        memory = command.memory(memory_limit(), self.settings.heap, self.settings.pagecache, launch=one.launch)
        env = command.environment(self.environ, conf=str(conf), home=one.home, heap=memory.heap)
        return inspection.inspect(artifact, magic, one, self.capabilities, memory, env=env, cancel=cancel)

    def _run(
        self, one: AdminProgram, invocation: Invocation, cancel: threading.Event, enter: Callable[[str], None]
    ) -> CallResult:
        limit, parallel = memory_limit(), invocation.parallel
        children = command.children_beside_jvms(
            limit, invocation.destinations, launch=Launch(self.settings.launch), parallel=parallel
        )
        memory = command.memory(
            limit,
            self.settings.heap,
            self.settings.pagecache,
            launch=one.launch,
            parallel=parallel,
            children=children,
        )
        configuration.write(invocation.conf, memory, self.settings.backup_tls)
        transcript = Transcript()

        def on_line(line: str) -> None:
            nonlocal transcript
            transcript = transcript.after(line)
            enter(transcript.stage.value)

        def written() -> int:
            count, changed = invocation.written()
            invocation.progress(count)
            return changed

        argv = command.backup_argv(
            one.argv(memory),
            self.capabilities,
            database=invocation.database,
            backup_type=invocation.backup_type,
            sources=invocation.sources,
            to_path=str(invocation.to_path),
            temp_path=str(invocation.temp_path),
            include_metadata=self.settings.include_metadata,
            pagecache=memory.pagecache,
            additional_config=str(self.settings.additional_config) if self.settings.additional_config else None,
        )
        enter(Stage.CONNECTING.value)
        started = datetime.now(UTC)
        completed = process.run(
            argv,
            env=command.environment(self.environ, conf=str(invocation.conf), home=one.home, heap=memory.heap),
            cwd=invocation.temp_path.parent,
            timeout=invocation.timeout,
            cancel=cancel,
            stall=lambda: patience(transcript.stage, invocation.stall_timeout),
            on_line=on_line,
            measure=written,
            pass_fds=_lock(self.environ),
        )
        return CallResult(completed, transcript, one.launch.value, started)


def _lock(environ: Mapping[str, str]) -> tuple[int, ...]:
    descriptor = environ.get(processes.LOCK_DESCRIPTOR)
    return (int(descriptor),) if descriptor else ()


def _version(one: AdminProgram, environ: Mapping[str, str], own: Path, cancel: threading.Event) -> Version | None:
    """Return the version of a program: from the cache if this supervisor has written it, else from the program."""
    if one.version is not None:
        return one.version
    if (kept := kept_version(one, environ, own)) is not None:
        return kept
    env = command.environment(environ, conf=str(own), home=one.home)
    version = program.version(one, env=env, cwd=own, cancel=cancel)
    if version is not None:
        with suppress(OSError):  # without the cache, the next run asks the program again
            own.mkdir(exist_ok=True)
            kept_for = json.dumps({"program": _cache_key(one, environ), "version": str(version)})
            durable.write(own / CACHE, kept_for.encode(), sync=False)
    return version


def kept_version(one: AdminProgram, environ: Mapping[str, str], own: Path) -> Version | None:
    """Return the version of a program that this supervisor has kept in its folder `own`, or None."""
    try:
        kept = read_json(durable.read(own / CACHE))
        return Version.parse(kept["version"]) if kept["program"] == _cache_key(one, environ) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cache_key(one: AdminProgram, environ: Mapping[str, str]) -> list[str | int | None]:
    facts = Path(one.path).stat()
    return [one.path, facts.st_ino, facts.st_size, facts.st_ctime_ns, environ.get(processes.TAG)]
