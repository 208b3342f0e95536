"""How Neo4j is called in a drill: restore, check and a server, all in a scratch folder of their own.

Neo4j finds its folders by neo4j.conf in NEO4J_CONF, so a drill never touches those of a live server.
"""

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.neo4j.command import size_text

LOOPBACK = "127.0.0.1"

SERVER_CLASSES = (
    # The names of Enterprise are those of 2025 and later, and of 5.26; Community's were seen.
    "com.neo4j.server.enterprise.Neo4jEnterprise",
    "com.neo4j.server.enterprise.EnterpriseEntryPoint",
    "org.neo4j.server.Neo4jCommunity",
    "org.neo4j.server.CommunityEntryPoint",
)
"""The classes that start a server, in the order to look for them in the jars."""


LICENCE = "NEO4J_ACCEPT_LICENSE_AGREEMENT"
"""The environment variable that accepts the licence of Enterprise."""

LICENCES = {"commercial": "yes", "evaluation": "eval"}
"""Licence -> value of the variable."""

COMMUNITY = "org.neo4j."
"""Beginning of the names of Community's classes."""


def restore_argv(program: tuple[str, ...], *, artifact: str, temp_path: str, database: DatabaseName) -> tuple[str, ...]:
    """Return the arguments that restore an artifact with the chain beside it (Enterprise)."""
    options = (f"--from-path={artifact}", f"--temp-path={temp_path}", "--overwrite-destination=true")
    return (*program, "database", "restore", *options, database)


def load_argv(program: tuple[str, ...], *, folder: str | None, database: DatabaseName) -> tuple[str, ...]:
    """Return the arguments that load a full (all editions): from standard input, or a split one from its folder."""
    source = "--from-stdin" if folder is None else f"--from-path={folder}"
    return (*program, "database", "load", source, "--overwrite-destination=true", database)


def check_argv(program: tuple[str, ...], *, report_path: str, off_heap: int, database: DatabaseName) -> tuple[str, ...]:
    """Return the arguments that check the consistency of a database. `off_heap` is in bytes.

    Without the limit, `check` sizes itself by the memory of the machine.
    """
    options = (f"--report-path={report_path}", f"--max-off-heap-memory={size_text(off_heap)}")
    return (*program, "database", "check", *options, database)


def server_argv(java: tuple[str, ...], *, home: str, conf: str) -> tuple[str, ...]:
    """Return the arguments that start a server. `java` are those that start one of SERVER_CLASSES."""
    return (*java, f"--home-dir={home}", f"--config-dir={conf}", "--console-mode")


def scratch_conf(folder: str, database: DatabaseName, *, port: int, pagecache: int) -> dict[str, str]:
    """Return neo4j.conf of a drill: all folders are in `folder`, and the only listener is Bolt on the loopback.

    Unknown keys are fatal by default, and the keys differ by version and edition; so validation is not strict.
    """
    bolt = f"{LOOPBACK}:{port}"
    return {
        "server.config.strict_validation.enabled": "false",
        "server.directories.data": f"{folder}/data",
        "server.directories.transaction.logs.root": f"{folder}/data/transactions",
        "server.directories.dumps.root": f"{folder}/data/dumps",
        "server.directories.script.root": f"{folder}/data/scripts",
        "server.directories.logs": f"{folder}/logs",
        "server.directories.run": f"{folder}/run",
        "server.directories.plugins": f"{folder}/plugins",
        "server.directories.import": f"{folder}/import",
        "server.directories.licenses": f"{folder}/licenses",
        "initial.dbms.default_database": database,
        "dbms.security.auth_enabled": "false",
        "dbms.security.allow_csv_import_from_file_urls": "false",
        "server.default_listen_address": LOOPBACK,
        "server.default_advertised_address": LOOPBACK,
        "server.bolt.enabled": "true",
        "server.bolt.tls_level": "DISABLED",
        "server.bolt.listen_address": bolt,
        "server.bolt.advertised_address": bolt,
        "server.http.enabled": "false",
        "server.https.enabled": "false",
        "server.backup.enabled": "false",
        "server.metrics.enabled": "false",
        "dbms.routing.enabled": "false",
        "server.memory.pagecache.size": size_text(pagecache),
        "db.tx_log.preallocate": "false",
        "dbms.usage_report.enabled": "false",
        # 2026.09 announces itself by UDP broadcasts on every network that it finds.
        "server.fleet_discovery.enabled": "false",
        "dbms.fleet_manager.enabled": "false",
    }
