"""Rebuild the store templates of the neo4j-admin stand-in from Neo4j Community.

    python -m tests.standins.make_store_templates HOME [HOME ...]

HOME is a folder whose `lib/` holds the jars of one Community version (two Maven artifacts: neo4j-server, then neo4j).
JAVA_HOME is a Java for that version; run the script once for each version that needs another Java. A template is the
tar that `database dump` writes, with sorted entries and without owners and dates, compressed. Everything else stays,
so Neo4j can load it.
"""

import argparse
import io
import os
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import neo4j
import zstandard

from tests.polling import until

TEMPLATES = Path(__file__).parents[2] / "backup_agent" / "standins" / "store_templates"
PASSWORD = "store-template"
MAGIC = b"DZV1"
SIZES = 4 + 8 + 8
"""Bytes between the `zstd` tag and the tar of a dump: version, number of files, number of bytes."""

ORDERS = """
UNWIND range(1, 12) AS number
CREATE (:Order {number: number, total: number * 9.5})<-[:PLACED]-(:Person {name: 'Person ' + number})
"""


def main() -> None:
    """Write both templates of each home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("homes", nargs="+", type=Path)
    for home in parser.parse_args().homes:
        with tempfile.TemporaryDirectory() as scratch:
            make(home.resolve(), Path(scratch))


def make(home: Path, scratch: Path) -> None:
    """Run a server of this home, write data, dump its databases, and save the dumps as templates."""
    bolt = free_port()
    (scratch / "lib").symlink_to(home / "lib")
    for folder in ("conf", "data", "logs", "run", "dumps"):
        (scratch / folder).mkdir()
    version = admin(scratch, "--version").strip()
    (scratch / "conf" / "neo4j.conf").write_text(conf(bolt, version))
    admin(scratch, "dbms", "set-initial-password", PASSWORD)
    with server(scratch, version), connected(bolt) as driver:
        driver.execute_query(ORDERS)
        driver.execute_query("CREATE INDEX order_number FOR (order:Order) ON (order.number)")
        driver.execute_query("CALL db.awaitIndexes(60)")
    for database, template in (("neo4j", "standard"), ("system", "system")):
        admin(scratch, "database", "dump", f"--to-path={scratch / 'dumps'}", database)
        target = TEMPLATES / version / f"{template}.tar.zst"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(packed(scratch / "dumps" / f"{database}.dump"))
        print(f"{target}: {target.stat().st_size} bytes")  # noqa: T201  the output of the script


def conf(bolt: int, version: str) -> str:
    """Return settings for little memory, loopback ports and no network traffic."""
    lines = [
        f"server.bolt.listen_address=127.0.0.1:{bolt}",
        "server.http.enabled=false",
        "server.https.enabled=false",
        "server.memory.heap.max_size=192m",
        "server.memory.pagecache.size=32m",
        "db.tx_log.preallocate=false",
        "dbms.usage_report.enabled=false",
    ]
    if not version.startswith("5."):
        lines += ["server.fleet_discovery.enabled=false", "dbms.fleet_manager.enabled=false"]
    return "\n".join(lines) + "\n"


def java(scratch: Path, *arguments: str) -> list[str]:
    """Return the command line of a small JVM with the jars of this home."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else "java"
    small = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.nio=ALL-UNNAMED"]
    return [program, *small, "-cp", f"{scratch}/lib/*", f"-Dbasedir={scratch}", *arguments]


def admin(scratch: Path, *arguments: str) -> str:
    """Run neo4j-admin in one JVM and return its stdout."""
    completed = subprocess.run(
        java(scratch, "org.neo4j.cli.AdminTool", *arguments),
        env=os.environ | {"NEO4J_HOME": str(scratch), "NEO4J_CONF": str(scratch / "conf")},
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        raise SystemExit(
            f"neo4j-admin {' '.join(arguments)} ended with {completed.returncode}:\n{completed.stdout}{completed.stderr}"
        )
    return completed.stdout


@contextmanager
def server(scratch: Path, version: str) -> Iterator[None]:
    """Run a server of this home."""
    entry = "org.neo4j.server.CommunityEntryPoint" if version.startswith("5.") else "org.neo4j.server.Neo4jCommunity"
    folders = [f"--home-dir={scratch}", f"--config-dir={scratch / 'conf'}", "--console-mode"]
    with (scratch / "logs" / "console").open("wb") as console:
        process = subprocess.Popen(java(scratch, entry, *folders), stdout=console, stderr=console)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


@contextmanager
def connected(bolt: int) -> Iterator[neo4j.Driver]:
    """Connect a driver when the server answers queries, which is later than its port opens."""
    with neo4j.GraphDatabase.driver(f"bolt://127.0.0.1:{bolt}", auth=("neo4j", PASSWORD)) as driver:
        until(lambda: answers(driver), "server that answers queries", 90, pause=0.5)
        yield driver


def answers(driver: neo4j.Driver) -> bool:
    """Return whether the server answers a query."""
    try:
        driver.execute_query("RETURN 1")
    except (neo4j.exceptions.ServiceUnavailable, neo4j.exceptions.TransientError, OSError):
        return False
    return True


def packed(dump: Path) -> bytes:
    """Return the files of a dump as a sorted tar without owners and dates, compressed at zstd's highest level."""
    data = dump.read_bytes()
    if not data.startswith(MAGIC):
        raise SystemExit(f"{dump}: a zstd dump starts with {MAGIC!r}, this one with {data[:4]!r}")
    inside = zstandard.ZstdDecompressor().decompressobj().decompress(data[len(MAGIC) :])
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(inside[len("zstd") + SIZES :])) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for entry in sorted((entry for entry in old if entry.isfile()), key=lambda entry: entry.name):
            clean = tarfile.TarInfo(entry.name.removeprefix("./"))
            clean.size = entry.size
            new.addfile(clean, old.extractfile(entry))
    return zstandard.ZstdCompressor(level=22).compress(made.getvalue())


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
