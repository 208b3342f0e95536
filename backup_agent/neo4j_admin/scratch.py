"""The Neo4j of a drill: neo4j-admin and a server, with all of their folders in a scratch folder."""

import socket
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.drill.memory import DrillMemory
from backup_agent.core.neo4j import command, scratch
from backup_agent.core.neo4j.command import MIB, Launch, Memory, jvm_flags
from backup_agent.core.neo4j.verdict import Completed
from backup_agent.core.reasons import BackupError, Failure
from backup_agent.neo4j_admin import process
from backup_agent.neo4j_admin.program import AdminProgram

PAGECACHE = 16 * MIB
"""Page cache of a scratch server. Its queries are few, and memory is short."""

_FEW_LINES = 15


@dataclass(frozen=True)
class ScratchNeo4j:
    """Neo4j for one drill of one database."""

    program: AdminProgram
    folder: Path
    """The scratch folder of this drill."""
    database: DatabaseName
    memory: DrillMemory
    environ: Mapping[str, str]
    accept_license: str | None
    """The accepted licence of Enterprise: `commercial`, `evaluation`, or None."""
    cancel: threading.Event
    on_line: Callable[[str], None]
    """Called with each line of a program."""
    pass_fds: tuple[int, ...] = ()
    """Descriptors that the programs inherit: locks that they hold too."""

    def started_by(self, program: AdminProgram) -> "ScratchNeo4j":
        """Return the same Neo4j, with another way to start neo4j-admin."""
        return replace(self, program=program)

    @property
    def conf(self) -> Path:
        """NEO4J_CONF."""
        return self.folder / "conf"

    def configure(self, port: int = 0) -> None:
        """Write neo4j.conf. `port` is that of Bolt."""
        for name in ("conf", "data", "logs", "run", "temp", "report", "plugins", "import", "licenses"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        values = scratch.scratch_conf(str(self.folder), self.database, port=port, pagecache=PAGECACHE)
        (self.conf / "neo4j.conf").write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def restore(self, artifact: Path, timeout: timedelta) -> Completed:
        """Restore an artifact with the chain beside it (`database restore`, Enterprise)."""
        argv = scratch.restore_argv(
            self._admin, artifact=str(artifact), temp_path=str(self.folder / "temp"), database=self.database
        )
        return self._run(argv, timeout)

    def load(self, artifact: Path, timeout: timedelta, *, split: bool) -> Completed:
        """Load a full (`database load`, all editions)."""
        argv = scratch.load_argv(self._admin, folder=str(artifact.parent) if split else None, database=self.database)
        return self._run(argv, timeout, stdin=None if split else artifact)

    def check(self, timeout: timedelta) -> Completed:
        """Check the consistency of the restored database."""
        argv = scratch.check_argv(
            self._admin,
            report_path=str(self.folder / "report"),
            off_heap=self.memory.off_heap,
            database=self.database,
        )
        return self._run(argv, timeout)

    @contextmanager
    def serving(self, timeout: timedelta) -> Iterator["ScratchServer"]:
        """Run a server with the restored database. It is ended at the end of the block, at the latest after `timeout`.

        Raise PermanentError (`admin_missing`) if the installation has no server.
        """
        port = _free_port()
        self.configure(port)
        server = ScratchServer(self._server_argv(), self._env(self.memory.server_heap), self.folder, port, self)
        server.start(timeout)
        try:
            yield server
        finally:
            server.stop()

    @property
    def _admin(self) -> tuple[str, ...]:
        return self.program.argv(Memory(self.memory.heap, None))

    def _server_argv(self) -> tuple[str, ...]:
        home = self.program.home
        if self.program.launch is Launch.DIRECT and home is not None and (name := server_class(Path(home, "lib"))):
            flags = jvm_flags(Memory(self.memory.server_heap, None), self.program.java)
            java = (self.program.path, *flags, "-cp", f"{home}/lib/*", name)
            return scratch.server_argv(java, home=home, conf=str(self.conf))
        return (str(Path(self.program.path).with_name("neo4j")), "console")

    def _env(self, heap: int | None) -> dict[str, str]:
        env = command.environment(self.environ, conf=str(self.conf), home=self.program.home, heap=heap)
        env.pop(scratch.LICENCE, None)
        return env if self.accept_license is None else env | {scratch.LICENCE: scratch.LICENCES[self.accept_license]}

    def _run(self, argv: Sequence[str], timeout: timedelta, stdin: Path | None = None) -> Completed:
        return process.run(
            argv,
            env=self._env(self.memory.heap),
            cwd=self.folder,
            timeout=timeout,
            cancel=self.cancel,
            on_line=self.on_line,
            pass_fds=self.pass_fds,
            stdin=stdin,
        )


class ScratchServer:
    """A server that listens on the loopback only, without authentication."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, port: int, neo4j: ScratchNeo4j) -> None:
        self._argv, self._env, self._cwd, self._neo4j = argv, env, cwd, neo4j
        self.port = port
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._completed: Completed | None = None
        self._failure: Failure | None = None

    def start(self, timeout: timedelta) -> None:
        """Start the server in a process group of its own."""
        self._thread = threading.Thread(target=self._serve, args=(timeout,), name="scratch server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process group, and wait until it has ended."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def ended(self) -> str | None:
        """How the server has ended, with its last lines; None while it runs."""
        if self._failure is not None:
            return self._failure.error
        if self._completed is None:
            return None
        last = self._completed.last_lines[-_FEW_LINES:]
        return "\n".join((f"the scratch server ended with exit code {self._completed.exit_code}", *last))

    @property
    def completed(self) -> Completed | None:
        """How the server has ended; None while it runs, or if it could not be started."""
        return self._completed

    def _serve(self, timeout: timedelta) -> None:
        try:
            self._completed = process.run(
                self._argv,
                env=self._env,
                cwd=self._cwd,
                timeout=timeout,
                cancel=self._end,
                on_line=self._neo4j.on_line,
                pass_fds=self._neo4j.pass_fds,
            )
        except BackupError as error:
            self._failure = error.failure


@lru_cache(1)
def is_community(program: AdminProgram) -> bool:
    """Return whether an installation is certainly that of Community, which is known only for a direct start."""
    name = server_class(Path(program.home, "lib")) if program.launch is Launch.DIRECT and program.home else None
    return name is not None and name.startswith(scratch.COMMUNITY)


@lru_cache(1)
def server_class(library: Path) -> str | None:
    """Return the class in Neo4j's jars that starts a server, or None."""
    # The class is in the jar that names only the version (neo4j-5.26.31.jar), or in one of the server's.
    jars = sorted(library.glob("neo4j-*.jar"), key=lambda jar: ("server" not in jar.name, len(jar.name)))
    found = {name for jar in jars for name in _classes(jar)}
    return next((name for name in scratch.SERVER_CLASSES if name in found), None)


def _classes(jar: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(jar) as archive:
            names = set(archive.NameToInfo)
    except (OSError, zipfile.BadZipFile):
        return
    yield from (name for name in scratch.SERVER_CLASSES if name.replace(".", "/") + ".class" in names)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((scratch.LOOPBACK, 0))
        return int(probe.getsockname()[1])
