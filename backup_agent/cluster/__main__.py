"""The discovery child: it reads its task, one JSON line, writes events with the answers of Bolt, and exits.

In: `DiscoverTask`. Out: `TopologyRows`, then `TopologyTold` and exit code 0, or `DiscoveryFailed` and exit code 1.
`reachable` has the result of a TCP connection to each backup address. If Bolt does not answer, the addresses are those
of the last topology and of the static list.

The parent keeps standard input open. When standard input is closed, this process exits, whether it has answered or not.
Threads may block in a read for ever, and only an exit frees the driver's 44 MiB, so the process ends by `os._exit`.
"""

import os
import resource
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from backup_agent import processes, quoting
from backup_agent.cluster import bolt
from backup_agent.cluster.probe import probe
from backup_agent.cluster.rows import ALIASES, BACKUP_ADDRESSES, COPIES, DEFINITIONS, REACHABLE, events_with
from backup_agent.cluster.saved_topology import load_topology
from backup_agent.core.neo4j.topology import Addressing, Topology, addresses
from backup_agent.core.reasons import BackupError, PermanentError
from backup_agent.core.requests.events import DiscoveryFailed, TopologyRows, TopologyTold
from backup_agent.core.requests.tasks import DiscoverTask
from backup_agent.settings.credentials import credentials
from backup_agent.settings.model import Neo4j

STDIN = 0
"""Descriptor of standard input. A thread that waits in `sys.stdin` would hold the lock of its buffer and block exit."""

MOST_MEMORY = 160 * 2**20
"""Largest amount of private memory of this process in bytes. Discovery with 9,000 databases needs 62 MiB, and the
driver keeps each value in memory until it is complete, however large a server says that it is."""

STACK = 2**20
"""Size of the stack of a thread in bytes. The default, 8 MiB for each of 32 threads, would count as used."""


def main() -> int:
    """Carry out the task on the first line, and return the exit code."""
    quoting.guard_stderr()
    limit_memory()
    task = DiscoverTask.model_validate_json(_first_line())
    threading.Thread(target=_end_with_the_lifeline, name="lifeline", daemon=True).start()
    for event in discover(task, os.environ):
        sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()
    return 0 if isinstance(event, TopologyTold) else 1


def limit_memory() -> None:
    """Limit the memory of this process, and the stacks of its threads. Neo4j's driver has no limit of its own."""
    threading.stack_size(STACK)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def discover(task: DiscoverTask, environ: Mapping[str, str]) -> Iterator[TopologyRows | TopologyTold | DiscoveryFailed]:
    """Yield the answer of Bolt and which backup addresses are reachable: those of the answer or the last topology."""
    settings = Neo4j.model_validate(task.settings["neo4j"])
    addressing = _addressing(settings)
    try:
        found = bolt.discover(endpoint(settings, environ), timeout=task.timeout)
    except BackupError as error:
        reachable = _reachable(load_topology(Path(task.root)) if task.root else None, addressing)
        yield from events_with({REACHABLE: reachable.items()})
        yield DiscoveryFailed(
            failure=error.failure,
            permanent=isinstance(error, PermanentError),
            counts={REACHABLE: len(reachable)},
        )
        return
    topology = found.topology
    rows: dict[str, Collection[Any]] = {
        COPIES: topology.copies,
        ALIASES: topology.aliases.items(),
        BACKUP_ADDRESSES: topology.backup_addresses.items(),
        DEFINITIONS: topology.definitions.items(),
        REACHABLE: _reachable(topology, addressing).items(),
    }
    yield from events_with(rows)
    yield TopologyTold(
        seen=topology.seen,
        versions=topology.versions,
        counts={kind: len(one) for kind, one in rows.items()},
        clock_offset_seconds=found.clock_offset_seconds,
        notes=found.notes,
        refused=found.refused,
        listeners=dict(found.listeners),
    )


def _reachable(topology: Topology | None, addressing: Addressing) -> dict[str, str | None]:
    return probe(addresses(topology, addressing))


def _addressing(settings: Neo4j) -> Addressing:
    return Addressing.model_validate(settings.model_dump(include=set(Addressing.model_fields)))


def endpoint(settings: Neo4j, environ: Mapping[str, str]) -> bolt.Endpoint:
    """Return the address and the credentials. These are read for each discovery, since they may have been rotated.

    Raise PermanentError if the credentials cannot be read.
    """
    login = credentials(settings, environ)
    return bolt.Endpoint(
        uri=settings.uri,
        username=login.username,
        password=login.password,
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        addressing=_addressing(settings),
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
    processes.leave(main())
