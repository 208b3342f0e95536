"""The child process of the doctor that looks at the cluster: password, Bolt, what the role may see, backup ports.

It asks what discovery asks. Threads of the driver may block for ever, so the process ends by `os._exit`.
"""

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from backup_agent import processes
from backup_agent.cluster.__main__ import discover, limit_memory
from backup_agent.cluster.probe import resolve
from backup_agent.cluster.rows import COPIES, REACHABLE, IncompleteError, Rows
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.doctor.checks import Check, CheckFinding, CheckOutcome, ok, unknown
from backup_agent.core.doctor.cluster import (
    judge_backup_listeners,
    judge_backup_ports,
    judge_clock,
    judge_host,
    judge_role,
    of_failure,
)
from backup_agent.core.reasons import Failure, PermanentError, Reason
from backup_agent.core.requests.events import ChecksEnded, CheckTold, DiscoveryFailed, TopologyRows, TopologyTold
from backup_agent.core.requests.tasks import CheckTask, DiscoverTask
from backup_agent.jobs.event_writer import begin
from backup_agent.settings.credentials import credentials
from backup_agent.settings.model import Neo4j

SERVERS = "the servers"

MOST_ADDRESSES = 100
"""Largest number of backup ports whose certificates are looked at."""


class SeenCluster(NamedTuple):
    """The answers of discovery: its last event, the listed databases, and which backup ports accept connections."""

    end: TopologyTold | DiscoveryFailed
    databases: Collection[DatabaseName]
    reachable: dict[str, str | None]


def main() -> None:
    """Run as a child process: the task on stdin, events on stdout."""
    limit_memory()
    task, settings, writer = begin(CheckTask)
    before = tuple(before_login(settings.neo4j))
    seen = see(DiscoverTask(root=str(settings.storage.root), settings=task.settings))
    for finding in (*before, *judge(seen, login=before[0].outcome is CheckOutcome.OK)):
        writer.tell(CheckTold(finding=finding))
    versions = seen.end.versions if isinstance(seen.end, TopologyTold) else ()
    addresses = tuple(address for address, fault in seen.reachable.items() if fault is None)
    writer.tell(ChecksEnded(server_versions=versions, backup_addresses=addresses[:MOST_ADDRESSES]))


def before_login(neo4j: Neo4j) -> Iterator[CheckFinding]:
    """Yield whether name and password can be read, and whether the host resolves."""
    try:
        login = credentials(neo4j, os.environ)
        yield ok(Check.PASSWORD, f"name and password of {login.username!r} can be read")
    except PermanentError as error:
        yield of_failure(Check.PASSWORD, error.failure)
    host = urlsplit(neo4j.uri).hostname or ""
    yield judge_host(host, resolve(host))


def see(task: DiscoverTask) -> SeenCluster:
    """Ask the cluster as discovery does."""
    rows, end = Rows(), None
    for event in discover(task, os.environ):
        if isinstance(event, TopologyRows):
            rows.take(event)
        else:
            end = event
    if end is None:
        raise TypeError("discovery ends with an event")
    try:
        found = rows.complete(end.counts)
    except IncompleteError as error:
        failure = Failure(Reason.SOURCE_UNREACHABLE, f"the topology is incomplete: {error}")
        return SeenCluster(DiscoveryFailed(failure=failure, permanent=False), (), {})
    return SeenCluster(end, {copy.database for copy in found[COPIES]}, dict(found[REACHABLE]))


def judge(seen: SeenCluster, *, login: bool) -> Iterator[CheckFinding]:
    """Yield the findings that follow from the answers. `login` says whether name and password were known."""
    match seen.end:
        case TopologyTold():
            yield ok(Check.BOLT, "Bolt answers, and accepts the login")
            yield judge_role(seen.databases, seen.end.notes)
            yield judge_backup_listeners(seen.end.listeners, seen.reachable)
            yield judge_backup_ports(seen.reachable, seen.end.listeners)
            yield judge_clock(Check.SERVER_CLOCK, seen.end.clock_offset_seconds, SERVERS)
        case DiscoveryFailed():
            no_login = unknown(Check.BOLT, "it is not asked without name and password")
            yield of_failure(Check.BOLT, seen.end.failure) if login else no_login
            for check in (Check.ROLE, Check.BACKUP_LISTENERS, Check.SERVER_CLOCK):
                yield unknown(check, "Bolt has not answered")
            yield judge_backup_ports(seen.reachable)


if __name__ == "__main__":
    main()
    processes.leave()
