"""Real Neo4j Community: a home folder to run neo4j-admin in, and a server over Bolt.

Jars come by Maven (GPLv3: fetched for tests, never shipped); homes share them by a link, so a home costs nothing. The
usage report and the UDP broadcasts of 2026.x are switched off.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import neo4j
import trustme

from tests.components.cache import cached
from tests.components.java import fetch_jars, java_home
from tests.components.pins import JARS
from tests.components.ports import Port
from tests.components.process import Server

JVM = (
    "-Xms32m",
    "-Xmx192m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
)
"""Flags of a small JVM that starts quickly: the jars are known by their digest, so that their classes are not verified.

Without `--add-opens` the page cache prints warnings to stdout.
"""

_CONF = {
    "server.default_listen_address": "127.0.0.1",
    "server.default_advertised_address": "127.0.0.1",
    "server.http.enabled": "false",
    "server.https.enabled": "false",
    "server.jvm.additional": "-XX:TieredStopAtLevel=1",
    "server.memory.heap.initial_size": "32m",
    "server.memory.heap.max_size": "192m",
    "server.memory.pagecache.size": "32m",
    "db.tx_log.preallocate": "false",
    "dbms.usage_report.enabled": "false",
}

# An unknown key is fatal, so each line of versions has its own. The quiet period makes a stop take 0.3 s, not 10.
_CONF_5 = {"internal.dbms.bolt.netty_server_shutdown_quiet_period": "0"}
_CONF_2025 = {
    "internal.dbms.bolt.netty_server_shutdown_quiet_period_duration": "0s",
    "server.fleet_discovery.enabled": "false",
    "dbms.fleet_manager.enabled": "false",
}

_WRAPPER = """#!/bin/sh
# As shipped: a JVM that starts another one for the command.
NEO4J_HOME="$(cd "$(dirname "$0")/.." && pwd)"
export NEO4J_HOME
export JAVA_HOME="{java_home}"
export PATH="$JAVA_HOME/bin:$PATH"
exec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$NEO4J_HOME/lib/*" -Dbasedir="$NEO4J_HOME" org.neo4j.server.startup.Neo4jAdminCommand "$@"
"""


@dataclass(frozen=True)
class CommunityHome:
    """A NEO4J_HOME: `bin/neo4j-admin` as shipped, and the same commands in one JVM."""

    version: str
    folder: Path

    @classmethod
    def create(cls, version: str, folder: Path) -> Self:
        """Make a home in an empty folder. Fetch the jars if the cache does not have them."""
        for part in ("bin", "conf", "data", "logs", "run"):
            (folder / part).mkdir(parents=True)
        (folder / "lib").symlink_to(jars(version))
        home = cls(version, folder)
        home.configure({})
        home.script.write_text(_WRAPPER.format(java_home=java_home()))
        home.script.chmod(0o755)
        return home

    @property
    def script(self) -> Path:
        """`bin/neo4j-admin`: two JVMs, as shipped."""
        return self.folder / "bin/neo4j-admin"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for a direct start in this home."""
        return {
            "NEO4J_HOME": str(self.folder),
            "NEO4J_CONF": str(self.folder / "conf"),
            "JAVA_HOME": str(java_home()),
            "TZ": "UTC",
        }

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write neo4j.conf with the settings that every home has, and these."""
        by_version = _CONF_5 if self.version.startswith("5.") else _CONF_2025
        lines = (f"{key}={value}\n" for key, value in {**_CONF, **by_version, **settings}.items())
        (self.folder / "conf/neo4j.conf").write_text("".join(lines))

    def admin(
        self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL, flags: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of neo4j-admin in one JVM, with further `flags`. Return its exit code and output."""
        return subprocess.run(
            (
                str(java_home() / "bin/java"),
                *JVM,
                *flags,
                "-cp",
                f"{self.folder}/lib/*",
                "org.neo4j.cli.AdminTool",
                *arguments,
            ),
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, **self.environment},
        )

    def load(self, artifact: Path, database: str = "neo4j") -> subprocess.CompletedProcess[str]:
        """Load a `.backup` or `.dump` over the database of this name."""
        with artifact.open("rb") as stdin:
            return self.admin("database", "load", "--from-stdin", "--overwrite-destination=true", database, stdin=stdin)

    def describe(self, folder: Path, database: str = "neo4j") -> subprocess.CompletedProcess[str]:
        """Return what Neo4j prints of the headers of a folder's artifacts (`load --info`)."""
        return self.admin("database", "load", "--info", f"--from-path={folder}", database)

    def check(self, database: str = "neo4j") -> subprocess.CompletedProcess[str]:
        """Check the consistency of a store, with a limit of its memory, which by default is that of the whole machine."""
        return self.admin(
            "database", "check", "--max-off-heap-memory=64m", f"--report-path={self.folder / 'logs'}", database
        )

    def dump(self, folder: Path, database: str = "neo4j") -> subprocess.CompletedProcess[str]:
        """Write `<database>.dump` into a folder."""
        return self.admin("database", "dump", f"--to-path={folder}", "--overwrite-destination=true", database)


class CommunityServer(Server):
    """A server with Bolt, without and with TLS on the same port (`uri`; `tls_uri` with `ca_file`). The user is neo4j."""

    name = "Neo4j"
    username = "neo4j"
    password = "for-tests-only"

    def __init__(self, home: CommunityHome, *, open_to_all: bool = False) -> None:
        """With `open_to_all` the server has no password and no TLS, which saves the start of one JVM."""
        super().__init__(home.folder / "logs/console.log")
        self.home = home
        self._open_to_all = open_to_all
        self._port = Port.reserve()
        self.ca_file = home.folder / "ca.pem"

    @property
    def address(self) -> str:
        """host:port of Bolt."""
        return f"127.0.0.1:{self._port.number}"

    @property
    def uri(self) -> str:
        """Bolt without TLS."""
        return f"bolt://{self.address}"

    @property
    def tls_uri(self) -> str:
        """Bolt with TLS, with a certificate of the CA in `ca_file`."""
        return f"bolt+s://localhost:{self._port.number}"

    def start(self) -> Self:
        """Start the server, also again after a stop, and wait until it answers a query, 1 to 2 s after the port opens."""
        if self._open_to_all:
            self._configure({"dbms.security.auth_enabled": "false"})
        elif not self.ca_file.exists():
            self._prepare()
        entry = "CommunityEntryPoint" if self.home.version.startswith("5.") else "Neo4jCommunity"
        self._launch(
            (
                str(java_home() / "bin/java"),
                *JVM,
                "-cp",
                f"{self.home.folder}/lib/*",
                f"org.neo4j.server.{entry}",
                f"--home-dir={self.home.folder}",
                f"--config-dir={self.home.folder / 'conf'}",
                "--console-mode",
            ),
            self._answers,
            environment=self.home.environment,
            timeout=120,
        )
        return self

    def stop(self) -> None:
        """Stop the server cleanly, so that the store needs no recovery. Release its port."""
        self.terminate()
        self._port.release()

    def query(self, cypher: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run one statement in the default database and return its rows."""
        with self._driver() as driver:
            return [record.data() for record in driver.execute_query(cypher, parameters).records]

    def _prepare(self) -> None:
        password = self.home.admin("dbms", "set-initial-password", self.password)
        if password.returncode != 0:
            raise RuntimeError(f"no password could be set:\n{password.stdout}{password.stderr}")
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        folder = self.home.folder / "certificates/bolt"
        folder.mkdir(parents=True)
        issued.private_key_pem.write_to_path(str(folder / "private.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "public.crt"))
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._configure(
            {
                "server.bolt.tls_level": "OPTIONAL",
                "dbms.ssl.policy.bolt.enabled": "true",
                "dbms.ssl.policy.bolt.base_directory": "certificates/bolt",
                "dbms.ssl.policy.bolt.private_key": "private.key",
                "dbms.ssl.policy.bolt.public_certificate": "public.crt",
            }
        )

    def _configure(self, settings: Mapping[str, str]) -> None:
        addresses = dict.fromkeys(("server.bolt.listen_address", "server.bolt.advertised_address"), self.address)
        self.home.configure({**addresses, **settings})

    def _driver(self) -> neo4j.Driver:
        return neo4j.GraphDatabase.driver(
            self.uri, auth=(self.username, self.password), connection_timeout=5, max_transaction_retry_time=0
        )

    def _answers(self) -> bool:
        try:
            self.query("RETURN 1")
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError):
            return False
        return True


def jars(version: str) -> Path:
    """Return the folder of a version's jars, fetched once."""
    # neo4j-server alone lacks the storage engine and neo4j-admin; its versions of shared jars come first.
    roots = (f"org.neo4j.app:neo4j-server:{version}", f"org.neo4j:neo4j:{version}")
    return cached(f"neo4j-community-{version}", lambda folder: fetch_jars(folder, JARS[version], *roots)) / "lib"
