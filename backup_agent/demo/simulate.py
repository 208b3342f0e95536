"""`simulate`: changes the simulated cluster by hand, while `backup-agent demo --keep` runs.

Databases are created and dropped with `cypher-shell`.
"""

import argparse
import sys
import time
from pathlib import Path

from backup_agent.standins import cluster as simulated
from backup_agent.standins.cluster import Cluster

FAULTS = ("no_space", "logs_pruned", "truncated", "exit_70")
"""The faults of neo4j-admin that a user can inject."""


def main(folder: str, arguments: list[str]) -> int:
    """Change or show the cluster of a folder. Return the exit code."""
    parser = argparse.ArgumentParser("simulate", description="Change the simulated cluster of the demo.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="servers, databases, transactions")
    for name, text in (("stop", "stop a server"), ("start", "start it again")):
        commands.add_parser(name, help=text).add_argument("server")
    commit = commands.add_parser("commit", help="commit transactions")
    commit.add_argument("database")
    commit.add_argument("count", type=int)
    fault = commands.add_parser("fault", help="let the next backup of a database fail")
    fault.add_argument("database")
    fault.add_argument("kind", choices=FAULTS)
    given = parser.parse_args(arguments)
    cluster = simulated.load(Path(folder))
    try:
        changed = _changed(cluster, given)
    except KeyError as error:
        sys.stderr.write(f"simulate: {error.args[0]}\n")
        return 1
    simulated.save(changed, Path(folder))
    sys.stdout.writelines(f"{line}\n" for line in _lines(changed, given))
    return 0


def _changed(cluster: Cluster, given: argparse.Namespace) -> Cluster:
    """Return the cluster after a command. Raise KeyError if it has no such server or database."""
    match given.command:
        case "stop":
            cluster.server(given.server)
            return cluster.with_server_down(given.server)
        case "start":
            cluster.server(given.server)
            return cluster.with_server_up(given.server)
        case "commit":
            return cluster.with_transactions(given.database, given.count)
        case "fault":
            cluster.database(given.database)
            fault = {"command": "backup", "database": given.database, "times": 1, "do": given.kind, "made": time.time()}
            return cluster.with_faults(fault)
    return cluster


def _lines(cluster: Cluster, given: argparse.Namespace) -> list[str]:
    """Return what a command has changed; for `show` the whole cluster."""
    servers = [f"{server.name}: {'up' if server.up else 'down'}" for server in cluster.servers]
    databases = {one.name: f"{one.name}: last transaction {one.last_transaction}" for one in cluster.databases}
    match given.command:
        case "stop" | "start":
            return servers
        case "commit":
            return [databases[given.database]]
        case "fault":
            return [f"the next backup of {given.database} fails: {given.kind}"]
    return [*servers, *databases.values()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
