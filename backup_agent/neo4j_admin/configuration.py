"""The configuration folder of one run (NEO4J_CONF): page cache, logs, and the TLS policy of the backup port.

Each run writes its own, so that a rotated certificate serves the next run and no two runs share one.
"""

import os
from pathlib import Path

from backup_agent import durable
from backup_agent.core.neo4j.command import BackupTls, Memory, conf_lines
from backup_agent.core.reasons import PermanentError, Reason


def write(folder: Path, memory: Memory, backup_tls: BackupTls | None = None) -> None:
    """Write the configuration into a folder that only the agent's user and group can read; it may be there already.

    Raise PermanentError (source_unreachable) where a file of `backup_tls` cannot be read: neo4j-admin would say so
    with a stack trace.
    """
    folder.mkdir(mode=0o770, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    if backup_tls is not None:
        trusted = folder / "tls" / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        try:
            (trusted / "ca.crt").write_bytes(durable.read(Path(backup_tls.ca_file), follow=True))
            for key_or_certificate in (backup_tls.cert_file, backup_tls.key_file):
                os.close(durable.open_regular(key_or_certificate, follow=True))
        except OSError as error:
            raise PermanentError(
                Reason.SOURCE_UNREACHABLE,
                f"neo4j.backup_tls: {error.filename} cannot be read: {error.strerror}",
                "a client of the backup port needs all three: ca_file, cert_file and key_file",
            ) from error
    lines = conf_lines(str(folder), memory, backup_tls)
    (folder / "neo4j.conf").write_text("".join(f"{line}\n" for line in lines))
