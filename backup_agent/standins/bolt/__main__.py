"""`python -m backup_agent.standins.bolt`: serve a simulated cluster until SIGTERM or SIGINT.

Prints the line `{"addresses": {"server-0": "127.0.0.1:7687", ...}}` when every port is open.
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
    parser.add_argument("--listen", metavar="HOST:PORT", help="address of the first server, or of --server")
    parser.add_argument("--server", metavar="NAME", help="serve only this server")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="key of the certificate, PEM")
    arguments = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the thread starts, which inherits it
    with BoltServer(
        arguments.cluster,
        listen=arguments.listen,
        only=arguments.server,
        certificate=arguments.tls_cert,
        key=arguments.tls_key,
    ) as server:
        sys.stdout.write(json.dumps({"addresses": server.addresses}) + "\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
