"""Who the agent is to Neo4j: read from files at each use, so that a rotated password serves the next run.

Nothing here is ever part of the settings, and a Credentials shows no password when it is printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Neo4j

PASSWORD_VARIABLE = "NEO4J_PASSWORD"  # noqa: S105  a name
LARGEST_SECRET = 64 * 1024


@dataclass(frozen=True)
class Credentials:
    """Name and password for Bolt."""

    username: str
    password: str = field(repr=False)


def credentials(neo4j: Neo4j, environ: Mapping[str, str]) -> Credentials:
    """Read name and password; raise PermanentError (`source_unreachable`) that names the file or variable at fault.

    The password is that of `password_file`, else that of NEO4J_PASSWORD.
    """
    username = _secret(neo4j.username_file, "neo4j.username_file") if neo4j.username_file else neo4j.username
    if neo4j.password_file:
        return Credentials(username, _secret(neo4j.password_file, "neo4j.password_file"))
    if password := environ.get(PASSWORD_VARIABLE):
        return Credentials(username, password)
    raise PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"no password for Bolt: neo4j.password_file is not set, and {PASSWORD_VARIABLE} neither",
        "mount the secret of the cluster and name its file in neo4j.password_file",
    )


def _secret(path: Path, key: str) -> str:
    """Return the content of a file, without the newline that editors and `echo` put at its end."""
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_SECRET + 1).decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        fault = (error.strerror or "cannot be read").lower()
    except UnicodeDecodeError:
        fault = "not text in UTF-8"
    else:
        if text and len(text) <= LARGEST_SECRET:
            return text
        fault = "too large" if text else "empty"
    raise PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"{key}: {path}: {fault}",
        "mount the secret there, readable for the agent's user",
    )
