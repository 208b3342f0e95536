"""`python -OO -m backup_agent.supervisor`: the program that `backup-agent run` executes.

So the process that runs for weeks contains neither the command line's modules nor docstrings, which saves 3 MiB.
"""

import os
import sys
from pathlib import Path

from backup_agent import ending

if __name__ == "__main__":
    ending.hold()

from backup_agent import logs  # these imports take most of the time of a start
from backup_agent.core.escaping import printable_lines
from backup_agent.core.reasons import BackupError, Reason
from backup_agent.durable import UMASK
from backup_agent.settings import location
from backup_agent.settings.faults import SettingsError
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.agent import Agent

REFUSED = (Reason.FOREIGN_ROOT, Reason.STORAGE_UNREACHABLE)
"""Reasons to exit with 4: the storage root belongs to another agent, or no volume is mounted there."""


def main(arguments: list[str]) -> int:
    """Run the agent with the settings file in `arguments`, if there is one; return the exit code."""
    os.umask(UMASK)  # before any file is made; children and neo4j-admin inherit the umask
    try:
        reloader = Reloader(Path(arguments[0]) if arguments else None, os.environ)
        settings = reloader.settings
        logs.configure(settings.log.format, settings.log.level, cluster=settings.cluster)
        return Agent(reloader).run()
    except SettingsError as error:
        _complain(str(error), location.hint(error.source))
        return 2
    except BackupError as error:
        _complain(error.failure.error, error.failure.advice)
        return 4 if error.failure.reason in REFUSED else 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror}", "check storage.root and requests.folder")
        return 1


def _complain(text: str, hint: str) -> None:
    sys.stderr.write(printable_lines(f"backup-agent: {text}" + (f"\nHINT: {hint}" if hint else "")) + "\n")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logs.end()
    raise SystemExit(code)
