"""The configuration folder of one run (NEO4J_CONF): page cache, logs, and the TLS policy of the backup port.

Each run writes its own folder, so that it uses the current certificate and shares nothing with another run.
"""

import os
from pathlib import Path

from backup_agent import durable
from backup_agent.core.neo4j.command import Memory, size_text
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import BackupTls


def write(folder: Path, memory: Memory, backup_tls: BackupTls | None = None) -> None:
    """Write the configuration into a folder that only the agent's user and group can read; the folder may exist.

    Raise PermanentError (source_unreachable) if a file of `backup_tls` cannot be read: neo4j-admin would print a stack
    trace instead.
    """
    folder.mkdir(mode=0o770, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    if backup_tls is not None:
        trusted = folder / "tls" / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        try:
            (trusted / "ca.crt").write_bytes(durable.read(backup_tls.ca_file, follow=True))
            for key_or_certificate in (backup_tls.cert_file, backup_tls.key_file):
                os.close(durable.open_regular(key_or_certificate, follow=True))
        except OSError as error:
            raise PermanentError(
                Reason.SOURCE_UNREACHABLE,
                f"neo4j.backup_tls: {error.filename} cannot be read: {error.strerror}",
                "a client of the backup port needs all three: ca_file, cert_file and key_file",
            ) from error
    lines = conf_lines(folder, memory, backup_tls)
    (folder / "neo4j.conf").write_text("".join(f"{line}\n" for line in lines))


def conf_lines(folder: Path, memory: Memory, backup_tls: BackupTls | None = None) -> tuple[str, ...]:
    """Return the lines of neo4j.conf in a folder, which must hold `tls/trusted/` if TLS is used.

    neo4j-admin exits with 70 if it finds an unknown setting, so the file has only the settings that are needed. The
    file has the paths of certificate and private key. Neither is copied, so that the volume never has a private key.
    (These settings and folders were tested with SslPolicyLoader of 5.26.31 and 2026.09.0: a client must have both
    certificate and private key, too.)
    """
    values = {"server.directories.logs": f"{folder}/logs"}  # the default is in $NEO4J_HOME, which may be read-only
    if memory.pagecache is not None:
        values["server.memory.pagecache.size"] = size_text(memory.pagecache)
    if backup_tls is not None:
        policy = "dbms.ssl.policy.backup"
        values |= {
            f"{policy}.enabled": "true",
            f"{policy}.base_directory": f"{folder}/tls",
            f"{policy}.trusted_dir": f"{folder}/tls/trusted",
            f"{policy}.public_certificate": str(backup_tls.cert_file),
            f"{policy}.private_key": str(backup_tls.key_file),
            f"{policy}.verify_hostname": str(backup_tls.verify_hostname).lower(),
        }
    return tuple(f"{key}={_conf_value(key, value)}" for key, value in values.items())


def _conf_value(key: str, value: str) -> str:
    # Neo4j reads a backslash in a path as a slash, and a line break as the end of the setting. Blanks and # are safe.
    if value != value.strip() or not value.isprintable() or "\\" in value:
        raise PermanentError(Reason.INTERNAL, f"{key}: cannot be written into neo4j.conf (got {value!r})")
    return value
