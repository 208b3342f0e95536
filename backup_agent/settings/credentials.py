"""Secrets in files, such as the agent's account at Neo4j, read at each use: the next run uses a rotated password.

Credentials are never part of the settings, and the repr of `Credentials` shows no password.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Neo4j

PASSWORD_VARIABLE = "NEO4J_PASSWORD"  # noqa: S105  a name
LARGEST_SECRET = 64 * 1024

BROKEN = "the credential contains a line break"
BROKEN_HINT = "one line, with at most one newline at the end of a file: `echo` and editors add it, `printf %s` does not"


@dataclass(frozen=True)
class Credentials:
    """Name and password for Bolt."""

    username: str
    password: str = field(repr=False)


def credentials(neo4j: Neo4j, environ: Mapping[str, str]) -> Credentials:
    """Read name and password. If that fails, raise PermanentError (`source_unreachable`) with the file or variable.

    The password is in `password_file`, or else in the variable NEO4J_PASSWORD.
    """
    username = secret(neo4j.username_file, "neo4j.username_file") if neo4j.username_file else neo4j.username
    if neo4j.password_file:
        return Credentials(username, secret(neo4j.password_file, "neo4j.password_file"))
    if password := environ.get(PASSWORD_VARIABLE):
        if _breaks(password):
            raise PermanentError(Reason.SOURCE_UNREACHABLE, f"{PASSWORD_VARIABLE}: {BROKEN}", BROKEN_HINT)
        return Credentials(username, password)
    raise PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"no password for Bolt: neither neo4j.password_file nor {PASSWORD_VARIABLE} is set",
        "mount the secret of the cluster and set neo4j.password_file to its file",
    )


def secret(path: Path, key: str) -> str:
    """Return the secret in a file, which the setting `key` names, without the newline that editors and `echo` add.

    Raise PermanentError (`source_unreachable`), without the content, if there is no line of text in the file.
    """
    try:
        text = durable.read(path, LARGEST_SECRET, follow=True).decode().removesuffix("\n").removesuffix("\r")
    except durable.TooLargeError:
        fault = "too large"
    except OSError as error:
        fault = (error.strerror or "cannot be read").lower()
    except UnicodeDecodeError:
        fault = "not text in UTF-8"
    else:
        if text and not _breaks(text):
            return text
        if text:
            raise PermanentError(Reason.SOURCE_UNREACHABLE, f"{key}: {path}: {BROKEN}", BROKEN_HINT)
        fault = "empty"
    raise PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"{key}: {path}: {fault}",
        "mount the secret there, readable for the agent's user",
    )


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text
