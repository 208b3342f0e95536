"""A stand-in for Neo4j Enterprise's `neo4j-admin`: backup, inspect and restore, against a simulated cluster.

It was never compared with Neo4j Enterprise. Known: arguments, exit codes and the form of messages, from Neo4j's manual
and from Neo4j Community 5.26.31 and 2026.09.0. Artifacts hold a real store, which Neo4j Community can load.

Guessed: most log lines between start and end, the wording of failures that only Enterprise has, the content of a
differential (here transaction logs only), the keys of `inspect --format=JSON`, and the files that a killed process
leaves. If Neo4j's behaviour is unknown, the stand-in does what is worst for its caller: a partial artifact keeps its
final name, and SIGTERM removes no files.

`database restore` cannot apply a chain, because only Neo4j Enterprise can. It checks the chain and leaves its artifacts
for the Bolt stand-in, which gives a real Neo4j Community the full of it.

Artifacts are dated by the machine's clock, or by a file `clock` in the cluster's folder (`2026-11-23T02:00:00`, UTC).
"""

import shlex
import sys
from pathlib import Path

import zstandard

PACKAGES = Path(__file__).parents[3]
CLUSTER = "NEO4J_ADMIN_STANDIN_CLUSTER"
"""Environment variable: the cluster's folder for `python -m backup_agent.standins.neo4j_admin`."""


def install(folder: Path, cluster: Path, *, version: str | None = None) -> Path:
    """Write an executable `neo4j-admin` for the cluster in `cluster` into `folder`, and return its path.

    The executable depends neither on environment variables nor on the working directory. Its version is that of the
    cluster, unless `version` names another.
    """
    paths = [str(PACKAGES), str(Path(zstandard.__file__).parents[1])]
    start = (
        f"import sys; sys.path[:0] = {paths!r}; from backup_agent.standins.neo4j_admin.__main__ import main; "
        f"main(sys.argv[1:], {str(cluster.resolve())!r}, {version!r})"
    )
    program = folder / "neo4j-admin"
    # -I ignores PYTHON* variables and modules in the working directory; -S saves a third of the start time.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(start)} "$@"\n')
    program.chmod(0o755)
    return program
