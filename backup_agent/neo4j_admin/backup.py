"""One backup of one database by neo4j-admin: started in the first way that works, watched, and its story told.

What it left behind is not looked at here: the artifact is read by `artifact`, and judged by `core.verdict`.
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from backup_agent.core.capabilities import Capabilities, Version
from backup_agent.core.command import BackupTls, Launch, Memory, backup_argv, environment, memory
from backup_agent.core.progress import Stage, Transcript, patience
from backup_agent.core.records import BackupType
from backup_agent.core.verdict import Completed, did_not_start
from backup_agent.neo4j_admin import configuration, process
from backup_agent.neo4j_admin.cgroup import memory_limit
from backup_agent.neo4j_admin.program import Program, version

# Beside the database's folder in the run's folder; no database's name begins with a dot.
CONFIGURATION = ".conf"
STAGING = ".temp"


@dataclass(frozen=True)
class Order:
    """What to back up, from where, and what neo4j-admin may take for it."""

    database: str
    backup_type: BackupType
    sources: tuple[str, ...]
    run_timeout: timedelta
    stall_timeout: timedelta
    include_metadata: str = "all"
    additional_config: str | None = None
    resolve_addresses: bool = False
    backup_tls: BackupTls | None = None
    heap: int | None = None
    pagecache: int | None = None
    parallel: int = 1
    """How many may run at a time, and share the memory."""


@dataclass(frozen=True)
class Attempt:
    """What came of it."""

    completed: Completed
    told: Transcript
    launch: Launch
    version: Version | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """Where it works, and who may end it. `folder` is the run's, which is removed by whoever made it."""

    folder: Path
    to_path: Path
    environ: Mapping[str, str]
    cancel: threading.Event
    secrets: tuple[str, ...] = ()
    pass_fds: tuple[int, ...] = ()
    on_progress: Callable[[Stage, int], None] = lambda *_: None
    """Called about once a second with the stage and the bytes it has written to staging and target."""


def take(order: Order, programs: tuple[Program, ...], around: Surroundings) -> Attempt:
    """Run neo4j-admin for one database and return how it ended.

    A direct start that never came to work is followed by the script, where there is one. Raise PermanentError for
    what cannot be asked (core.command, core.capabilities) or cannot be started.
    """
    warnings: tuple[str, ...] = ()
    for program in programs[:-1]:
        attempt = _attempt(order, program, around)
        if not did_not_start(attempt.completed, attempt.told):
            return attempt
        line = next(iter(attempt.completed.last_lines), "it said nothing")
        warnings = (f"neo4j-admin did not start directly ({line}): its script was used",)
    attempt = _attempt(order, programs[-1], around)
    return replace(attempt, warnings=(*warnings, *attempt.warnings))


def _attempt(order: Order, program: Program, around: Surroundings) -> Attempt:
    allowed = memory(memory_limit(), order.heap, order.pagecache, launch=program.launch, parallel=order.parallel)
    conf, staging = around.folder / CONFIGURATION, around.folder / STAGING
    for folder in (conf, staging):  # left by the attempt before; --temp-path must be empty
        shutil.rmtree(folder, ignore_errors=True)
    configuration.write(conf, allowed, order.backup_tls)
    staging.mkdir(mode=0o700)
    env = environment(around.environ, conf=str(conf), home=program.home, heap=allowed.heap)
    known = version(program, env=env, cwd=around.folder, cancel=around.cancel)
    capabilities = Capabilities.of(known)
    argv = _argv(order, program, capabilities, allowed, around)

    told = Transcript()
    before, _ = _look((around.to_path,))  # the chain it may continue

    def hear(line: str) -> None:
        nonlocal told
        told = told.after(line)

    def measure() -> int:
        size, changed = _look((staging, around.to_path))
        around.on_progress(told.stage, size - before)
        return size + changed

    completed = process.run(
        argv,
        env=env,
        cwd=around.folder,
        timeout=order.run_timeout,
        cancel=around.cancel,
        stall=lambda: patience(told.stage, order.stall_timeout),
        on_line=hear,
        measure=measure,
        secrets=around.secrets,
        pass_fds=around.pass_fds,
    )
    return Attempt(completed, told, program.launch, known, capabilities.warnings)


def _argv(
    order: Order, program: Program, capabilities: Capabilities, allowed: Memory, around: Surroundings
) -> tuple[str, ...]:
    return backup_argv(
        program.argv(allowed),
        capabilities,
        database=order.database,
        backup_type=order.backup_type,
        sources=order.sources,
        to_path=str(around.to_path),
        temp_path=str(around.folder / STAGING),
        include_metadata=order.include_metadata,
        pagecache=allowed.pagecache,
        additional_config=order.additional_config,
        resolve_addresses=order.resolve_addresses,
    )


def _look(folders: tuple[Path, ...]) -> tuple[int, int]:
    """Return the bytes below folders, and a number that changes when a file is rewritten in place (recovery)."""
    size = changed = 0
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                try:
                    facts = (Path(path) / name).lstat()
                except OSError:  # it was there a moment ago
                    continue
                size += facts.st_size
                changed += facts.st_mtime_ns
    return size, changed
