"""`backup-agent`: the commands. Only `main` exits the process.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 done with warnings, 4 refused, 129 hang-up, 130 interrupted,
141 broken pipe, 143 terminated.
"""

import io
import os
import signal
import sys
from importlib import import_module

import click

from backup_agent import __version__
from backup_agent.cli import printing, signals
from backup_agent.cli.help import EXITS, write_examples, write_exits
from backup_agent.cli.options import settings_option
from backup_agent.core.escaping import did_you_mean, quoted
from backup_agent.core.reasons import BackupError, Reason
from backup_agent.settings import location
from backup_agent.settings.faults import SettingsError

BROKEN_PIPE = 128 + signal.SIGPIPE
"""Exit code if the output pipe is closed, as for a process that SIGPIPE ended."""

# A command's module is imported when the command is called: `request` must start fast and import little.
COMMANDS = {
    "run": "Run the agent until SIGTERM.",
    "request": "Send a request, and wait for its answer with --wait.",
    "cancel": "Cancel a request, or withdraw it while no agent has taken it.",
    "status": "Show the health and the state of the running agent.",
    "doctor": "Check whether the agent can work.",
    "notify": "Send a test notification to receivers.",
    "list": "List the recorded artifacts.",
    "show": "Show one artifact, or the answer to one request.",
    "restore": "Print the plan of a restore.",
    "drill": "Restore an artifact in a scratch folder, check it and query it.",
    "fetch": "Fetch the artifacts of a restore point.",
    "catalog": "Compare records with files, and adopt artifacts of other tools.",
    "signing": "Make keys that sign records, and show which keys are trusted.",
    "history": "Show the audit log.",
    "audit": "Examine the audit log of a place.",
    "report": "Print a report for auditors.",
    "plan": "Show what retention keeps and deletes, and why.",
    "prune": "Apply retention now.",
    "why": "Show why an artifact is kept or deleted, and when.",
    "hold": "Keep artifacts, whatever retention says.",
    "release": "Remove the hold on artifacts.",
    "forget": "Let retention delete every backup of a dropped database.",
    "pause": "Start no more work until `resume`.",
    "resume": "End the pause.",
    "verify": "Read artifacts again and compare them with their records.",
    "schedules": "Show the next runs of every schedule.",
    "adopt-root": "Take over places that belong to another agent.",
    "config": "Show the settings in force and the origin of each value.",
    "schema": "Print the JSON Schema of the settings, a request, a record, an answer or a cluster's spec.",
    "completion": "Print the script by which a shell completes commands.",
    "render": "Print the Kubernetes objects of a cluster and its agent, from its spec.",
    "migrate": "Print the commands that release a cluster from an operator.",
    "demo": "Show a day of the agent on this machine, without root, Java or a cluster.",
}

EXAMPLES = (
    "backup-agent request --type FULL --database orders --wait",
    "backup-agent status",
    "backup-agent list --database orders",
    "backup-agent restore orders",
    "backup-agent COMMAND --help",
)

ASKING = ("prune", "hold", "release", "pause", "resume", "verify")
"""The commands in the module `asking`."""


class Commands(click.Group):
    """The commands. Each is in the module of the same name, except those in `ASKING`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command, or None if there is no such command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module, attribute = ("asking", name) if cmd_name in ASKING else (name, "command")
        with signals.importing():
            command: click.Command = getattr(import_module(f"backup_agent.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names. For an unknown name, fail with the most similar name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"there is no command {quoted(name)}{did_you_mean(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first commands to try, and all exit codes."""
        del ctx
        write_examples(formatter, EXAMPLES)
        write_exits(formatter, EXITS)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="backup-agent")
@settings_option
def group() -> None:
    """Back up a whole Neo4j Enterprise cluster from one small pod."""


def main() -> None:
    """Run the command line and exit."""
    try:
        signals.interrupt()
        result = code()
        signals.end_at_once()
    except KeyboardInterrupt as error:  # raised before or after the command
        result = signals.code_of(error)
    sys.exit(result if _flushed() else BROKEN_PIPE)


def code(arguments: list[str] | None = None) -> int:
    """Run the command line. Return its exit code."""
    try:
        return _code(arguments)
    except BrokenPipeError:
        return BROKEN_PIPE
    except SystemExit:  # without standalone mode, click raises this only for a broken pipe
        return BROKEN_PIPE


def _flushed() -> bool:
    """Flush stdout and stderr. Return False if a pipe is broken, and prevent Python's traceback at exit."""
    open_ = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            open_ = False
        except (OSError, ValueError):
            continue
    return open_


def _code(arguments: list[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    try:
        result = group.main(words, prog_name="backup-agent", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        return signals.code_of(error)
    except BrokenPipeError:
        raise
    except (click.ClickException, SettingsError, BackupError, OSError) as error:
        return _complain(error, as_json="--json" in words)
    return result if isinstance(result, int) else 0


def _complain(error: click.ClickException | SettingsError | BackupError | OSError, *, as_json: bool) -> int:
    """Print why a command failed, as text or as JSON. Return the exit code."""
    match error:
        case click.ClickException() if as_json:
            printing.complaint(error.format_message(), "usage", _usage_hint(error), as_json=True)
            return 2
        case click.ClickException():
            text = io.StringIO()
            error.show(text)
            printing.block(text.getvalue().expandtabs(4), err=True)
            return 2
        case SettingsError():
            printing.complaint(str(error), "settings", location.hint(error.source), as_json=as_json)
            return 2
        case BackupError(failure=failure):
            printing.complaint(failure.error, failure.reason, failure.advice, as_json=as_json)
            return 4 if failure.reason is Reason.FOREIGN_ROOT else 1
        case OSError():
            where = error.filename or "input or output"
            printing.complaint(f"{where}: {error.strerror}", "system", as_json=as_json)
            return 1


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see `{context.command_path} --help`" if context is not None else ""
