"""A stand-in for Neo4j Enterprise's `neo4j-admin`: `database backup` and `backup inspect` against a simulated cluster.

Nobody here has run Enterprise. Arguments, exit codes and the form of messages come from Neo4j's manual and from real
Community (5.26.31 and 2026.09.0); artifacts hold a real store and load into a real Neo4j Community. Guessed are: most
log lines between start and end, the wording of failures that only Enterprise knows, what a differential's inside looks
like (here: transaction logs alone), the keys of `inspect --format=JSON`, and whatever is left behind by a kill. Where
the real one's behaviour is unknown, the stand-in takes the case that is worst for its caller: a partial artifact keeps
its final name, SIGTERM cleans nothing up. A newcomer would read the clock of artifacts as the machine's: a file
`clock` in the cluster's folder (`2026-11-23T02:00:00`, UTC) replaces it.
"""

import shlex
import sys
from pathlib import Path

import zstandard

PACKAGES = Path(__file__).parents[3]
CLUSTER = "NEO4J_ADMIN_STANDIN_CLUSTER"
"""Names the cluster's folder for `python -m backup_agent.standins.neo4j_admin`; an installed launcher needs none."""


def install(folder: Path, cluster: Path, *, version: str | None = None) -> Path:
    """Write the executable `neo4j-admin` into a folder, for the cluster in another; return its path.

    It needs nothing of its caller's environment or working directory. `version` is the program's own, where it is
    another than the cluster's.
    """
    paths = [str(PACKAGES), str(Path(zstandard.__file__).parents[1])]
    start = (
        f"import sys; sys.path[:0] = {paths!r}; from backup_agent.standins.neo4j_admin.__main__ import main; "
        f"main(sys.argv[1:], {str(cluster.resolve())!r}, {version!r})"
    )
    program = folder / "neo4j-admin"
    # -I: neither PYTHON* variables nor a module in the working directory; -S saves a third of the start-up.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(start)} "$@"\n')
    program.chmod(0o755)
    return program
