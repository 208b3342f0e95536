"""`python -OO -m backup_agent.supervisor`: what `backup-agent run` becomes, by exec, once its settings have been read.

The command line and every docstring are left behind so: 3 MiB of a process that stays for weeks.
"""

import os
import sys
from pathlib import Path

from backup_agent.core.reasons import BackupError
from backup_agent.supervisor.start import start


def main(arguments: list[str]) -> int:
    """Run the agent with the settings file that is named, if one is; return the exit code."""
    try:
        return start(Path(arguments[0]) if arguments else None, os.environ)
    except BackupError as error:
        sys.stderr.write(f"backup-agent: {error.failure.error}\nHINT: {error.failure.advice}\n")
        return 4
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"backup-agent: {where}{error.strerror}: check storage.root, requests and http.listen\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
