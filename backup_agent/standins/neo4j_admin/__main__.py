"""Entry point of `python -m backup_agent.standins.neo4j_admin ARGS` and of the executable that `install` writes."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from backup_agent.standins import cluster as simulated
from backup_agent.standins.neo4j_admin import CLUSTER, backup, configuration, faults, inspection, restore, versions
from backup_agent.standins.neo4j_admin import arguments as command_line
from backup_agent.standins.neo4j_admin.arguments import BACKUP, CHECK, INSPECT, RESTORE, Arguments, Command
from backup_agent.standins.neo4j_admin.backup import Context
from backup_agent.standins.neo4j_admin.console import CommandError, Console, Exit, leave
from backup_agent.standins.neo4j_admin.faults import Faults

SCRATCH: dict[Command, Callable[[Context], Exit]] = {RESTORE: restore.restore, CHECK: restore.check}
"""The commands of a drill."""


def main(argv: list[str], folder: str, version: str | None = None) -> None:
    """Run one command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: leave(Exit.TERMINATED))
    cluster = simulated.load(Path(folder))
    text = version or cluster.version
    parsed = versions.parse(text)
    context = Context(parsed, cluster, Path(folder), Console(parsed), Arguments(BACKUP, {}, {}), os.environ)
    faults.check(cluster.faults)
    try:
        code = _run(command_line.expanded(argv), context, text)
    except CommandError as error:
        context.console.failure(error)
        code = error.exit_code
    except RuntimeError as error:
        context.console.stack_trace(str(error))
        code = Exit.SOFTWARE
    leave(code)


def _run(argv: list[str], context: Context, text: str) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        context.console.out(command_line.root_help())
        return Exit.OK if argv else Exit.USAGE
    if argv[0] in ("-V", "--version", "version"):
        injected = faults.take(context.folder, context.cluster.faults, command="version")
        _misbehave(context.console, injected)
        context.console.out(f"neo4j {text}" if argv[0] == "version" else text)
        return _exit_code(injected)
    command = command_line.find(argv, context.version)
    rest = argv[len(command.words) :]
    if "-h" in rest or "--help" in rest:
        context.console.out(command_line.help_text(command, context.version))
        return Exit.OK
    try:
        given = command_line.parse(command, rest, context.version)
        return _command(Context(**{**vars(context), "arguments": given}))
    except CommandError as error:
        if error.exit_code is not Exit.USAGE:
            raise
        context.console.err(f"{error.paragraphs[0]}\n{command_line.help_text(command, context.version)}")
        return Exit.USAGE


def _command(context: Context) -> int:
    arguments = context.arguments
    if arguments.command is INSPECT:
        injected = faults.take(context.folder, context.cluster.faults, command="inspect")
        _misbehave(context.console, injected)
        return inspection.run(context) or _exit_code(injected)
    if arguments.command in SCRATCH:
        injected = faults.take(context.folder, context.cluster.faults, command=arguments.command.words[1])
        _misbehave(context.console, injected)
        return SCRATCH[arguments.command](context) or _exit_code(injected)
    inspect_path = arguments.text("--inspect-path")
    if inspect_path is not None:
        configuration.check(context.environment.get("NEO4J_CONF"), arguments.text("--additional-config"))
        return inspection.run_inspect_path(context, inspect_path)
    return backup.run(context)


def _misbehave(console: Console, injected: Faults) -> None:
    """Apply the faults that can hit a command other than `database backup`."""
    for stage in faults.STAGES:
        injected.reach(stage)
    if fault := injected.get("odd_output"):
        backup.odd_output(console, fault)
    if "exit_70" in injected:
        raise RuntimeError("java.lang.NullPointerException: injected by the stand-in")
    if fault := injected.get("exit_1"):
        raise CommandError(fault.text("message", "injected by the stand-in"))


def _exit_code(injected: Faults) -> int:
    fault = injected.get("exit_code")
    return int(fault.number("code", 0)) if fault else Exit.OK


if __name__ == "__main__":
    if CLUSTER not in os.environ:
        sys.exit(f"neo4j-admin stand-in: {CLUSTER} is not set: set it to the folder of the simulated cluster")
    main(sys.argv[1:], os.environ[CLUSTER])
