"""The child that discovers: one JSON line in with the settings, JSON lines out with what Bolt said, then over.

In: `{"settings": <Settings as JSON>, "root": <storage root, or null>, "timeout": <seconds, 30>}`. Out: rows, as
`backup_agent.cluster.rows` tells them, of copies, aliases, backup_addresses and reachable; then
`{"event": "topology", "seen", "versions", "counts", "clock_offset_seconds", "notes", "refused"}` and exit code 0, or
`{"event": "failed", "reason", "error", "hint", "permanent", "counts"}` and exit code 1. `counts` is how many rows of
each kind there are. `reachable` is what a TCP connect to each backup address came to; without Bolt, to those of the
last topology and the static list.

Standard input is its lifeline: whoever started it holds it open, and when it ends so does this process, answered or
not. Threads may hang in a read for ever, and the driver's 44 MiB are given back by nothing but an exit: it leaves by
`os._exit`.
"""

import json
import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backup_agent import quoting
from backup_agent.cluster import bolt
from backup_agent.cluster.memory import recall
from backup_agent.cluster.probe import probe
from backup_agent.cluster.rows import ALIASES, BACKUP_ADDRESSES, COPIES, REACHABLE, told
from backup_agent.core.json_reader import read_json
from backup_agent.core.neo4j.topology import Addressing, Topology, addresses
from backup_agent.core.reasons import BackupError, PermanentError
from backup_agent.settings.credentials import credentials
from backup_agent.settings.model import Neo4j

STDIN = 0
"""Read by its descriptor: a thread that waits within a buffered file holds its lock, and nobody gets past that."""

SECONDS = 30.0


def main() -> int:
    """Do what the first line asks, write the answer, and return the exit code."""
    quoting.guard_stderr()
    asked = read_json(_first_line())
    threading.Thread(target=_end_with_the_lifeline, name="lifeline", daemon=True).start()
    event: dict[str, Any] = {}
    for event in discover(asked, os.environ):
        sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
    return 0 if event["event"] == "topology" else 1


def discover(asked: dict[str, Any], environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Ask Bolt, then try the backup addresses: those of the answer, or without one those of the last topology.

    Yield the events; the last one is `topology` or `failed`.
    """
    settings = Neo4j.model_validate(asked["settings"]["neo4j"])
    addressing = Addressing.model_validate(settings.model_dump(include=set(Addressing.model_fields)))
    try:
        found = bolt.discover(_endpoint(settings, environ), timeout=asked.get("timeout", SECONDS))
    except BackupError as error:
        root = asked.get("root")
        reachable = _reachable(recall(Path(root)) if root else None, addressing)
        yield from told({REACHABLE: reachable.items()})
        yield {
            "event": "failed",
            "reason": error.failure.reason,
            "error": error.failure.error,
            "hint": error.failure.advice,
            "permanent": isinstance(error, PermanentError),
            "counts": {REACHABLE: len(reachable)},
        }
        return
    topology = found.topology
    rows: dict[str, Collection[Any]] = {
        COPIES: [asdict(copy) for copy in topology.copies],
        ALIASES: topology.aliases.items(),
        BACKUP_ADDRESSES: topology.backup_addresses.items(),
        REACHABLE: _reachable(topology, addressing).items(),
    }
    yield from told(rows)
    yield {
        "event": "topology",
        "seen": topology.seen.isoformat(),
        "versions": topology.versions,
        "counts": {kind: len(one) for kind, one in rows.items()},
        "clock_offset_seconds": found.clock_offset_seconds,
        "notes": found.notes,
        "refused": found.refused,
    }


def _reachable(topology: Topology | None, addressing: Addressing) -> dict[str, str | None]:
    return probe(addresses(topology, addressing))


def _endpoint(settings: Neo4j, environ: Mapping[str, str]) -> bolt.Endpoint:
    """Read the credentials, now: they may have been rotated since the last time."""
    login = credentials(settings, environ)
    return bolt.Endpoint(
        uri=settings.uri,
        username=login.username,
        password=login.password,
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        backup_port=settings.backup_port,
    )


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(STDIN, 65536)):
        line += more
    return line


def _end_with_the_lifeline() -> None:
    while os.read(STDIN, 65536):
        pass
    os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
