"""`python -m backup_agent.standins.bolt`: serve a simulated cluster until told to stop.

The first line on stdout is `{"addresses": {"server-0": "127.0.0.1:7687", ...}}`, once every port is open.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from backup_agent.standins.bolt.server import BoltServer


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m backup_agent.standins.bolt",
        description="A stand-in for the Bolt side of a Neo4j Enterprise cluster. It holds no data.",
    )
    parser.add_argument("--cluster", type=Path, required=True, metavar="FOLDER", help="folder with cluster.json")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the first server, or --server, listens")
    parser.add_argument("--server", metavar="NAME", help="serve this one alone")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    asked = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the thread starts, which inherits it
    with BoltServer(
        asked.cluster, listen=asked.listen, only=asked.server, certificate=asked.tls_cert, key=asked.tls_key
    ) as server:
        sys.stdout.write(json.dumps({"addresses": server.addresses}) + "\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
