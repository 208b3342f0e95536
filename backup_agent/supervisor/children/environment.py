"""What child processes get of the supervisor's environment: everything but the secrets and settings of others.

Variables are held back by name, and all others let through: neo4j-admin may be a script, and a credential process of
AWS any program, that need variables which are not known here.
"""

import re
from collections.abc import Mapping
from enum import Enum

from backup_agent.processes import LOCK_DESCRIPTOR, MARK


class Access(Enum):
    """What a child may log in to, and the variables that only such a child gets."""

    BOLT = re.compile(r"NEO4J_(?:AUTH|USERNAME|PASSWORD).*", re.IGNORECASE)
    CLOUD = re.compile(r"(?:AWS|AZURE|GOOGLE|BOTO)_.*|BOTO.*", re.IGNORECASE)


CHILDREN: dict[str, tuple[frozenset[Access], frozenset[Access]]] = {
    # The child's module: what it may always log in to, and what it may if its task has to do with a destination.
    "backup_agent.jobs.survey": (frozenset(), frozenset()),  # reads the volume alone
    "backup_agent.cluster": (frozenset({Access.BOLT}), frozenset()),  # asks the cluster, and opens no place
    "backup_agent.jobs.backup": (
        frozenset(),
        frozenset({Access.CLOUD}),
    ),  # starts the copies; the backup port asks no one
    "backup_agent.jobs.copy": (frozenset(), frozenset({Access.CLOUD})),
    "backup_agent.jobs.prune": (frozenset(), frozenset({Access.CLOUD})),
    "backup_agent.jobs.verify": (frozenset(), frozenset({Access.CLOUD})),  # heals the volume from a destination, too
}

_OTHER_SECRETS = re.compile(
    r".*(?:PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|ACCESS_?KEY|API_?KEY).*", re.IGNORECASE
)
"""Secrets of other kinds. A child with access to a cloud gets them: a credential process may need them."""

_SETTINGS = re.compile(r"BACKUP_AGENT_.*")
"""A child gets its settings with its task."""

_KEPT = frozenset({MARK, LOCK_DESCRIPTOR})


def of_child(module: str, parent: Mapping[str, str], *, remote: bool) -> dict[str, str]:
    """Return the environment of a child process; `remote` says whether its task has to do with a destination."""
    always, if_remote = CHILDREN.get(module, (frozenset(), frozenset()))
    access = always | if_remote if remote else always
    return {name: value for name, value in parent.items() if name in _KEPT or _may_have(name, access)}


def _may_have(name: str, access: frozenset[Access]) -> bool:
    for kind in Access:
        if kind.value.fullmatch(name):
            return kind in access
    if _SETTINGS.fullmatch(name):
        return False
    return Access.CLOUD in access or not _OTHER_SECRETS.fullmatch(name)
