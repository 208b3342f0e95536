"""Check the settings files that `neo4j-admin database backup` reads for settings that Neo4j does not know.

Neo4j Community (5.26.31, 2026.09.0) continues if the folder NEO4J_CONF does not exist, and fails if a key is unknown.
This check compares the first word of each key only, and the whole keys of TLS policies.
"""

import re
from pathlib import Path

from backup_agent.standins.neo4j_admin.console import CommandError

FILES = ("neo4j.conf", "neo4j-admin.conf", "neo4j-admin-database-backup.conf")
SPACES = ("browser", "client", "db", "dbms", "fleet", "initial", "internal", "server")
POLICY = re.compile(r"dbms\.ssl\.policy\.(?P<scope>\w+)\.(?P<setting>\w+)")
SCOPES = ("backup", "bolt", "cluster", "https")
POLICY_SETTINGS = (
    "base_directory",
    "ciphers",
    "client_auth",
    "enabled",
    "private_key",
    "private_key_password",
    "public_certificate",
    "revoked_dir",
    "tls_versions",
    "trust_all",
    "trusted_dir",
    "verify_hostname",
)


def check(folder: str | None, additional: str | None) -> None:
    """Raise CommandError if the file `additional` is missing or a settings file has an unknown setting."""
    if additional is not None and not Path(additional).is_file():
        raise CommandError(f"File {additional} does not exist")
    files = [Path(folder) / name for name in FILES] if folder else []
    for file in (*files, *([Path(additional)] if additional else [])):
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                key = line.partition("=")[0].strip()
                if key and not key.startswith("#") and not _known(key):
                    raise CommandError(
                        f"Failed to read config {file}",
                        f"Unrecognized setting. No declared setting with name: {key}. Cleanup the config or disable "
                        "'server.config.strict_validation.enabled' to continue.",
                        framed=False,
                    )


def _known(key: str) -> bool:
    if key.startswith("dbms.ssl.policy."):
        policy = POLICY.fullmatch(key)
        return policy is not None and policy["scope"] in SCOPES and policy["setting"] in POLICY_SETTINGS
    return key.partition(".")[0] in SPACES
