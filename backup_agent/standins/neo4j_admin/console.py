"""The stand-in's output: log lines on stdout, failures on stderr, exit codes.

Layouts are those of Neo4j Community 5.26.31 and 2026.09.0; the logger's name was reported by an operator of 5.26.
"""

import enum
import os
import time

from backup_agent.standins.neo4j_admin.versions import Version

FRAMED_SINCE: Version = (2026,)
"""5.26.31 prints failures without a frame, 2026.09.0 with one; the version of the change is a guess."""
RULE = "-" * 53
VERBOSE = "Run with '--verbose' for a more detailed error message."


class Exit(enum.IntEnum):
    """Exit codes of Neo4j Community."""

    OK = 0
    FAILED = 1
    UNKNOWN_COMMAND = 2
    USAGE = 64
    SOFTWARE = 70
    TERMINATED = 143  # a JVM after SIGTERM


class CommandError(Exception):
    """A failure that Neo4j reports on stderr, and its exit code."""

    def __init__(self, *paragraphs: str, exit_code: Exit = Exit.FAILED, framed: bool = True) -> None:
        super().__init__(*paragraphs)
        self.paragraphs = paragraphs
        self.exit_code = exit_code
        self.framed = framed


class Console:
    """Stdout and stderr of one invocation."""

    def __init__(self, version: Version) -> None:
        self._version = version

    def info(self, text: str) -> None:
        """Log a line on stdout."""
        self._log("INFO ", text)

    def warn(self, text: str) -> None:
        """Log a warning on stdout."""
        self._log("WARN ", text)

    def error(self, text: str) -> None:
        """Log an error on stdout, as Neo4j's logger does."""
        self._log("ERROR", text)

    def out(self, text: str) -> None:
        """Print plain text on stdout."""
        self.out_bytes(text.encode(errors="surrogateescape") + b"\n")

    def out_bytes(self, data: bytes) -> None:
        """Write bytes to stdout. Ignore a closed pipe, as a JVM does."""
        self._write(1, data)

    def err(self, text: str) -> None:
        """Print plain text on stderr."""
        self._write(2, text.encode(errors="surrogateescape") + b"\n")

    def failure(self, error: CommandError) -> None:
        """Print why the command failed, in the layout of the version."""
        if error.exit_code is Exit.UNKNOWN_COMMAND:
            self.err(error.paragraphs[0])
            return
        if error.framed and self._version >= FRAMED_SINCE:
            self.err("\n".join((RULE, "Command Failed", "\n\n".join(error.paragraphs), RULE)))
        else:
            # 5.26 prints causes on stdout only, except those found before the command starts.
            text = ": ".join(error.paragraphs) if not error.framed else error.paragraphs[0]
            self.err(f"{text}\n{VERBOSE}")

    def stack_trace(self, exception: str) -> None:
        """Print an uncaught exception as 5.26 does."""
        frames = (
            "com.neo4j.backup.OnlineBackupCommand.execute(OnlineBackupCommand.java:1)",
            "org.neo4j.cli.AbstractCommand.call(AbstractCommand.java:92)",
            "picocli.CommandLine.execute(CommandLine.java:2174)",
            "org.neo4j.cli.AdminTool.main(AdminTool.java:82)",
        )
        self.err("\n\tat ".join((exception, *frames)))

    def _log(self, level: str, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
        self.out(f"{stamp}.{int(now % 1 * 1000):03}+0000 {level} [c.n.b.b.BackupOutputMonitor] {text}")

    @staticmethod
    def _write(stream: int, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(stream, view) :]
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def leave(code: int) -> None:
    """End the process at once without cleaning up, as a JVM does."""
    os._exit(code)
